"""`hlbq wait`: wait until runs have ended."""

import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.common import DatabaseOption, JsonOption, RunFilterOptions, counted, note, print_json, suggest
from orchestrator.cli.option_groups import grouped
from orchestrator.cli.parsing import VariadicCommand
from orchestrator.queue.records import RunFilter
from orchestrator.queue.states import TERMINAL, State

if TYPE_CHECKING:
    from orchestrator.store import Store


def register(app: typer.Typer) -> None:
    """Add `wait`."""
    app.command(cls=VariadicCommand)(grouped(wait))


def wait(
    runs: RunFilterOptions,
    database: DatabaseOption,
    every: Annotated[float, typer.Option("--every", min=0.05, help="Seconds between checks of the database.")] = 2.0,
    as_json: JsonOption = False,
) -> None:
    """Wait until the runs (without filters: of the latest sweep) have ended; exit code 1 if any failed.

    It does not wait for runs that are held until somebody chooses their code: exit code 1, with the choices.
    """
    with database.read() as store:
        counts = wait_until_ended(store, latest_if_none(store, runs), sleep=lambda: time.sleep(every), progress=note)
    if as_json:
        print_json(counts)
    else:
        print(counts_text(counts))
    if counts.get(State.FAILED, 0):
        suggest("see why: hlbq status, hlbq show RUN; try again: hlbq retry --failed", store)
    if any(counts.get(state, 0) for state in (State.FAILED, State.PENDING)):
        raise typer.Exit(1)


def wait_until_ended(
    store: "Store", runs: RunFilter, *, sleep: Callable[[], None], progress: Callable[[str], None]
) -> Mapping[State, int]:
    """The counts by state once no run of `runs` is pending or running, but for runs that are held for their code, and
    no policy of their sweeps may add some.

    Calls `progress` with every change, and once when nobody works. Raises NotThereError for a sweep or run that is
    named and not there.
    """
    from orchestrator.store.known import check_named

    shown, said_that_nobody_works = "", False
    while True:
        may_grow = bool(runs.sweep_ids) and store.may_grow(runs.sweep_ids)  # before the counts: a step adds runs
        counts = store.counts(runs)
        text = counts_text(counts)
        if text != shown:
            progress(text)
            shown = text
        unfinished = sum(count for state, count in counts.items() if state not in TERMINAL)
        held = held_among(store, runs) if unfinished else 0
        if unfinished == held and not may_grow:
            check_named(store, runs)  # they may have been deleted meanwhile
            for line in held_text(store, runs) if held else ():
                progress(line)
            return counts
        if not said_that_nobody_works and all(worker.silent(time.time()) for worker in store.workers()):
            said_that_nobody_works = True
            progress(f"No worker is at work. Start one: hlbq worker{store.location.option}")
        sleep()


def held_among(store: "Store", runs: RunFilter) -> int:
    """How many of the runs are held until somebody chooses their code."""
    held = {run_id for run_id, _, _ in store.held_runs(runs.sweep_ids)}
    chosen = held & set(runs.run_ids) if runs.run_ids else held
    return sum(store.counts(replace(runs, run_ids=tuple(chosen))).values()) if chosen else 0


def held_text(store: "Store", runs: RunFilter) -> list[str]:
    """Why runs are held, and how to choose, in lines."""
    from orchestrator.status.reading import held_runs
    from orchestrator.status.text import held_notes

    return held_notes(held_runs(store, runs))


def latest_if_none(store: "Store", runs: RunFilterOptions) -> RunFilter:
    """The filter of `runs`; without any, the runs of the latest sweep."""
    latest = None if runs.given() else store.latest_sweep()
    return runs.to_filter() if latest is None else RunFilter(sweep_ids=(latest.id,))


def counts_text(counts: Mapping[State, int]) -> str:
    """`3 completed, 1 failed` in the order of the states; `no runs` for none."""
    parts = [f"{counts[state]:,} {state}" for state in State if counts.get(state)]
    return ", ".join(parts) if parts else counted(0, "run")
