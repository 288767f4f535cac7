"""Making the tables, and bringing an older database up to date with Alembic.

A new database is made from tables.py in one go and stamped with the newest revision: importing Alembic takes
longer than that. An older one is migrated in one transaction under a lock, on SQLite after an online backup.
"""

import contextlib
import itertools
import os
import sqlite3
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Column, Connection, Engine, MetaData, String, Table, select, text

from orchestrator.errors import DatabaseBusyError, DatabaseError, DatabaseVersionError
from orchestrator.files.locks import lock_at_once, wait_for_lock
from orchestrator.store.opening.engine import BUSY_TIMEOUT_SECONDS, OpenMode, sqlite_module
from orchestrator.store.opening.identity import UID, VERSION_TABLE, make_uid, no_tables, stored_revision, stored_uid
from orchestrator.store.opening.location import StoreLocation
from orchestrator.store.tables import metadata
from orchestrator.wording.commands import database_option

# As Alembic makes it, so that creating one needs no Alembic.
_version_metadata = MetaData()
alembic_version = Table(
    VERSION_TABLE,
    _version_metadata,
    Column("version_num", String(32), primary_key=True, nullable=False),
)
alembic_version.primary_key.name = "alembic_version_pkc"
# Of one statement, for those who ask again and again whether the database is still the one that they opened.
REVISION_AND_UID = select(
    select(alembic_version.c.version_num).scalar_subquery().label("revision"), UID.scalar_subquery().label("uid")
)

# Found from this file, never by the name `migrations`, which other projects use too. In the repository it is a link
# to the folder at the top; in a wheel it is a folder.
_MIGRATIONS = Path(__file__).parents[2] / "migrations"

# Any number of this program's own, the same in all its versions: who holds it may change the schema.
_POSTGRESQL_LOCK = 0x686C6271


@dataclass(frozen=True, kw_only=True)
class Schema:
    """The newest revision that a program knows, and where its migrations are (None: this package's)."""

    head: str
    scripts: Path | None = None


CURRENT = Schema(head="0015")

# Stands in place of the revision while `hlbq db copy` fills a database: no program of any version works on half of one.
UNFINISHED_COPY = "unfinished copy"


def prepare(engine: Engine, location: StoreLocation, mode: OpenMode, schema: Schema = CURRENT) -> str:
    """Make the tables or migrate them, as `mode` allows; returns the database's uid, "" before there were any.

    Raises DatabaseMissingError where there are no tables and `mode` may not make them, DatabaseVersionError
    for a newer database, and for an older one where `mode` is READ.
    """
    with engine.connect() as connection:
        found = stored_revision(connection, location)
        if _is_ready(found, mode, schema):
            return stored_uid(connection, schema.head)
    _refuse(found, location, mode, schema)
    if location.path is None:
        with engine.execution_options(hlbq_writes=True).begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _POSTGRESQL_LOCK})
            _bring_up_to_date(connection, location, mode, schema)
    else:
        with _lock_file(location.path), engine.execution_options(hlbq_writes=True).connect() as connection:
            _migrate_sqlite(connection, location, mode, schema)
    with engine.connect() as connection:
        return stored_uid(connection, schema.head)


def check_ready(found: str | None, location: StoreLocation, schema: Schema) -> None:
    """Raise as opening the database to read does where it has this revision, and it is not this program's."""
    if not _is_ready(found, OpenMode.READ, schema):
        _refuse(found, location, OpenMode.READ, schema)


def check_unchanged(found: str | None, location: StoreLocation, schema: Schema) -> None:
    """Raise DatabaseVersionError where the revision is no longer the one that this process opened."""
    if found != schema.head:
        raise DatabaseVersionError(
            f"'{location.display}' now has schema {found}, but this program has {schema.head}",
            "Update hlbq here (git pull, then pip install --upgrade .), and start the worker again.",
        )


def _is_ready(found: str | None, mode: OpenMode, schema: Schema) -> bool:
    return found == schema.head or (found == UNFINISHED_COPY and mode is OpenMode.FILL)


def _refuse(found: str | None, location: StoreLocation, mode: OpenMode, schema: Schema) -> None:
    if found is None:
        if mode not in (OpenMode.CREATE, OpenMode.FILL):
            raise no_tables(location.display)
        return
    if found == UNFINISHED_COPY:
        raise DatabaseError(
            f"'{location.display}' holds an unfinished copy of another database",
            "Give the same `hlbq db copy` again: it goes on where it stopped.",
        )
    if not found.isdecimal() or int(found) > int(schema.head):  # revisions count up: 0001, 0002
        raise DatabaseVersionError(
            f"the database '{location.display}' has schema {found}, newer than this program's {schema.head}",
            "It was left as it was. Update hlbq: git pull, then pip install --upgrade .",
        )
    # An SQLite file is its user's own. A server's database is used by others too: it is upgraded when someone says so.
    if mode in (OpenMode.READ, OpenMode.FILL) or (location.path is None and mode is not OpenMode.UPGRADE):
        raise DatabaseVersionError(
            f"the database '{location.display}' has schema {found}, older than this program's {schema.head}",
            f"hlbq db upgrade{database_option(location.display)}",
        )


