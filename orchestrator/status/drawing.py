"""A status drawn for a terminal of any size: the least important parts are left out first.

On a narrow terminal it leaves out columns; on a low one, rows, and a line says how many.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.queue.states import State
from orchestrator.status import text
from orchestrator.status.reading import MOST_EVENTS_SHOWN, RunStatus, Status
from orchestrator.wording.numbers import short_count
from orchestrator.wording.plain import printable
from orchestrator.wording.tables import TextTable

_STYLES = {"running": "cyan", "completed": "green", "failed": "red", "cancelled": "yellow", "pending": "dim"}
_COLUMN_STYLES = {"progress": "green", "val curve": "cyan", "error": "red", "note": "red", "val loss": "bold"}
_HEIGHT_TO_WRAP = 20  # a lower terminal cuts its headline
# What a narrow terminal leaves out, first to last.
_RUNS_DROP = ("params", "error", "memory", "microbatches", "epoch", "left", "val curve", "mfu", "tokens/s", "step")
_RUNS_DROP_LAST = ("train loss", "state", "done")
_SWEEPS_DROP = ("cancelled", "pending", "running", "completed", "tags", "name", "progress", "failed", "left")
_WORKERS_DROP = ("device name", "use", "temperature", "host", "note", "holds run", "device")
_EVENTS_DROP = ("who", "why", "when", "of")


@dataclass(frozen=True, kw_only=True)
class ScreenSection:
    """A table, the columns that may be left out, and what its rows are called."""

    table: TextTable
    drop: Sequence[str]
    noun: str


def draw(status: Status, *, width: int, height: int, warning: str = "") -> RenderableType:
    """The status in at most `width` columns and `height` lines."""
    parts = headline(status)
    whole = " · ".join(parts)
    lines = [_line(line, "bold") for line in (_wrapped(parts, width) if height >= _HEIGHT_TO_WRAP else [whole])]
    lines += [_line(warning, "yellow")] if warning else []
    if not status.total:
        lines.append(_line(text.why_empty(status), "yellow"))
    lines += [_line(note, "yellow") for note in _notes(status)][: max(height // 6, 1)]
    sections = sections_of(status)
    # Leave the last line free: writing into it makes some terminals scroll.
    free, wanted = height - 1 - len(lines), [len(section.table.rows) for section in sections]
    events = len(sections) - 1 if sections and sections[-1].noun == "events" else None
    shares = allot(free, [min(rows, MOST_EVENTS_SHOWN) if at == events else rows for at, rows in enumerate(wanted)])
    if events is not None and shares[events]:  # older events fill what is left of a high terminal
        left = free - sum(share + 2 for share in shares if share)
        shares[events] += max(0, min(left, wanted[events] - shares[events]))
    drawn: list[RenderableType] = lines[: max(height - 1, 1)]
    for section, share in zip(sections, shares, strict=True):
        if share:
            drawn += _drawn(section, share, width)
    return Group(*drawn)


def _wrapped(parts: Sequence[str], width: int) -> list[str]:
    """The parts in lines of at most `width` columns, where a single part is not longer."""
    lines = [parts[0]]
    for part in parts[1:]:
        longer = f"{lines[-1]} · {part}"
        lines[-1:] = [longer] if len(longer) <= width else [lines[-1], part]
    return lines


def headline(status: Status) -> list[str]:
    """Counts of runs, speed, time left, and the database."""
    parts = [text.counts_text(status.counts)] if status.total else []
    parts += [f"{status.backing_off:,} to retry"] if status.backing_off else []
    parts += [f"{short_count(status.tokens_per_second)} tokens/s"] if status.tokens_per_second else []
    return [*parts, *text.left_text(status), status.database]


def sections_of(status: Status) -> list[ScreenSection]:
    """The tables, most important first; empty ones are left out."""
    swept = dict.fromkeys(name for run in status.runs for name in run.settings)
    runs_drop = (*_RUNS_DROP, "seed", *reversed(swept), *_RUNS_DROP_LAST)
    found = [
        ScreenSection(table=text.sweeps_table(status, most=6), drop=_SWEEPS_DROP, noun="sweeps"),
        ScreenSection(table=text.runs_table(sorted(status.runs, key=_urgency)), drop=runs_drop, noun="runs"),
        ScreenSection(table=text.workers_table(status.workers), drop=_WORKERS_DROP, noun="workers"),
        ScreenSection(table=text.events_table(status.events, now=status.at), drop=_EVENTS_DROP, noun="events"),
    ]
    return [section for section in found if section.table.rows]


def allot(lines: int, rows: Sequence[int]) -> list[int]:
    """How many lines each table gets for its rows so that everything fits, with a blank line and a header for each. The
    first ones get a row each before any gets its second; the rest goes to the first."""
    shares = [0] * len(rows)
    for place in range(len(rows)):
        if lines >= 3:
            shares[place], lines = 1, lines - 3
    for least in (3, 8, max(rows, default=0)):
        for place, wanted in enumerate(rows):
            more = min(least, wanted) - shares[place]
            if shares[place] and more > 0:
                given = min(more, lines)
                shares[place], lines = shares[place] + given, lines - given
    return shares


def _urgency(run: RunStatus) -> tuple[int, int]:
    order = (State.RUNNING, State.FAILED, State.PENDING, State.COMPLETED, State.CANCELLED)
    waits = run.state == State.PENDING and run.waits_seconds is not None
    return (1 if waits else order.index(State(run.state)), run.id)


def _notes(status: Status) -> list[str]:
    notes = [*text.notes_of(status), *text.slot_speeds(status)]
    if not status.workers and status.counts[State.PENDING] + status.counts[State.RUNNING]:
        notes.insert(0, f"No worker is running. Start one: hlbq worker{status.database_option}")
    return notes


def _line(line: str, style: str) -> RenderableType:
    return Text(printable(line), style=style, no_wrap=True, overflow="ellipsis")


def _drawn(section: ScreenSection, share: int, width: int) -> list[RenderableType]:
    """A blank line, the table with at most `share` lines of rows, and a note on those left out."""
    rows = section.table.rows
    shown = rows if len(rows) <= share else rows[: max(share - 1, 1)]
    table = replace(section.table, rows=shown)
    parts: list[RenderableType] = [Text(), _rich_table(table.fitted(width, section.drop))]
    if len(shown) < len(rows) and share > 1:
        parts.append(_line(f"and {len(rows) - len(shown):,} more {section.noun}", "dim"))
    return parts


def _rich_table(table: TextTable) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="dim", padding=(0, 2, 0, 0))
    for header in table.headers:
        justify = "right" if header in table.right else "left"
        drawn.add_column(Text(header), justify=justify, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
    for row in table.rows:
        drawn.add_row(*(Text(cell, _style(header, cell)) for header, cell in zip(table.headers, row, strict=True)))
    return drawn


def _style(header: str, cell: str) -> str:
    return _STYLES.get(cell.partition(":")[0], "") if header == "state" else _COLUMN_STYLES.get(header, "")
