"""Sweeps and runs that must be there; of one that is not, whether it was deleted, by whom and when."""

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.errors import NotThereError
from orchestrator.queue.runs import DELETE, RunFilter, RunRecord
from orchestrator.queue.sweeps import SweepRecord

if TYPE_CHECKING:
    from orchestrator.store import Store

_TOO_LARGE = 2**63  # for a database
_Record = TypeVar("_Record", SweepRecord, RunRecord)


def known_sweep(store: "Store", number: int) -> SweepRecord:
    """The sweep of that number. Raises NotThereError."""
    return _known(store, store.sweep, f"sweep {number}", sweep_id=number)


def known_run(store: "Store", number: int) -> RunRecord:
    """The run of that number. Raises NotThereError."""
    return _known(store, store.run, f"run {number}", run_id=number)


def check_named(store: "Store", wanted: RunFilter) -> None:
    """Raise NotThereError for a sweep or run that a filter names by its number and that is not there."""
    for number in wanted.sweep_ids:
        known_sweep(store, number)
    for number in wanted.run_ids:
        known_run(store, number)


def _known(store: "Store", find: Callable[[int], _Record | None], what: str, **named: Any) -> _Record:
    """What `find` finds for the number that is `named` as events name it."""
    (number,) = named.values()
    fits, hint = number < _TOO_LARGE, "See what there is: hlbq status --all"
    found = find(number) if fits else None
    if found is not None:
        return found
    newest = next(iter(store.events(**named, limit=1)), None) if fits else None
    if newest is not None and newest.action == DELETE:
        on = time.strftime("%Y-%m-%d %H:%M", time.localtime(newest.at))
        raise NotThereError(f"{what} was deleted by {newest.actor} on {on}", hint)
    raise NotThereError(f"there is no {what} in {store.location.display}", hint)
