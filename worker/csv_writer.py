"""Keeps the CSV of `-c` sweeps up to date after each finished run, on the host that submitted them.

It has its own thread: writing the table of a large sweep takes seconds, and beats must not wait for it. One more write
covers runs that end meanwhile.
"""

import threading
from collections.abc import Callable

from hlbgpt_core.errors import HlbqError
from orchestrator.export import rewrite_sweep_csv
from orchestrator.store import Store


class CsvUpkeep:
    """Writes what `changed` names, soon; `close` waits until all of it is written."""

    def __init__(self, store: Store, *, hostname: str, say: Callable[[str], None]) -> None:
        self._store, self._hostname, self._say = store, hostname, say
        self._condition = threading.Condition()
        self._changed: set[int] = set()
        self._closing = False
        self._thread: threading.Thread | None = None

    def changed(self, sweep_id: int) -> None:
        """A run of the sweep has ended; returns at once."""
        with self._condition:
            self._changed.add(sweep_id)
            self._condition.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="csv-upkeep", daemon=True)
                self._thread.start()

    def close(self) -> None:
        """Write what is left, then stop."""
        with self._condition:
            self._closing = True
            self._condition.notify()
        if self._thread is not None:
            self._thread.join()

    def _work(self) -> None:
        while True:
            with self._condition:
                self._condition.wait_for(lambda: self._changed or self._closing)
                if not self._changed:
                    return
                sweep_id = self._changed.pop()
            self._write(sweep_id)

    def _write(self, sweep_id: int) -> None:
        """Rewrite the sweep's rows where this host is to. What goes wrong is said and harms no run."""
        try:
            sweep = self._store.sweep(sweep_id)
            if sweep is not None and sweep.csv is not None and sweep.csv.host == self._hostname:
                rewrite_sweep_csv(self._store, sweep)
        except (HlbqError, OSError) as error:
            self._say(f"the CSV of sweep {sweep_id} was not written: {error}. Write it from the database: hlbq export")
