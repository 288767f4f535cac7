"""`hlbq db`: maintain the database, and copy it into another, for instance from a file to PostgreSQL."""

import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.common import DatabaseOption, JsonOption, StateDirOption
from orchestrator.cli.option_groups import CommandGroup, option
from orchestrator.cli.output import counted, note, print_json, print_result, print_table, say, suggest
from orchestrator.errors import DatabaseBusyError, UsageError
from orchestrator.files.given_path import expanded
from orchestrator.files.state_folder import state_folder

if TYPE_CHECKING:
    from orchestrator.copying.database_copy import CopyReport
    from orchestrator.store import StoreLocation

SECONDS_BETWEEN_LINES = 10.0


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
        say(*problems or [f"no damage in {where}"])
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


def copy(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="The database to copy: a file, or postgresql://...")],
    destination: Annotated[
        str, typer.Argument(metavar="DESTINATION", help="An empty or new database, of either kind.")
    ],
    verify_only: bool = option(
        False, "--verify-only/--no-verify-only", help="Copy nothing; compare the two, table by table."
    ),
    release: bool = option(
        False,
        "--release/--no-release",
        help="Copy a database that is in use. In the copy, running runs are back in the queue.",
    ),
    as_json: JsonOption = False,
) -> None:
    """Copy a database into another and compare them. After an interruption, the same command continues.

    Sweeps and runs keep their numbers. Checkpoints and logs are files outside the database and stay where they are.
    Exit code 1 if the two differ.
    """
    from orchestrator.copying.database_copy import compare_databases, copy_database, refuse_if_in_use
    from orchestrator.store import OpenMode, open_store, parse_location

    if not source or not destination:  # `hlbq db copy "$SOURCE" ...` with a variable that is not set
        raise UsageError(
            f"the name of the {'destination' if source else 'source'} is empty",
            "Name both: hlbq db copy SOURCE DESTINATION",
        )
    _refuse_itself(parse_location(source), parse_location(destination))
    progress = _Progress()
    try:
        with open_store(source, mode=OpenMode.READ) as old:
            if not (verify_only or release):
                refuse_if_in_use(old)  # before the destination is made
            with open_store(destination, mode=OpenMode.READ if verify_only else OpenMode.FILL) as new:
                if verify_only:
                    report = compare_databases(old, new, report=progress)
                else:
                    report = copy_database(old, new, release=release, report=progress)
    except DatabaseBusyError as error:
        raise DatabaseBusyError(
            error.message, "Run the same command again: the copy continues where it stopped."
        ) from None
    finally:
        progress.end()
    _print_report(report, as_json=as_json)
    if not report.equal:
        then = "  It stays marked as unfinished: empty it and copy again. Check the source: hlbq db check"
        note(f"'{new.location.display}' differs from '{old.location.display}'." + ("" if verify_only else then))
        raise typer.Exit(1)
    if not verify_only:
        _say_what_is_left(old.location, new.location, report)


def _refuse_itself(source: "StoreLocation", destination: "StoreLocation") -> None:
    one, other = source.path, destination.path
    if one is not None and other is not None:
        same = one == other or (one.exists() and other.exists() and one.samefile(other))
    else:
        same = source.url == destination.url
    if same:
        raise UsageError(f"'{source.display}' cannot be copied into itself", "Name another DESTINATION.")


def _print_report(report: "CopyReport", *, as_json: bool) -> None:
    if as_json:
        tables = [{**vars(table), "equal": table.equal} for table in report.tables]
        print_json({"equal": report.equal, "released_runs": report.released_runs, "tables": tables})
        return
    rows = []
    for one in report.tables:
        cells = [f"{one.rows:,}", one.digest[:16], "equal"]
        if not one.equal:
            cells = [f"{one.source_rows:,} / {cells[0]}", f"{one.source_digest[:16]} / {cells[1]}", "DIFFERS"]
        rows.append([one.table, *cells])
    print_table(["table", "rows", "digest", ""], rows)


def _say_what_is_left(source: "StoreLocation", destination: "StoreLocation", report: "CopyReport") -> None:
    """What is left for a person to do: copy the state folder, and leave the old database alone."""
    if report.released_runs:
        note(f"{counted(report.released_runs, 'run')} back in the queue of the copy")
    old = str(state_folder(source.names)) if source.path is not None else "FOLDER"
    new = str(state_folder(destination.names)) if destination.path is not None else old
    if source.path is None:
        note("Checkpoints and logs stay in the FOLDER of the workers' --state_dir.")
    else:
        note(f"Checkpoints and logs stay in '{old}'.")
    if new != old:
        note(f"Copy them for workers on the copy: {shlex.join(['cp', '-a', old, new])}")
    if destination.path is None:
        worker = ["hlbq", "worker", "--db", destination.display, "--state_dir", new]
        note(f"Start workers on the copy: {shlex.join(worker)}")
        note("(On several hosts: use a folder that all of them see, and copy it there with cp -a.)")
    note(f"'{source.display}' is unchanged: run workers on one of the two only")


class _Progress:
    """How far the copy is: one changing line on a terminal, else a line every now and then."""

    def __init__(self) -> None:
        self._live = sys.stderr.isatty()
        self._said_at = time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        line = f"{what}: {done:,} of {total:,} rows"
        if self._live:
            print(f"\r\x1b[K{line}", end="", file=sys.stderr, flush=True)
            return
        now = time.monotonic()
        if now - self._said_at >= SECONDS_BETWEEN_LINES:
            note(line)
            self._said_at = now

    def end(self) -> None:
        """Leave the terminal's line free."""
        if self._live:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)


db = CommandGroup(
    "db", "Maintain the database: info, check, backup, upgrade, copy.", (info, check, backup, upgrade, copy)
)
