"""`hlbq db`: maintain the database."""

import time
from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.common import DatabaseOption, JsonOption, StateDirOption
from orchestrator.cli.db_copy import copy
from orchestrator.cli.option_groups import add_group, option
from orchestrator.cli.output import print_json, print_result, print_table, say, suggest
from orchestrator.files.given_path import expanded


def register(app: typer.Typer) -> None:
    """Add the group `db`."""
    about = "Maintain the database: info, check, backup, upgrade, copy."
    add_group(app, "db", about, info, check, backup, upgrade, copy)


def info(database: DatabaseOption, as_json: JsonOption = False) -> None:
    """Print where the database is, its versions, its size and how many rows it holds."""
    with database.read() as store:
        found = store.info()
    if as_json:
        print_json(found)
        return
    say(f"database  {found.location}")
    say(f"engine    {found.dialect} {found.engine_version}")
    say(f"schema    {found.schema_version}")
    say(f"size      {found.size_bytes:,} bytes")
    print_table(["table", "rows"], [[name, f"{count:,}"] for name, count in found.rows.items()])


def check(
    database: DatabaseOption,
    repair: bool = option(False, help="Remove what killed processes left behind."),
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check the database for damage; exit code 1 if there is any. List what killed processes left behind."""
    from orchestrator.files.state_folder import state_folder
    from orchestrator.leftovers import find_leftovers, remove_leftovers

    with database.write() if repair else database.read() as store:
        problems = store.integrity_check()
        where = store.location.display
        folder = state_folder(store.location.names, state_dir) if state_dir or store.location.names else None
        # What a damaged database says of runs is no ground for removing anything.
        found = [] if problems else [(one, one.size_bytes) for one in find_leftovers(store, folder)]
        if repair:
            remove_leftovers(store, [one for one, _ in found])
    if as_json:
        leftovers = [{"path": str(one.path), "what": one.what, "bytes": size} for one, size in found]
        print_json({"database": where, "problems": problems, "leftovers": leftovers, "removed": repair})
    else:
        for one, size in found:
            say(f"{'removed' if repair else 'left over'}: {one.path} ({one.what}, {size:,} bytes)")
        if found and not repair:
            suggest("Remove it: hlbq db check --repair", store)
        for problem in problems:
            say(problem)
        if not problems:
            say(f"no damage in {where}")
    if problems:
        suggest("Keep the file as it is, and work on a copy: hlbq db backup; or try sqlite3's .recover.", store)
        raise typer.Exit(1)


def backup(
    database: DatabaseOption,
    path: Annotated[
        Path | None, typer.Argument(metavar="PATH", help="The copy (default: beside the database, with the time).")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Copy the database, even while it is in use. The copy appears complete or not at all."""
    with database.read() as store:
        target = path or _default_target(store.location.path)
        store.backup(expanded(target).absolute())
    print_result({"backup": str(target)}, f"copied to {target}", as_json=as_json)


def upgrade(database: DatabaseOption, as_json: JsonOption = False) -> None:
    """Back up the database and bring it up to date with this program (for PostgreSQL, run pg_dump first)."""
    with database.upgrade() as store:
        found = store.info()
    versions = {"database": found.location, "schema_version": found.schema_version}
    print_result(versions, f"{found.location} is at schema {found.schema_version}", as_json=as_json)


def _default_target(database: Path | None) -> Path:
    stamp = time.strftime("%Y%m%dT%H%M%S")
    return Path(f"hlbq-{stamp}.dump") if database is None else database.with_name(f"{database.name}.backup-{stamp}")
