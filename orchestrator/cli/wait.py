"""`hlbq wait`: wait until runs have ended."""

import time

import typer

from orchestrator.cli.common import DatabaseOption, JsonOption, RunFilterOptions
from orchestrator.cli.option_groups import option
from orchestrator.cli.output import note, print_result, suggest
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import State
from orchestrator.status.waiting import counts_text, failed_among, wait_until_ended


def wait(
    runs: RunFilterOptions,
    database: DatabaseOption,
    every: float = option(2.0, min=0.05, max=86_400.0, help="Seconds between checks of the database."),
    as_json: JsonOption = False,
) -> None:
    """Wait until the runs (without filters: of the latest sweep) have ended; exit code 1 if any failed.

    Arms of a search may diverge: that is no failure, unless no arm was measured.
    It does not wait for runs that are held until somebody chooses their code: exit code 1, with the choices.
    """
    with database.read() as store:
        latest = None if runs.given() else store.latest_sweep()
        wanted = runs.to_filter() if latest is None else RunFilter(sweep_ids=(latest.id,))
        counts = wait_until_ended(store, wanted, sleep=lambda: time.sleep(every), progress=note)
        failures = failed_among(store, wanted)
    print_result(counts, counts_text(counts), as_json=as_json)
    if failures:
        suggest("see why: hlbq status, hlbq show RUN; try again: hlbq retry --failed", store)
    if failures or counts.get(State.PENDING, 0):
        raise typer.Exit(1)
