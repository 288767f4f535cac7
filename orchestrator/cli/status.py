"""`hlbq status`: the progress of everything."""

import gc
import socket
import time
from typing import TYPE_CHECKING

from orchestrator.cli.common import DatabaseOption, JsonOption, RunFilterOptions, without_garbage_collection
from orchestrator.cli.option_groups import option
from orchestrator.cli.output import note, print_json, say
from orchestrator.errors import DatabaseError, UsageError
from orchestrator.queue.runs import RunFilter

if TYPE_CHECKING:
    from orchestrator.store import Store


def status(
    runs: RunFilterOptions,
    database: DatabaseOption,
    as_json: JsonOption = False,
    watch: bool = option(False, help="Keep the display up to date until Ctrl-C."),
) -> None:
    """Show runs by state, what is running, the time left, and the workers.

    Without filters it covers every sweep, and lists the unfinished ones and the latest.
    """
    if watch and as_json:
        raise UsageError("--watch keeps going, but --json prints once", "Leave one of them out.")
    wanted = runs.to_filter()
    with without_garbage_collection():
        _show(wanted, database, as_json=as_json, watch=watch)


def _show(wanted: RunFilter, database: DatabaseOption, *, as_json: bool, watch: bool) -> None:
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

        found = read_status(store, wanted, now=time.time(), events=MOST_EVENTS_SHOWN if as_json else 0)
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
    from orchestrator.export import catch_up

    try:
        with database.write() as writing:
            # Whoever holds a file's lock just now writes the same rows.
            wrong = [catch_up(writing, sweep_id, host=host, lock_timeout_seconds=0.0) for sweep_id in behind]
    except DatabaseError as error:
        wrong = [f"the CSV of sweep {', '.join(map(str, behind))} was not written: {error.message}"]
    for line in filter(None, wrong):
        note(line)
