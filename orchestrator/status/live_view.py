"""A status that keeps itself up to date, for `hlbq status --watch` and `hlbq run`.

In place on a terminal, as plain lines elsewhere. A reader that has gone is no error: output to it is dropped.
"""

import contextlib
import io
import os
import select
import signal
import sys
import time
from typing import TextIO

from rich.console import Console
from rich.live import Live

from orchestrator.errors import DatabaseBusyError, DatabaseMissingError, NotThereError
from orchestrator.launch.stop_signals import STOP_SIGNALS, handled, heeded_stop_signals
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import State
from orchestrator.status.drawing import draw
from orchestrator.status.reading import Status, read_status
from orchestrator.status.text import counts_text, left_text
from orchestrator.store import Store
from orchestrator.store.known import check_named
from orchestrator.wording.numbers import loss_text, short_count
from orchestrator.wording.plain import printable

REFRESH_SECONDS = 1.0
PLAIN_EVERY_SECONDS = 10.0
SHOWN_IN_A_LINE = 8
NO_ANSWER = "the database does not answer"
GONE = "the database is gone: it was moved or deleted"


class PlainScreen:
    """One line every few seconds, for logs and pipes; a line without news is left out."""

    height = 0  # it shows no events

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = ""
        self._next_at = 0.0
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the reader has gone; known even while there is nothing new to print."""
        self._closed = self._closed or _reader_is_gone(self._stream)
        return self._closed

    def start(self) -> None:
        """Nothing to prepare."""

    def show(self, status: Status, warning: str = "") -> None:
        """Print a line, if it is time for one or all is done."""
        now = time.monotonic()
        finished = not (status.counts[State.PENDING] + status.counts[State.RUNNING])
        line = " | ".join(part for part in (progress_line(status), warning) if part)
        if line == self._last or (now < self._next_at and not finished):
            return
        self._last, self._next_at = line, now + PLAIN_EVERY_SECONDS
        try:
            print(line, file=self._stream, flush=True)
        except (OSError, ValueError):  # ValueError: the stream was closed on this side
            self._closed = True

    def stop(self) -> None:
        """Nothing to restore."""


class TerminalScreen:
    """The whole status on the alternate screen, like `top`; the last picture stays at the end."""

    def __init__(self, stream: TextIO) -> None:
        self._console = Console(file=stream)
        self._live = Live(console=self._console, auto_refresh=False, screen=True)
        self._last: Status | None = None
        self.closed = False

    @property
    def height(self) -> int:
        """The terminal's lines."""
        return self._console.size.height

    def start(self) -> None:
        """Switch to the other screen and hide the cursor."""
        self._live.start()

    def show(self, status: Status, warning: str = "") -> None:
        """Draw `status` over the old picture, as large as the terminal is now."""
        self._last = status
        try:
            width, height = self._console.size
            self._live.update(draw(status, width=width, height=height, warning=warning), refresh=True)
        except (OSError, ValueError):
            self.closed = True

    def stop(self) -> None:
        """Restore the screen and the cursor, and leave the last picture on it."""
        try:
            self._live.stop()
            if self._last is not None and not self.closed:
                width, height = self._console.size
                self._console.print(draw(self._last, width=width, height=height))
        except (OSError, ValueError):
            self.closed = True


def screen_for(stream: TextIO) -> PlainScreen | TerminalScreen:
    """The screen that suits `stream`."""
    moves = os.environ.get("TERM", "dumb").lower() not in ("dumb", "unknown")
    return TerminalScreen(stream) if stream.isatty() and moves else PlainScreen(stream)


def progress_line(status: Status) -> str:
    """The status in one line: counts, time left, and the newest losses of each running run."""
    parts = [counts_text(status.counts), *left_text(status)]
    if status.tokens_per_second:
        parts.append(f"{short_count(status.tokens_per_second)} tokens/s")
    running = [run for run in status.runs if run.state == State.RUNNING]
    for run in running[:SHOWN_IN_A_LINE]:
        words = [f"run {run.id}", f"{run.fraction:.0%}", f"step {run.step:,}"]
        words += [f"train {loss_text(run.last_train_loss)}"] if run.last_train_loss is not None else []
        words += [f"val {loss_text(run.last_val_loss)}"] if run.last_val_loss is not None else []
        parts.append(" ".join(words))
    if status.running_total > SHOWN_IN_A_LINE:
        parts.append(f"and {status.running_total - SHOWN_IN_A_LINE:,} more running")
    return printable(" | ".join(parts))


def _reader_is_gone(stream: TextIO) -> bool:
    try:
        descriptor = stream.fileno()
    except (io.UnsupportedOperation, ValueError, AttributeError):
        return False
    poll = select.poll()
    poll.register(descriptor, 0)
    return any(event & select.POLLERR for _, event in poll.poll(0))


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

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
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
    """Show the status on stdout until interrupted, or until the reader has gone. Raises DatabaseError where
    the database was replaced, or another hlbq has changed its schema."""
    with (
        contextlib.suppress(KeyboardInterrupt),
        handled(heeded_stop_signals(), _leave),
        LiveView(store, wanted, stream=sys.stdout) as view,
    ):
        while not view.closed:
            with contextlib.suppress(DatabaseBusyError, DatabaseMissingError):  # the view says these
                store.check_identity()
            view.update()
            time.sleep(REFRESH_SECONDS)


def _leave(number: int) -> None:
    """End this process as the signal would, which would leave the alternate screen on, without a cursor."""
    for one in STOP_SIGNALS:
        signal.signal(one, signal.SIG_IGN)  # another would cut the clean-up off, or end us with no exit code of ours
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)
