"""The database of a dashboard: opened to read, and reopened after it was away."""

import contextlib
import threading
from collections.abc import Iterator

from orchestrator.errors import DatabaseError, DatabaseMissingError, DatabaseReplacedError, DatabaseVersionError
from orchestrator.store import OpenMode, Store, open_store
from orchestrator.store.opening.identity import check_uid, replaced
from orchestrator.store.opening.sqlite_file import file_identity

# A page asks again in a second; it must not hang for as long as a worker would wait.
BUSY_TIMEOUT_SECONDS = 5.0


class Database:
    """Lends a store that only reads. Safe in several threads."""

    def __init__(self, location: str | None, *, read_only: bool = False) -> None:
        """Open it once, so a wrong name fails at the start. Raises DatabaseError."""
        self._location = location
        self._lock = threading.Lock()
        opened = self._open(OpenMode.READ)
        self._store: Store | None = opened
        self._uid = opened.uid
        # Why nothing can be changed; empty where it can.
        self.why_read_only = "it was started with --read_only" if read_only else ""
        if not read_only and not opened.may_write():
            self.why_read_only = "you may only read this database"
        # Why this program can no longer read it, for good.
        self.unusable: DatabaseError | None = None
        self._file = file_identity(self._store.location.path)
        self.display, self.option = self._store.location.display, self._store.location.option
        self.path, self.names = self._store.location.path, self._store.location.names
        # Grows with every file that takes the place of the first: all that was read before is then void.
        self.generation = 0

    def _open(self, mode: OpenMode) -> Store:
        return open_store(self._location, mode=mode, busy_timeout_seconds=BUSY_TIMEOUT_SECONDS)

    @contextlib.contextmanager
    def reading(self) -> Iterator[Store]:
        """The store. Raises DatabaseError while the database is away, and for good once another took its place, or
        another hlbq changed its schema."""
        try:
            yield self._current()
        except (DatabaseReplacedError, DatabaseVersionError) as error:
            self.unusable = error
            raise

    def _current(self) -> Store:
        with self._lock:
            found = file_identity(self.path)
            if self.path is not None and found is None:
                # SQLite would go on reading the deleted file.
                self._close()
                raise DatabaseMissingError(f"the database '{self.display}' is gone", "It was moved or deleted.")
            if self._store is not None and found != self._file:
                self._close()
            if self._store is None:
                opened = self._open(OpenMode.READ)
                if opened.uid != self._uid:
                    opened.close()
                    raise replaced(opened.location)
                self._store = opened
                self._file = file_identity(self.path)
                self.generation += 1
            return self._store

    @contextlib.contextmanager
    def changing(self) -> Iterator[Store]:
        """A separate store that may write, for one control call."""
        with self.reading(), self._open(OpenMode.WRITE) as store:
            check_uid(store.uid, store.location, self._uid)
            yield store

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None
