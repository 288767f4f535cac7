"""A status that keeps itself up to date, for `hlbq status --watch` and `hlbq run`."""

import signal
import sys
import time
from types import TracebackType
from typing import TextIO

from orchestrator.errors import DatabaseBusyError, DatabaseMissingError, NotThereError
from orchestrator.launch.stop_signals import handled
from orchestrator.queue.runs import RunFilter
from orchestrator.status.reading import Status, read_status
from orchestrator.status.screens import screen_for
from orchestrator.store import Store
from orchestrator.store.known import check_named

REFRESH_SECONDS = 1.0
NO_ANSWER = "the database does not answer"
GONE = "the database is gone: it was moved or deleted"


class LiveView:
    """A context manager; call `update` as often as you like, it reads the database once a second. `stream` is stderr by
    default. A closed stream is no error: nothing more is shown. Of a database that does not answer, or is gone, the
    last status is shown with a note."""

    def __init__(self, store: Store, wanted: RunFilter, *, stream: TextIO | None = None) -> None:
        self._store, self._wanted = store, wanted
        self._screen = screen_for(stream or sys.stderr)
        self._last: Status | None = None
        self._next_at = 0.0

    def __enter__(self) -> "LiveView":
        self._screen.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._next_at = 0.0
            self.update()
        self._screen.stop()

    @property
    def closed(self) -> bool:
        """Whether the reader has gone."""
        return self._screen.closed

    def update(self) -> None:
        """Show the present state, if the last refresh was a while ago."""
        if time.monotonic() < self._next_at or self.closed:
            return
        warning = ""
        try:
            self._last = read_status(self._store, self._wanted, now=time.time(), events=self._screen.height)
            check_named(self._store, self._wanted)
        except NotThereError as error:
            warning = error.message
        except DatabaseBusyError:
            warning = NO_ANSWER
        except DatabaseMissingError:
            warning = GONE
        if self._last is not None:
            self._screen.show(self._last, warning)
        # Count from the end of the refresh: on a large database, refreshes must not take all the time.
        self._next_at = time.monotonic() + REFRESH_SECONDS


def watch(store: Store, wanted: RunFilter) -> None:
    """Show the status on stdout until interrupted, or until the reader has gone."""
    try:
        with handled((signal.SIGTERM, signal.SIGHUP), _leave), LiveView(store, wanted, stream=sys.stdout) as view:
            while not view.closed:
                view.update()
                time.sleep(REFRESH_SECONDS)
    except KeyboardInterrupt:
        pass


def _leave(number: int) -> None:
    """End this process as the signal would, which would leave the alternate screen on, without a cursor."""
    raise SystemExit(128 + number)
