"""What a page may change, and how many runs that affects: by the rules and the store methods of the commands of the
same names."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.notify.delivering import may_be_told
from orchestrator.notify.side import TELL_SECONDS, NotifySide
from orchestrator.queue.labels import MOST_TAGS, checked_name, checked_note, checked_tag
from orchestrator.queue.runs import LARGEST_PRIORITY, RunFilter
from orchestrator.queue.states import OPEN, Action, State, sources
from orchestrator.store import Store
from orchestrator.store.known import known_run, known_sweep

MOST_RUNS_NAMED = 20_000
_STATES: Mapping[str, Sequence[State]] = {
    "cancel": sources(Action.CANCEL),
    "retry": sources(Action.RETRY),
    "pause": OPEN,
    "unpause": OPEN,
    "priority": OPEN,
}


@dataclass(frozen=True, kw_only=True)
class Change:
    """A requested change: what to do, and to which runs."""

    action: str
    wanted: RunFilter
    priority: int = 0


def read_change(asked: Any) -> Change:
    """A change from a page's JSON. Raises UsageError if it cannot be read or names no runs."""
    if not isinstance(asked, dict) or asked.get("action") not in list(_STATES):
        raise UsageError("the request names no known action", f"Use one of {', '.join(_STATES)}.")
    sweeps, runs = _numbers(asked, "sweeps"), _numbers(asked, "runs")
    if not sweeps and not runs:
        raise UsageError("the request names no runs", "Name sweeps or runs.")
    priority = asked.get("priority", 0)
    if not _is_number(priority, -LARGEST_PRIORITY, LARGEST_PRIORITY):
        raise UsageError(f"a priority is a whole number from -{LARGEST_PRIORITY} to {LARGEST_PRIORITY}")
    wanted = RunFilter(sweep_ids=sweeps, run_ids=runs, states=tuple(_STATES[asked["action"]]))
    return Change(action=asked["action"], wanted=wanted, priority=priority)


def _numbers(asked: Mapping[str, Any], name: str) -> tuple[int, ...]:
    found = asked.get(name, [])
    if not isinstance(found, list) or len(found) > MOST_RUNS_NAMED:
        raise UsageError(f"'{name}' must be a list of numbers", f"Name at most {MOST_RUNS_NAMED:,}.")
    if not all(_is_number(one, 1) for one in found):
        raise UsageError(f"'{name}' holds something other than numbers of runs or sweeps")
    return tuple(found)


def _is_number(value: Any, least: int, most: int = 2**63 - 1) -> bool:
    """Whether it is a whole number from `least` to `most`: at most the largest number of a row."""
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def count(store: Store, change: Change) -> int:
    """How many runs the change may touch."""
    return store.retriable(change.wanted) if change.action == "retry" else store.matching(change.wanted)


def apply(store: Store, change: Change, actor: str) -> int:
    """Make the change; returns how many runs it touched."""
    if change.action == "priority":
        return store.set_priority(change.wanted, change.priority, actor)
    methods = {"cancel": store.cancel, "retry": store.retry, "pause": store.pause, "unpause": store.unpause}
    changed = methods[change.action](change.wanted, actor)
    # Cancelling may end the sweep, and no worker may be running to notify its user.
    if change.action == "cancel" and may_be_told(store):
        NotifySide(store, lambda text: print(text, file=sys.stderr)).close(TELL_SECONDS)
    return changed


@dataclass(frozen=True, kw_only=True)
class Labels:
    """What is to change of a sweep or a run (the other is 0); None, and no tags, leave what there is."""

    sweep: int = 0
    run: int = 0
    name: str | None = None
    note: str | None = None
    add: Sequence[str] = ()
    remove: Sequence[str] = ()


def read_labels(asked: Any) -> Labels:
    """Labels from a page's JSON, checked. Raises UsageError."""
    if not isinstance(asked, dict) or set(asked) - set(Labels.__dataclass_fields__):
        raise UsageError("the request names something other than sweep, run, name, note, add, remove")
    sweep, run, name, note = asked.get("sweep", 0), asked.get("run", 0), asked.get("name"), asked.get("note")
    if not (_is_number(sweep, 0) and _is_number(run, 0)) or bool(sweep) == bool(run):
        raise UsageError("the request must name a sweep or a run, by its number")
    if not isinstance(name, str | None) or not isinstance(note, str | None):
        raise UsageError("a name and a note must be texts")
    if run and name is not None:
        raise UsageError("runs have no names", "Use a note or a tag.")
    tags = asked.get("add", []), asked.get("remove", [])
    for own in tags:
        if not isinstance(own, list) or len(own) > MOST_TAGS or not all(isinstance(one, str) for one in own):
            raise UsageError(f"what to add and to remove must be lists of at most {MOST_TAGS} tags")
    add, remove = (tuple(map(checked_tag, own)) for own in tags)
    name, note = name if name is None else checked_name(name), note if note is None else checked_note(note)
    return Labels(sweep=sweep, run=run, name=name, note=note, add=add, remove=remove)


def write_labels(store: Store, labels: Labels, actor: str) -> None:
    """Make the changes. Raises NotThereError if there is no such sweep or run, UsageError for too many tags."""
    of = known_sweep(store, labels.sweep) if labels.sweep else known_run(store, labels.run)
    if labels.add or labels.remove:  # first: it alone may still be refused
        store.change_tags(of, actor, add=labels.add, remove=labels.remove)
    if labels.sweep and labels.name is not None:
        store.rename(known_sweep(store, labels.sweep), labels.name, actor)
    if labels.note is not None:
        store.set_note(of, labels.note, actor)
