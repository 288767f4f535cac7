"""Which database this is, and whose: another program's stays byte for byte what it was, and nobody goes on in another
that took its name."""

import contextlib
import uuid
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event, insert, inspect, select, text

from orchestrator.errors import DatabaseError, DatabaseMissingError, DatabaseReplacedError
from orchestrator.store.opening.engine import no_such_table, sqlite_module
from orchestrator.store.opening.location import StoreLocation
from orchestrator.store.opening.sqlite_file import file_identity
from orchestrator.store.tables import database_identity, metadata

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


UID = select(database_identity.c.uid)
# The first schema whose databases have one; older ones are brought up to date before they are used.
_FIRST_WITH_UID = "0006"


def make_uid(connection: Connection) -> None:
    """Give a database that is being made its uid."""
    connection.execute(insert(database_identity).values(uid=uuid.uuid4().hex))


def stored_uid(connection: Connection, revision: str) -> str:
    """The uid of the database of this revision; "" where its schema has none."""
    return "" if revision < _FIRST_WITH_UID else str(connection.execute(UID).scalar_one())


def guard_connections(engine: Engine, location: StoreLocation, uid: str) -> None:
    """Have every connection that `engine` makes from now on refuse a database of another uid.

    A server's database that was dropped and made again is only ever met by a new connection.
    """
    query = str(UID.compile(engine))

    @event.listens_for(engine, "connect")
    def check(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        try:
            cursor.execute(query)
            check_uid((cursor.fetchone() or ("",))[0], location, uid)
        except Exception as error:
            if no_such_table(error):
                raise replaced(location) from None
            raise
        finally:
            cursor.close()
        connection.rollback()


def check_uid(found: str | None, location: StoreLocation, uid: str) -> None:
    """Raise DatabaseReplacedError where another database answers."""
    if found != uid:
        raise replaced(location)


def check_file_is_the_same(location: StoreLocation, before: tuple[int, int] | None) -> None:
    """Raise where the file is no longer the one that was opened: SQLite would go on in a file without a name.

    `before` is its `file_identity` then; None (a server's database) passes. Raises DatabaseMissingError where there is
    none any more, DatabaseReplacedError where another stands there.
    """
    if before is None:
        return
    found = file_identity(location.path)
    if found is None:
        raise DatabaseMissingError(
            f"the database '{location.display}' is gone", "It was moved or deleted while in use."
        )
    if found != before:
        raise replaced(location)


def replaced(location: StoreLocation) -> DatabaseReplacedError:
    """The error of a database that is no longer the one that was opened."""
    return DatabaseReplacedError(
        f"another database is now at '{location.display}': the one that was opened is gone",
        "Nothing was written to the new one. Start the command again to work on it.",
    )
