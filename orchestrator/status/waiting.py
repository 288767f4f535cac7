"""Waiting until runs have ended."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from orchestrator.errors import DatabaseBusyError
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import TERMINAL, Reason, State
from orchestrator.queue.sweeps import SEARCH
from orchestrator.wording.numbers import counted

if TYPE_CHECKING:
    from orchestrator.store import Store


def wait_until_ended(
    store: "Store", runs: RunFilter, *, sleep: Callable[[], None], progress: Callable[[str], None]
) -> Mapping[State, int]:
    """The counts by state once no run of `runs` is pending or running, but for runs that are held for their code, and
    no policy of their sweeps may add some.

    Calls `progress` with every change, once when nobody works, and when the database stops answering: that is waited
    for too. Raises NotThereError for a sweep or run that is named and not there, and DatabaseError as
    `Store.check_identity`.
    """
    from orchestrator.store.known import check_named

    check_named(store, runs)
    shown, is_away, said_that_nobody_works = "", False, False
    while True:
        try:
            store.check_identity()
            may_grow = bool(runs.sweep_ids) and store.may_grow(runs.sweep_ids)  # before the counts: a step adds runs
            counts = store.counts(runs)
            if counts_text(counts) != shown:
                shown = counts_text(counts)
                progress(shown)
            unfinished = sum(count for state, count in counts.items() if state not in TERMINAL)
            held = held_among(store, runs) if unfinished else 0
            if unfinished == held and not may_grow:
                check_named(store, runs)  # they may have been deleted meanwhile
                for line in held_text(store, runs) if held else ():
                    progress(line)
                return counts
            if not said_that_nobody_works and all(worker.silent for worker in store.workers()):
                said_that_nobody_works = True
                progress(f"No worker is at work. Start one: hlbq worker{store.location.option}")
            is_away = False
        except DatabaseBusyError as error:
            if not is_away:
                progress(f"{error.message}. Waiting for it.")
            is_away = True
        sleep()


def held_among(store: "Store", runs: RunFilter) -> int:
    """How many of the runs are held until somebody chooses their code."""
    held = {run_id for run_id, _, _ in store.held_runs(runs.sweep_ids)}
    chosen = held & set(runs.run_ids) if runs.run_ids else held
    return sum(store.counts(replace(runs, run_ids=tuple(chosen))).values()) if chosen else 0


def failed_among(store: "Store", runs: RunFilter) -> int:
    """How many of the runs failed. A search expects arms that diverge: these count only where it completed no run."""
    failed = store.matching(replace(runs, states=(State.FAILED,)))
    if not failed:
        return 0
    completed = RunFilter(states=(State.COMPLETED,), with_members=True)
    searches = {record.sweep_id for record in store.policies(runs.sweep_ids) if record.kind == SEARCH}
    fruitful = tuple(one for one in searches if store.matching(replace(completed, sweep_ids=(one,))))
    if not fruitful or (runs.reasons and Reason.DIVERGED not in runs.reasons):
        return failed
    diverged = replace(runs, sweep_ids=fruitful, states=(State.FAILED,), reasons=(Reason.DIVERGED,))
    return failed - store.matching(diverged)


def held_text(store: "Store", runs: RunFilter) -> list[str]:
    """Why runs are held, and how to choose, in lines."""
    from orchestrator.status.reading import held_runs
    from orchestrator.status.text import held_notes

    return held_notes(held_runs(store, runs))


def counts_text(counts: Mapping[State, int]) -> str:
    """`3 completed, 1 failed` in the order of the states; `no runs` for none."""
    parts = [f"{counts[state]:,} {state}" for state in State if counts.get(state)]
    return ", ".join(parts) if parts else counted(0, "run")
