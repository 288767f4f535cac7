"""What a page may change: by the store methods of the commands of the same names; and how many runs a change
affects."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import UsageError
from orchestrator.notify.delivering import may_be_told
from orchestrator.notify.side import NotifySide
from orchestrator.queue.runs import RunFilter
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
    states = tuple(_STATES[asked["action"]])
    if asked.get("failed"):
        states = tuple(state for state in states if state is State.FAILED)
        if not states:  # no state would mean every state
            raise UsageError("failed runs can only be retried")
    priority = asked.get("priority", 0)
    if not isinstance(priority, int) or isinstance(priority, bool) or abs(priority) > LARGEST_PRIORITY:
        raise UsageError(f"a priority is a whole number from -{LARGEST_PRIORITY} to {LARGEST_PRIORITY}")
    return Change(
        action=asked["action"], wanted=RunFilter(sweep_ids=sweeps, run_ids=runs, states=states), priority=priority
    )


def _numbers(asked: Mapping[str, Any], name: str) -> tuple[int, ...]:
    found = asked.get(name, [])
    if not isinstance(found, list) or len(found) > MOST_RUNS_NAMED:
        raise UsageError(f"'{name}' must be a list of numbers", f"Name at most {MOST_RUNS_NAMED:,}.")
    if not all(isinstance(one, int) and not isinstance(one, bool) and 0 < one < 2**63 for one in found):
        raise UsageError(f"'{name}' holds something other than numbers of runs or sweeps")
    return tuple(found)


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
