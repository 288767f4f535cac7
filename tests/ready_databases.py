"""Empty databases that have hlbq's tables already: making the tables takes longer than most tests that want them."""

import contextlib
import sqlite3
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.store import OpenMode, open_store
from orchestrator.store.tables import metadata
from tests.postgresql_server import END_OTHERS, PostgresqlServer


@dataclass(kw_only=True)
class ReadyDatabases:
    """Lends them: copies of one SQLite file, and databases of a server that are emptied and lent again."""

    template: Path
    returned: list[str] = field(default_factory=list)

    def copy_to(self, path: Path) -> None:
        """An SQLite database of its own at `path`."""
        if not self.template.exists():
            open_store(str(self.template), mode=OpenMode.CREATE).close()
        path.write_bytes(self.template.read_bytes())
        connection = sqlite3.connect(path)
        with connection:
            connection.execute("UPDATE database_identity SET uid = ?", [uuid.uuid4().hex])
        connection.close()

    @contextlib.contextmanager
    def lend(self, server: PostgresqlServer) -> Iterator[str]:
        """A database of the server, for one test."""
        import psycopg

        if self.returned:
            url = self.returned.pop()
        else:
            open_store(url := server.create_database(), mode=OpenMode.CREATE).close()
        yield url
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute(END_OTHERS)
            emptied = "; ".join(f"DELETE FROM {table.name}" for table in reversed(metadata.sorted_tables))
            connection.execute(emptied.encode())
            connection.execute("SELECT setval(oid::regclass, 1, false) FROM pg_class WHERE relkind = 'S'")
            connection.execute("INSERT INTO database_identity VALUES (%s)", [uuid.uuid4().hex])
        self.returned.append(url)
