"""Has a `hlbq notify` at work beside a worker, a cancel or a run, while there is something to tell.

It is a process of its own that outlives whoever started it: a command that hangs or crashes changes nothing for
training. What its start misses, the next look of any worker finds.
"""

import os
import subprocess
import sys
from collections.abc import Callable

from hlbgpt_core.errors import HlbqError
from orchestrator.notify.delivering import may_be_told
from orchestrator.store import Store

# So long does a process that ends anyway wait for the teller: batch systems end what their job leaves behind.
CLOSE_SECONDS = 10.0


class NotifySide:
    """Starts the teller where one is wanted, as one process sees it."""

    def __init__(self, store: Store, say: Callable[[str], None]) -> None:
        self._store, self._say = store, say
        self._process: subprocess.Popen[bytes] | None = None
        self._said = False

    def attend(self) -> None:
        """See to it that a teller is at work if there is something to tell. Never raises, never waits."""
        try:
            if not self._at_work() and may_be_told(self._store):
                self._process = self._start()
        except (HlbqError, OSError) as error:
            if not self._said:
                self._say(f"nobody is notified: {error}; `hlbq notify` does it later")
            self._said = True

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Give a teller that has something to tell some seconds; it goes on by itself after that."""
        self.attend()
        if self._process is not None:
            try:
                self._process.wait(timeout=seconds)
            except subprocess.TimeoutExpired:
                pass

    def _at_work(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def _start(self) -> "subprocess.Popen[bytes]":
        # The location may hold a password: not on a command line, which everyone can read.
        place = self._store.location
        location = str(place.path) if place.path is not None else place.url.render_as_string(hide_password=False)
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "orchestrator.cli.main", "notify", "--by_workers"],
            env={**os.environ, "HLBQ_DB": location},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
