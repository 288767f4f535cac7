"""Which database this is: nobody goes on in another that took its name."""

import uuid
from typing import Any

from sqlalchemy import Connection, Engine, event, insert, select

from orchestrator.errors import DatabaseMissingError, DatabaseReplacedError
from orchestrator.store.opening.engine import no_such_table
from orchestrator.store.opening.location import StoreLocation
from orchestrator.store.opening.sqlite_file import file_identity
from orchestrator.store.tables import database_identity

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
        f"another database now stands at '{location.display}': the one that was opened is gone",
        "Nothing was written to the new one. Start the command again to work on it.",
    )
