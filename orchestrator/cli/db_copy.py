"""`hlbq db copy`: copy a whole database into another, for instance from a file to PostgreSQL."""

import shlex
import sys
import time
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.common import JsonOption
from orchestrator.cli.option_groups import option
from orchestrator.cli.output import counted, note, print_json, print_table
from orchestrator.errors import DatabaseBusyError, UsageError

if TYPE_CHECKING:
    from orchestrator.copying.database_copy import CopyReport
    from orchestrator.store import StoreLocation

SECONDS_BETWEEN_LINES = 10.0


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
        help="Copy a database that is in use; the copy has its running runs back in the queue.",
    ),
    as_json: JsonOption = False,
) -> None:
    """Copy a database into another and compare them. After an interruption, the same command goes on.

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
            error.message, "Run the same command again: the copy goes on where it stopped."
        ) from None
    finally:
        progress.end()
    _print_report(report, as_json=as_json)
    if not report.equal:
        note(
            f"'{new.location.display}' differs from '{old.location.display}'."
            + (
                ""
                if verify_only
                else "  It stays marked as unfinished: empty it and copy again. Check the source: hlbq db check"
            )
        )
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
    print_table(
        ["table", "rows", "digest", ""],
        [
            [one.table, f"{one.rows:,}", one.digest[:16], "equal"]
            if one.equal
            else [
                one.table,
                f"{one.source_rows:,} / {one.rows:,}",
                f"{one.source_digest[:16]} / {one.digest[:16]}",
                "DIFFERS",
            ]
            for one in report.tables
        ],
    )


def _say_what_is_left(source: "StoreLocation", destination: "StoreLocation", report: "CopyReport") -> None:
    """What is left for a person to do: copy the state folder, and leave the old database alone."""
    from orchestrator.files.state_folder import state_folder

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
