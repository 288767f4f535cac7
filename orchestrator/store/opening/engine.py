"""Connections: one SQLAlchemy engine over SQLite or PostgreSQL, and the drivers' errors in plain words."""

import contextlib
import os
import shlex
import sqlite3
from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.exc import DBAPIError

from orchestrator.errors import DatabaseBusyError, DatabaseCorruptError, DatabaseError, DatabaseMissingError
from orchestrator.store.opening.location import StoreLocation
from orchestrator.store.opening.postgresql import POOL, plain_postgresql_error, postgresql_engine

BUSY_TIMEOUT_SECONDS = 20.0


class OpenMode(StrEnum):
    """What a command wants of the database."""

    CREATE = "create"
    """As WRITE, but made where there is none."""
    WRITE = "write"
    """It must be there; an older one is brought up to date, but for PostgreSQL, which others use meanwhile."""
    READ = "read"
    """It must be there and of this version; nothing is written."""
    UPGRADE = "upgrade"
    """It must be there, and is brought up to date: for `hlbq db upgrade`."""
    FILL = "fill"
    """Make it where there is none, or go on with an unfinished copy: for `hlbq db copy` alone."""


def has_wal_fault(version: Sequence[int]) -> bool:
    """Whether this SQLite can damage a WAL database when two processes reset the log at once.

    Source: sqlite.org/wal.html, "the WAL-reset bug": mended in 3.51.3, 3.50.7 and 3.44.6.
    """
    numbers = tuple(version[:3])
    return numbers < (3, 51, 3) and numbers not in ((3, 50, 7), (3, 44, 6))


def sqlite_module() -> ModuleType:
    """Python's own sqlite3, or pysqlite3 where the own one has the WAL-reset fault.

    Whoever opens a database of hlbq beside the store, in the same process, must use this one too: two SQLite
    libraries in one process do not see each other's locks.
    """
    if not has_wal_fault(sqlite3.sqlite_version_info):
        return sqlite3
    try:
        from pysqlite3 import dbapi2
    except ImportError:  # not a platform that pysqlite3 is built for; `hlbq doctor` tells
        return sqlite3
    return dbapi2  # type: ignore[no-any-return]


def make_engine(location: StoreLocation, *, mode: OpenMode, busy_timeout_seconds: float) -> Engine:
    """An engine for `location`. Nothing is opened yet."""
    if location.path is None:
        return postgresql_engine(location, busy_timeout_seconds, read_only=mode is OpenMode.READ)
    return _sqlite_engine(location, location.path, mode, busy_timeout_seconds)


def _sqlite_engine(location: StoreLocation, path: Path, mode: OpenMode, busy_timeout_seconds: float) -> Engine:
    module = sqlite_module()

    def connect() -> Any:
        connection = module.connect(
            _sqlite_uri(path, mode),
            uri=True,
            timeout=busy_timeout_seconds,
            isolation_level=None,  # BEGIN is ours: see _begin
            check_same_thread=False,
        )
        try:
            _set_pragmas(connection, mode)
        except BaseException:
            connection.close()
            raise
        return connection

    engine = create_engine(location.url, module=module, creator=connect, **POOL)
    event.listen(engine, "begin", _begin)
    return engine


def _sqlite_uri(path: Path, mode: OpenMode) -> str:
    """The file, never created by SQLite itself (its mode bits would be the umask's)."""
    if mode is not OpenMode.READ:
        return f"{path.as_uri()}?mode=rw"
    # A reader too opens for writing where it can, because only then SQLite tidies up -wal and -shm after it.
    if os.access(path, os.W_OK) and os.access(path.parent, os.W_OK) and path.stat().st_mode & 0o222:
        return f"{path.as_uri()}?mode=rw"
    log = path.with_name(path.name + "-wal")
    unused = not os.access(path.parent, os.W_OK) and not (log.exists() and log.stat().st_size)
    return f"{path.as_uri()}?mode=ro" + ("&immutable=1" if unused else "")


