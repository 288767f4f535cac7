"""Whose database it is: another program's is refused, and stays byte for byte what it was."""

import contextlib
from collections.abc import Collection, Sequence
from pathlib import Path

from sqlalchemy import Connection, inspect, text

from orchestrator.errors import DatabaseError, DatabaseMissingError
from orchestrator.store.opening.engine import sqlite_module
from orchestrator.store.opening.location import StoreLocation
from orchestrator.store.tables import metadata

VERSION_TABLE = "alembic_version"
# Of every schema that ever was.
OUR_TABLES = frozenset({"sweeps", "arms", "runs", "attempts", "points", "workers", "events"})


def stored_revision(connection: Connection, location: StoreLocation) -> str | None:
    """The database's revision; None where it holds no version table and none of our tables.

    Raises DatabaseError for another program's database.
    """
    tables = inspect(connection).get_table_names()
    listed = text(f"SELECT version_num FROM {VERSION_TABLE}")
    revisions = connection.execute(listed).scalars().all() if VERSION_TABLE in tables else ()
    # On a server others may have tables beside ours, as long as their names are not ours.
    check_ours(tables if location.path is not None else set(metadata.tables) & set(tables), revisions, location.display)
    return revisions[0] if revisions else None


def check_ours(tables: Collection[str], revisions: Sequence[str], display: str) -> None:
    """Raise DatabaseError where these tables and revisions are of another program. No table at all is nobody's."""
    others = sorted(set(tables) - {VERSION_TABLE})
    if len(revisions) == 1 and set(tables) >= OUR_TABLES:
        return
    if len(revisions) > 1:
        raise _not_ours(display, f"its table {VERSION_TABLE} has {len(revisions)} rows")
    if revisions:
        raise _not_ours(display, f"it has the revision '{revisions[0]}' and not our tables")
    if others:
        raise _not_ours(display, f"it holds the table '{others[0]}'")


def _not_ours(display: str, why: str) -> DatabaseError:
    return DatabaseError(
        f"'{display}' is another program's database ({why})",
        "It was left as it was. Name another database with --db.",
    )


def no_tables(display: str) -> DatabaseMissingError:
    """The error of a database that holds nothing."""
    return DatabaseMissingError(
        f"'{display}' holds no tables of hlbq",
        "`hlbq submit` makes them; --db PATH or $HLBQ_DB names another database.",
    )


def check_file_is_ours(path: Path, display: str, *, must_hold_tables: bool) -> None:
    """Raise DatabaseError for another program's SQLite file, before a connection changes a byte of it; where it
    `must_hold_tables`, DatabaseMissingError for one without any.

    SQLite reads the file alone here: no lock, no log, nothing written. A file of ours that others write meanwhile may
    read as damaged; that is left to the connection that follows, as is a file whose tables are still in its log.
    """
    driver = sqlite_module()
    with contextlib.suppress(driver.Error):
        connection = driver.connect(f"{path.as_uri()}?mode=ro&immutable=1", uri=True)
        try:
            tables = [name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
            if must_hold_tables and not tables and not path.with_name(f"{path.name}-wal").exists():
                raise no_tables(display)
            own = VERSION_TABLE in tables
            revisions = [row[0] for row in connection.execute(f"SELECT * FROM {VERSION_TABLE}")] if own else []
        finally:
            connection.close()
        check_ours([name for name in tables if not name.startswith("sqlite_")], revisions, display)
