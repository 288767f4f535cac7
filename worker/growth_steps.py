"""Takes the steps of sweeps that grow by themselves, in a child process: its libraries are heavy, and beats must go on.

Any worker takes any due step. If two start one at the same time, the store lets one of them write.
"""

import os
import subprocess
from collections.abc import Callable, Sequence

from orchestrator.errors import DatabaseBusyError
from orchestrator.launch.python_process import hlbq_argv
from orchestrator.store import Store

# A step that fails so often in a row has a fault of its own, which waiting does not mend.
MOST_FAILURES = 3


class GrowthSteps:
    """Starts a step where one is due, as one worker sees it."""

    def __init__(self, store: Store, sweep_ids: Sequence[int], say: Callable[[str], None]) -> None:
        self._store, self._sweep_ids, self._say = store, sweep_ids, say
        self._process: subprocess.Popen[bytes] | None = None
        self._failures = 0

    def attend(self) -> None:
        """Start a step if one is due and none is being taken here. Never waits."""
        if self._gave_up or self._at_work():
            return
        try:
            if not self._store.due_policies():
                return
            self._process = subprocess.Popen(
                hlbq_argv("decide"),
                env={**os.environ, "HLBQ_DB": self._store.location.private},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )
        except DatabaseBusyError:
            return  # asked again soon
        except OSError as error:
            self._note_failure(str(error))

    def may_add(self) -> bool:
        """Whether a step may add runs that this worker could claim."""
        return not self._gave_up and (self._at_work() or self._store.may_grow(self._sweep_ids))

    def close(self) -> None:
        """Wait for a step that is under way: it takes a second or two."""
        if self._process is not None:
            self._process.wait()

    @property
    def _gave_up(self) -> bool:
        return self._failures >= MOST_FAILURES

    def _at_work(self) -> bool:
        if self._process is None:
            return False
        code = self._process.poll()
        if code is None:
            return True
        self._process = None
        if code:
            self._note_failure(f"exit code {code}")
        else:
            self._failures = 0
        return False

    def _note_failure(self, what: str) -> None:
        self._failures += 1
        self._say(f"a step of a growing sweep failed: {what}. To take it by hand: hlbq decide")
