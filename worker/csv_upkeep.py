"""Keeps the CSV of a `-c` sweep up to date after each finished run, on the host that submitted it."""

from collections.abc import Callable

from hlbgpt_core.errors import HlbqError
from orchestrator.export import rewrite_sweep_csv
from orchestrator.store import Store


def keep_csv(store: Store, sweep_id: int, *, host: str, say: Callable[[str], None]) -> None:
    """Rewrite the sweep's rows where this host is to. What goes wrong is said and harms no run."""
    try:
        sweep = store.sweep(sweep_id)
        if sweep is not None and sweep.csv is not None and sweep.csv.host == host:
            rewrite_sweep_csv(store, sweep)
    except (HlbqError, OSError) as error:
        say(f"the CSV of sweep {sweep_id} was not written: {error}; `hlbq export` writes it from the database")
