"""Runs `hlbq notify` beside a worker, a cancel or a run while notices are waiting.

It is a separate process that outlives its starter, so a command that hangs or crashes does not affect training. A
thread checks whether it is needed, since the user's folder may be on a disk that does not answer. If one check misses a
notice, the next check of any worker finds it.
"""

import subprocess
import threading
from collections.abc import Callable

from hlbgpt_core.errors import HlbqError
from orchestrator.launch.python_process import start_hlbq
from orchestrator.notify.delivering import may_be_told, teller_at_work
from orchestrator.store import Store

# How long a process that is ending waits for the teller: batch systems kill what a job leaves behind.
CLOSE_SECONDS = 10.0
# How long a command waits for it, while a person waits for the command.
TELL_SECONDS = 3.0


class NotifySide:
    """Starts the teller when this process sees that one is needed."""

    def __init__(self, store: Store, say: Callable[[str], None]) -> None:
        self._store, self._say = store, say
        self._process: subprocess.Popen[bytes] | None = None
        self._said = False
        self._wanted = threading.Event()
        self._closing = False
        self._thread: threading.Thread | None = None

    def attend(self) -> None:
        """Something may have happened: start a check. Returns at once."""
        self._wanted.set()
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="notify-side", daemon=True)
            self._thread.start()

    def close(self, seconds: float = CLOSE_SECONDS) -> None:
        """Check once more, and give a busy teller some seconds; after that it goes on by itself."""
        self._closing = True
        self.attend()
        if self._thread is not None:
            self._thread.join(timeout=seconds)

    def _work(self) -> None:
        while True:
            self._wanted.wait()
            self._wanted.clear()
            closing = self._closing
            self._look()
            if closing:
                break
        if self._process is not None:
            self._process.wait()

    def _look(self) -> None:
        """Make sure that a teller is running if notices are waiting."""
        try:
            at_work = self._process is not None and self._process.poll() is None
            if not at_work and may_be_told(self._store) and not teller_at_work(self._store.location):
                self._process = start_hlbq(
                    *("notify", "--by_workers"),
                    db=self._store.location.private,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    start_new_session=True,
                )
        except (HlbqError, OSError) as error:
            if not self._said:
                self._say(f"nobody was notified: {error}. Try again later: hlbq notify")
            self._said = True