def _bring_up_to_date(connection: Connection, location: StoreLocation, mode: OpenMode, schema: Schema) -> None:
    """Create or migrate within the caller's transaction. Another process may have done it meanwhile."""
    found = stored_revision(connection, location)
    if _is_ready(found, mode, schema):
        return
    _refuse(found, location, mode, schema)
    if found is not None or schema.scripts is not None:
        _run_migrations(connection, schema)
        return
    metadata.create_all(connection, checkfirst=False)
    _version_metadata.create_all(connection, checkfirst=False)
    made = UNFINISHED_COPY if mode is OpenMode.FILL else schema.head
    make_uid(connection)
    connection.execute(alembic_version.insert().values(version_num=made))


def _migrate_sqlite(connection: Connection, location: StoreLocation, mode: OpenMode, schema: Schema) -> None:
    assert location.path is not None
    found = stored_revision(connection, location)
    connection.rollback()
    if found == schema.head:
        return
    if found is not None:
        name = f"{location.path.name}.before-{schema.head}-{time.strftime('%Y%m%dT%H%M%S')}"
        names = itertools.chain([name], (f"{name}-{number}" for number in itertools.count(2)))
        copy_sqlite(connection, next(path for path in map(location.path.with_name, names) if not path.exists()))
    # Alembic's batch operations drop and rename tables: references to them are checked afterwards instead.
    # SQLite ignores this PRAGMA within a transaction, and SQLAlchemy would begin one: hence the driver itself.
    connection.connection.cursor().execute("PRAGMA foreign_keys=OFF")
    with connection.begin():
        _bring_up_to_date(connection, location, mode, schema)
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").first()
        if broken is not None:
            raise DatabaseError(
                f"the migration of '{location.display}' would break references in table '{broken[0]}'",
                "Nothing was changed. Please report this.",
            )
    connection.detach()  # its foreign_keys are off: it must not serve others


def _run_migrations(connection: Connection, schema: Schema) -> None:
    # Alembic stays out of every command that finds its database up to date.
    from alembic import command
    from alembic.config import Config

    scripts = schema.scripts or _MIGRATIONS
    config = Config()
    config.set_main_option("script_location", str(scripts).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, schema.head)


def copy_sqlite(connection: Connection, target: Path) -> None:
    """Copy the database while others use it; the copy appears whole or not at all.

    Raises DatabaseError where it cannot be written.
    """
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    source = connection.connection.driver_connection
    assert source is not None
    try:
        # Held open and locked, so that nobody takes it for one that a killed process left.
        with os.fdopen(os.open(partial, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb") as held:
            with contextlib.suppress(OSError):
                lock_at_once(held.fileno())
            copy = type(source)(str(partial))
            try:
                source.backup(copy)
            finally:
                copy.close()
        with partial.open("rb") as file:
            os.fsync(file.fileno())
        _give_name(partial, target)
    except (OSError, sqlite3.Error, sqlite_module().Error) as error:
        hint = "Check the path and its rights (ls -ld), and the disk (df)."
        why = getattr(error, "strerror", None) or error
        raise DatabaseError(f"the backup '{target}' cannot be written: {why}", hint) from None
    finally:
        partial.unlink(missing_ok=True)


def _give_name(file: Path, name: Path) -> None:
    """Name the file so, unless another has that name by now. Raises FileExistsError."""
    try:
        name.hardlink_to(file)
    except FileExistsError:
        raise
    except OSError:  # a disk without hard links
        file.replace(name)


@contextlib.contextmanager
def _lock_file(path: Path) -> Iterator[None]:
    """Hold `PATH.lock` while the tables are made or changed; it is gone afterwards."""
    lock = path.with_name(path.name + ".lock")
    too_late = DatabaseBusyError(
        f"another process has been upgrading '{path}' for {BUSY_TIMEOUT_SECONDS:g} s", "Try again."
    )
    with wait_for_lock(lock, timeout_seconds=BUSY_TIMEOUT_SECONDS, too_late=too_late):
        try:
            yield
        finally:
            lock.unlink(missing_ok=True)
