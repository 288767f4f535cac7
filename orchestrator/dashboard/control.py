"""What a page may change: the same store methods as the commands of the same names, and how many runs they touch."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.notify.delivering import may_be_told
from orchestrator.notify.side import NotifySide
from orchestrator.queue.records import RunFilter
from orchestrator.queue.states import Action, State, sources
from orchestrator.store import Store

LARGEST_PRIORITY = 10**6
MOST_RUNS_NAMED = 20_000
TELL_SECONDS = 3.0
_OPEN = (State.PENDING, State.RUNNING)
_STATES: Mapping[str, Sequence[State]] = {
    "cancel": sources(Action.CANCEL),
    "retry": sources(Action.RETRY),
    "pause": _OPEN,
    "unpause": _OPEN,
    "priority": _OPEN,
}


@dataclass(frozen=True, kw_only=True)
class Change:
    """A change that was asked for: what is done, and to which runs."""

    action: str
    wanted: RunFilter
    priority: int = 0


def read_change(asked: Any) -> Change:
    """A change from a page's JSON. Raises UsageError for what can't be read, or names no run at all."""
    if not isinstance(asked, dict) or asked.get("action") not in list(_STATES):
        raise UsageError("what is to be done?", f"The action is one of {', '.join(_STATES)}.")
    sweeps, runs = _numbers(asked, "sweeps"), _numbers(asked, "runs")
    if not sweeps and not runs:
        raise UsageError("which runs? None was named", "Name sweeps or runs.")
    states = tuple(_STATES[asked["action"]])
    if asked.get("failed"):
        states = tuple(state for state in states if state is State.FAILED)
        if not states:  # none at all would mean every state
            raise UsageError("failed runs can be retried, and nothing else")
    priority = asked.get("priority", 0)
    if not isinstance(priority, int) or isinstance(priority, bool) or abs(priority) > LARGEST_PRIORITY:
        raise UsageError(f"a priority is a whole number from -{LARGEST_PRIORITY} to {LARGEST_PRIORITY}")
    return Change(
        action=asked["action"], wanted=RunFilter(sweep_ids=sweeps, run_ids=runs, states=states), priority=priority
    )


def _numbers(asked: Mapping[str, Any], name: str) -> tuple[int, ...]:
    found = asked.get(name, [])
    if not isinstance(found, list) or len(found) > MOST_RUNS_NAMED:
        raise UsageError(f"'{name}' is a list of numbers", f"No more than {MOST_RUNS_NAMED:,} of them.")
    if not all(isinstance(one, int) and not isinstance(one, bool) and 0 < one < 2**63 for one in found):
        raise UsageError(f"'{name}' has something that is no number of a run or sweep")
    return tuple(found)


def count(store: Store, change: Change) -> int:
    """How many runs the change may touch."""
    return store.matching(change.wanted)


def apply(store: Store, change: Change, actor: str) -> int:
    """Make the change; returns how many runs it touched."""
    match change.action:
        case "cancel":
            cancelled = store.cancel(change.wanted, actor)
            # A sweep may be over with that, and no worker be at work to tell whoever asked to be told.
            if may_be_told(store):
                NotifySide(store, lambda text: print(text, file=sys.stderr)).close(TELL_SECONDS)
            return cancelled
        case "retry":
            return store.retry(change.wanted, actor)
        case "pause":
            return store.pause(change.wanted, actor)
        case "unpause":
            return store.unpause(change.wanted, actor)
        case _:
            return store.set_priority(change.wanted, change.priority, actor)