def _set_pragmas(connection: Any, mode: OpenMode) -> None:
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA temp_store=MEMORY")
    if mode is OpenMode.READ:
        connection.execute("PRAGMA query_only=ON")
        return
    (journal,) = connection.execute("PRAGMA journal_mode=WAL").fetchone()
    if journal != "wal":
        raise DatabaseError(
            f"the file system under the database does not support SQLite's WAL mode (it answered '{journal}')",
            "Put it on a local disk with --db PATH.",
        )


def _begin(connection: Connection) -> None:
    # A transaction that reads first and then writes fails at once when another wrote in between:
    # writers take their place in the queue at the start.
    writes = connection.get_execution_options().get("hlbq_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def no_such_table(error: Any) -> bool:
    """Whether a driver's `error` says that there is no table of the name that was asked for."""
    return getattr(error, "sqlstate", None) == "42P01" or str(error).startswith("no such table")


@contextlib.contextmanager
def plain_errors(location: StoreLocation) -> Iterator[None]:
    """Turn the drivers' errors into DatabaseBusyError, DatabaseCorruptError and DatabaseError.

    A constraint that was broken, or SQL that is wrong, is a fault in the program and goes through as it is.
    A number or a text that no column can hold is a DatabaseError.
    """
    try:
        yield
    except (OverflowError, UnicodeEncodeError) as error:
        raise DatabaseError(
            f"a value does not fit the database: {error}", "Use numbers below 2**63, and UTF-8."
        ) from None
    except (DBAPIError, sqlite3.Error, sqlite_module().Error) as error:
        # While opening, SQLite's errors come as they are; afterwards SQLAlchemy wraps them.
        own, dropped = (error.orig, error.connection_invalidated) if isinstance(error, DBAPIError) else (error, False)
        if no_such_table(own):
            raise DatabaseMissingError(
                f"'{location.display}' lacks a table of hlbq: {str(own).splitlines()[0]}",
                "It was dropped, or a backup is being restored: try again then.",
            ) from None
        if location.path is None:
            translated = plain_postgresql_error(own, location, dropped=dropped)
        else:
            translated = _translate_sqlite(own, location)
        if translated is None:
            raise
        raise translated from None


# SQLite's primary result codes (sqlite.org/rescode.html): extended ones hold them in the low byte.
_BUSY, _LOCKED, _READONLY, _IOERR, _CORRUPT, _FULL, _CANTOPEN, _PROTOCOL, _NOTADB = 5, 6, 8, 10, 11, 13, 14, 15, 26


def _translate_sqlite(error: Any, location: StoreLocation) -> DatabaseError | None:
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    name = f"the database '{location.display}'"
    if code in (_BUSY, _LOCKED, _PROTOCOL):  # the last: a process that was stopped holds the log
        return DatabaseBusyError(f"{name} is locked by another process", "Try again; `fuser` names who has it open.")
    if code == _FULL:
        return DatabaseBusyError(f"{name} has no room: the disk is full", "Free some space, then try again.")
    if code == _IOERR:
        return DatabaseBusyError(f"{name} cannot be read or written: {error}", "Check the disk and its free space.")
    if code == _CANTOPEN:
        if location.path is not None and not location.path.exists():
            return DatabaseMissingError(f"{name} is gone", "It was moved or deleted; name it with --db PATH.")
        return DatabaseBusyError(f"{name} cannot be opened for now", "Check the disk's free space and your rights.")
    if code == _READONLY:
        return DatabaseError(f"{name} is read-only", f"chmod u+w {shlex.quote(str(location.path))}")
    if code in (_CORRUPT, _NOTADB):
        return DatabaseCorruptError(
            f"{name} is damaged: {error}",
            "It was left as it was. Rescue what is left with `sqlite3 FILE .recover`; or end all that has it open, "
            "remove its -wal and -shm, and move a backup there.",
        )
    return None
