"""Keeps the CSV of `-c` sweeps up to date after each finished run, on the host that submitted them.

It has its own thread: writing the table of a large sweep takes seconds, and beats must not wait for it. One more write
covers runs that end meanwhile. What a killed worker of this host did not write is written by the next one.
"""

import threading
import time
from collections.abc import Callable

from orchestrator.export.writing import catch_up
from orchestrator.store import Store

CATCH_UP_SECONDS = 30.0


class CsvUpkeep:
    """Writes what `changed` names, soon; `close` waits until all of it is written."""

    def __init__(self, store: Store, *, hostname: str, say: Callable[[str], None]) -> None:
        self._store, self._hostname, self._say = store, hostname, say
        self._caught_up_at = float("-inf")
        self._said: dict[int, str] = {}
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

    def catch_up(self, *, at_once: bool = False) -> None:
        """Have what others left unwritten written; asked again and again, it looks only now and then."""
        if at_once or time.monotonic() - self._caught_up_at >= CATCH_UP_SECONDS:
            self._caught_up_at = time.monotonic()
            for state in self._store.csv_states(self._hostname):
                if state.behind:
                    self.changed(state.sweep_id)

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
            # What goes wrong is said, once, and harms no run.
            wrong = catch_up(self._store, sweep_id, host=self._hostname)
            if wrong and wrong != self._said.get(sweep_id):
                self._say(wrong)
            self._said[sweep_id] = wrong
