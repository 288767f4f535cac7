"""Sweeps and runs that must be there; of one that is not, whether it was deleted, by whom and when."""

import time
from typing import TYPE_CHECKING, NoReturn

from orchestrator.errors import NotThereError
from orchestrator.queue.runs import DELETE, RunFilter, RunRecord
from orchestrator.queue.sweeps import SweepRecord

if TYPE_CHECKING:
    from orchestrator.store import Store

_TOO_LARGE = 2**63  # for a database


def known_sweep(store: "Store", number: int) -> SweepRecord:
    """The sweep of that number. Raises NotThereError."""
    found = store.sweep(number) if number < _TOO_LARGE else None
    return found or _not_there(store, f"sweep {number}", "hlbq status", sweep_id=number)


def known_run(store: "Store", number: int) -> RunRecord:
    """The run of that number. Raises NotThereError."""
    found = store.run(number) if number < _TOO_LARGE else None
    return found or _not_there(store, f"run {number}", "hlbq status --all", run_id=number)


def check_named(store: "Store", wanted: RunFilter) -> None:
    """Raise NotThereError for a sweep or run that a filter names by its number and that is not there."""
    for number in wanted.sweep_ids:
        known_sweep(store, number)
    for number in wanted.run_ids:
        known_run(store, number)


def _not_there(
    store: "Store", what: str, listing: str, *, sweep_id: int | None = None, run_id: int | None = None
) -> NoReturn:
    can_be = max(sweep_id or 0, run_id or 0) < _TOO_LARGE
    newest = next(iter(store.events(run_id, sweep_id, limit=1)), None) if can_be else None
    if newest is not None and newest.action == DELETE:
        on = time.strftime("%Y-%m-%d %H:%M", time.localtime(newest.at))
        raise NotThereError(f"{what} was deleted by {newest.actor} on {on}", f"See what there is: {listing}")
    raise NotThereError(f"there is no {what} in {store.location.display}", f"See what there is: {listing}")
