"""A status that keeps itself up to date: coloured in place on a terminal, plain lines elsewhere."""

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, TextIO

from orchestrator.errors import DatabaseBusyError
from orchestrator.records import RunFilter
from orchestrator.runs import State
from orchestrator.status.reading import Status, read_status
from orchestrator.status.text import (
    TextTable,
    counts_text,
    csv_notes,
    runs_table,
    speed_notes,
    sweeps_table,
    workers_table,
)
from orchestrator.store import Store
from orchestrator.wording import duration, loss_text, short_count

if TYPE_CHECKING:
    from rich.console import RenderableType
    from rich.table import Table

REFRESH_SECONDS = 1.0
PLAIN_EVERY_SECONDS = 10.0
_STYLES = {"running": "cyan", "completed": "green", "failed": "red", "cancelled": "yellow", "pending": "dim"}
_COLUMN_STYLES = {"progress": "green", "val curve": "cyan", "error": "red", "note": "red", "val loss": "bold"}


class LiveView:
    """A context manager; call `update` as often as you like, it looks at the database once a second.

    `stream` is stderr unless told otherwise. A stream that is closed, or a database that is busy, disturbs
    nobody: what can't be shown is not shown.
    """

    def __init__(self, store: Store, sweep_id: int | None = None, *, stream: TextIO | None = None) -> None:
        self._store = store
        self._wanted = RunFilter(sweep_ids=(sweep_id,) if sweep_id is not None else ())
        self._screen = screen_for(stream or sys.stderr)
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

    def update(self) -> None:
        """Show how things stand, if the last look was a while ago."""
        now = time.monotonic()
        if now < self._next_at or self._screen.closed:
            return
        self._next_at = now + REFRESH_SECONDS
        try:
            status = read_status(self._store, self._wanted, now=time.time())
        except DatabaseBusyError:
            return
        self._screen.show(status)


def watch(store: Store, wanted: RunFilter) -> None:
    """Show the status on stdout until interrupted, or until nobody reads it any more."""
    screen = screen_for(sys.stdout)
    screen.start()
    try:
        while not screen.closed:
            try:
                screen.show(read_status(store, wanted, now=time.time()))
            except DatabaseBusyError:
                pass  # the next look is a second away
            time.sleep(REFRESH_SECONDS)
    except KeyboardInterrupt:
        pass
    finally:
        screen.stop()


class PlainScreen:
    """One line every few seconds, for logs and pipes; a line that says nothing new is left out."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last = ""
        self._next_at = 0.0
        self.closed = False

    def start(self) -> None:
        """Nothing to prepare."""

    def show(self, status: Status) -> None:
        """Print a line, if it is time for one or all is done."""
        now = time.monotonic()
        finished = not (status.counts[State.PENDING] + status.counts[State.RUNNING])
        line = progress_line(status)
        if line == self._last or (now < self._next_at and not finished):
            return
        self._last, self._next_at = line, now + PLAIN_EVERY_SECONDS
        try:
            print(line, file=self._stream, flush=True)
        except (BrokenPipeError, ValueError):  # ValueError: the stream was closed on this side
            self.closed = True

    def stop(self) -> None:
        """Nothing to restore."""


class TerminalScreen:
    """The whole status, drawn anew in the same place."""

    def __init__(self, stream: TextIO) -> None:
        from rich.console import Console
        from rich.live import Live

        self._live = Live(console=Console(file=stream), auto_refresh=False, vertical_overflow="ellipsis")
        self.closed = False

    def start(self) -> None:
        """Hide the cursor and begin."""
        self._live.start()

    def show(self, status: Status) -> None:
        """Draw `status` in place of what was there, at the terminal's present width."""
        try:
            self._live.update(render(status), refresh=True)
        except (BrokenPipeError, ValueError):
            self.closed = True

    def stop(self) -> None:
        """Leave the last picture and give the cursor back."""
        try:
            self._live.stop()
        except (BrokenPipeError, ValueError):
            self.closed = True


def screen_for(stream: TextIO) -> PlainScreen | TerminalScreen:
    """What suits `stream`."""
    return TerminalScreen(stream) if stream.isatty() else PlainScreen(stream)


def progress_line(status: Status) -> str:
    """The status in one line: counts, time left, and the newest losses of each running run."""
    parts = [counts_text(status.counts)]
    left = [sweep.seconds_left for sweep in status.sweeps if sweep.done < sweep.total]
    known = [seconds for seconds in left if seconds is not None]
    if known:
        parts.append(f"about {duration(sum(known))} left")
    for run in status.runs:
        if run.state != State.RUNNING:
            continue
        words = [f"run {run.id}", f"{run.fraction:.0%}", f"step {run.step:,}"]
        words += [f"train {loss_text(run.last_train_loss)}"] if run.last_train_loss is not None else []
        words += [f"val {loss_text(run.last_val_loss)}"] if run.last_val_loss is not None else []
        words += [f"{short_count(run.tokens_per_second)} tokens/s"] if run.tokens_per_second else []
        parts.append(" ".join(words))
    return " | ".join(parts)


def render(status: Status) -> "RenderableType":
    """The status for a terminal."""
    from rich.console import Group
    from rich.text import Text

    parts: list[RenderableType] = [Text(f"{status.database}: {counts_text(status.counts)}", style="bold"), Text()]
    parts.append(_rich_table(sweeps_table(status.sweeps, most=6)))
    parts += [Text(line, style="yellow") for line in csv_notes(status.sweeps)]
    if status.runs:
        parts += [Text(), _rich_table(runs_table(status.runs))]
    parts += [Text(line) for line in speed_notes(status)]
    if status.workers:
        parts += [Text(), _rich_table(workers_table(status.workers))]
    elif status.counts[State.PENDING] + status.counts[State.RUNNING]:
        parts += [Text(), Text("No worker is at work. Start one: hlbq worker", style="yellow")]
    if status.events:
        parts += [Text(), _rich_table(_events_table(status))]
    return Group(*parts)


def _events_table(status: Status) -> TextTable:
    rows = [
        [
            f"{duration(max(status.at - event.at, 0.0))} ago",
            event.actor,
            event.action,
            f"run {event.run}" if event.run else f"sweep {event.sweep}" if event.sweep else "",
            event.why,
        ]
        for event in status.events
    ]
    return TextTable(headers=["when", "who", "what", "of", "why"], rows=rows, right=frozenset({"when"}))


def _rich_table(table: TextTable) -> "Table":
    from rich.table import Table
    from rich.text import Text

    shown = table.without_empty_columns()
    drawn = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 1))
    for header in shown.headers:
        drawn.add_column(
            header, justify="right" if header in shown.right else "left", no_wrap=True, overflow="ellipsis"
        )
    for row in shown.rows:
        cells = []
        for header, cell in zip(shown.headers, row, strict=True):
            style = _COLUMN_STYLES.get(header, "")
            if header == "state":
                style = _STYLES.get(cell.partition(":")[0], "")
            cells.append(Text(cell, style=style))
        drawn.add_row(*cells)
    return drawn
