"""Care of the database: what it holds, whether it is whole, copies of it."""

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, func, select, text

from orchestrator.errors import DatabaseError
from orchestrator.store.base import StoreBase, is_sqlite
from orchestrator.store.opening.identity import check_uid, no_tables, stored_revision
from orchestrator.store.opening.schema import REVISION_AND_UID, check_ready, copy_sqlite
from orchestrator.store.opening.sqlite_file import is_writable
from orchestrator.store.tables import metadata


@dataclass(frozen=True, kw_only=True)
class DatabaseInfo:
    """What `hlbq db info` shows of a database. `size_bytes` counts SQLite's log too."""

    location: str
    dialect: str
    engine_version: str
    schema_version: str
    size_bytes: int
    rows: Mapping[str, int]


class MaintenanceStore(StoreBase):
    """What `hlbq db` and `hlbq doctor` ask for."""

    def info(self) -> DatabaseInfo:
        """The database's versions, size in bytes and rows by table."""
        with self._read() as connection:
            version = "sqlite_version()" if is_sqlite(connection) else "current_setting('server_version')"
            return DatabaseInfo(
                location=self.location.display,
                dialect=self.location.dialect,
                engine_version=str(connection.execute(text(f"SELECT {version}")).scalar_one()),
                schema_version=stored_revision(connection, self.location) or "",
                size_bytes=self._size_bytes(connection),
                rows={
                    table.name: connection.execute(select(func.count()).select_from(table)).scalar_one()
                    for table in metadata.sorted_tables
                },
            )

    def check_identity(self) -> None:
        """Raise DatabaseReplacedError where another database answers at the place of the one that was opened,
        DatabaseMissingError where its tables are gone or empty (a backup may be on its way into their place), and
        DatabaseVersionError where another hlbq has changed its schema.

        A connection checks it when it is made; this sees what happened to its tables since."""
        with self._read() as connection:
            found = connection.execute(REVISION_AND_UID).one()
        if found.uid is None:
            raise no_tables(self.location.display)
        check_uid(found.uid, self.location, self.uid)
        check_ready(found.revision, self.location, self._schema)

    def _size_bytes(self, connection: Connection) -> int:
        path = self.location.path
        if path is None:
            return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())
        parts = (path.with_name(path.name + ending) for ending in ("", "-wal", "-shm"))
        return sum(part.stat().st_size for part in parts if part.exists())

    def integrity_check(self) -> list[str]:
        """What is wrong with the database, a sentence each; empty where it is whole."""
        if self.location.path is None:
            return []  # PostgreSQL checks itself: pg_amcheck, and page checksums
        with self._read() as connection:
            found = [str(row[0]) for row in connection.exec_driver_sql("PRAGMA integrity_check(20)")]
            broken = connection.exec_driver_sql("PRAGMA foreign_key_check").fetchmany(20)
        problems = [] if found == ["ok"] else found
        return problems + [f"row {row[1]} of {row[0]} refers to a row of {row[2]} that is not there" for row in broken]

    def may_write(self) -> bool:
        """Whether this user could change the database: by the file's rights, or by those of the server's role."""
        if self.location.path is not None:
            return is_writable(self.location.path)
        query = text("SELECT has_table_privilege('runs', 'UPDATE') AND NOT pg_is_in_recovery()")
        with self._read() as connection:
            return bool(connection.execute(query).scalar_one())

    def backup(self, path: Path) -> None:
        """Copy an SQLite database to `path` (0600) while it is in use; the copy appears whole or not at all.

        Raises DatabaseError where the target is there already or can't be written, and for PostgreSQL, which
        has a tool of its own.
        """
        if self.location.path is None:
            place = shlex.join([f"--file={path}", self.location.display])
            raise DatabaseError("hlbq backs up SQLite only", f"pg_dump --format=custom {place}")
        if os.path.lexists(path):
            raise DatabaseError(f"'{path}' exists already", "Name a new file.")
        with self._read() as connection:
            copy_sqlite(connection, path)
