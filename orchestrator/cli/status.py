"""`hlbq status`: the progress of everything; `hlbq wait`: wait until runs have ended."""

import gc
import socket
import time
from typing import TYPE_CHECKING

import typer

from orchestrator.cli.common import DatabaseOption, JsonOption, RunFilterOptions, without_garbage_collection
from orchestrator.cli.option_groups import option
from orchestrator.cli.output import note, print_json, print_result, say, suggest
from orchestrator.errors import DatabaseError, UsageError
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import State
from orchestrator.status.waiting import counts_text, failed_among, wait_until_ended

if TYPE_CHECKING:
    from orchestrator.store import Store


def status(
    runs: RunFilterOptions,
    database: DatabaseOption,
    as_json: JsonOption = False,
    watch: bool = option(False, help="Keep the display up to date until Ctrl-C."),
) -> None:
    """Show runs by state, what is running, the time left, and the workers.

    Without filters it covers every sweep, and lists the unfinished ones and the latest; with --all, all of them.
    """
    if watch and as_json:
        raise UsageError("--watch keeps going, but --json prints once", "Leave one of them out.")
    wanted = runs.to_filter()
    with without_garbage_collection():
        _show(wanted, database, as_json=as_json, watch=watch, every_sweep=runs.all)


def wait(
    runs: RunFilterOptions,
    database: DatabaseOption,
    every: float = option(2.0, minimum=0.05, maximum=86_400.0, help="Seconds between checks of the database."),
    as_json: JsonOption = False,
) -> None:
    """Wait until the runs (without filters: of the latest sweep) have ended; exit code 1 if any failed.

    Arms of a search may diverge. That is a failure only if no arm was measured. The command does not wait for runs that
    are held for other code: it ends with exit code 1, and names the choices.
    """
    with database.read() as store:
        latest = None if runs.given() else store.latest_sweep()
        runs = runs if latest is None else RunFilterOptions(sweep=(latest.id,))
        wanted = runs.to_filter()
        counts = wait_until_ended(store, wanted, sleep=lambda: time.sleep(every), progress=note)
        failures = failed_among(store, wanted)
    print_result(counts, counts_text(counts), as_json=as_json)
    if failures:
        these = runs.words()
        see_why = f"To see why: hlbq status --state failed{these}, hlbq show RUN"
        suggest(f"{see_why}. To try again: hlbq retry --failed{these}", store)
    if failures or counts.get(State.PENDING, 0):
        raise typer.Exit(1)


def _show(wanted: RunFilter, database: DatabaseOption, *, as_json: bool, watch: bool, every_sweep: bool) -> None:
    from orchestrator.store.known import check_named

    with database.read() as store:
        check_named(store, wanted)
        _catch_up(store, database)
        if watch:
            from orchestrator.status import live_view

            gc.enable()
            live_view.watch(store, wanted)
            return
        from orchestrator.status.reading import MOST_EVENTS_SHOWN, read_status

        events = MOST_EVENTS_SHOWN if as_json else 0
        found = read_status(store, wanted, now=time.time(), events=events, every_sweep=every_sweep)
    if as_json:
        print_json(found)
        return
    from orchestrator.status.text import status_lines

    say("\n".join(status_lines(found)))


def _catch_up(store: "Store", database: DatabaseOption) -> None:
    """Write what killed workers of this host did not write into the CSV files of their sweeps."""
    host = socket.gethostname()
    behind = [state.sweep_id for state in store.csv_states(host) if state.behind]
    if not behind:
        return
    from orchestrator.export.writing import catch_up_all

    try:
        with database.write() as writing:
            wrong = catch_up_all(writing, host)
    except DatabaseError as error:
        wrong = [f"the CSV of sweep {', '.join(map(str, behind))} was not written: {error.message}"]
    note(*wrong)
