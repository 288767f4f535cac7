"""Takes the steps of sweeps that grow by themselves, in a child process: its libraries are heavy, and beats must go on.

Any worker takes any due step. If two start one at the same time, the store lets one of them write.
"""

import contextlib
import subprocess
from collections.abc import Callable, Mapping, Sequence

from orchestrator.errors import DatabaseBusyError
from orchestrator.launch.python_process import start_hlbq
from orchestrator.store import Store

# A step that fails so often in a row has a fault of its own: nobody stays for it. Who stays anyway tries again.
MOST_FAILURES = 3
LONGEST_WAIT_SECONDS = 300.0


class GrowthSteps:
    """Starts a step where one is due, as one worker sees it."""

    def __init__(
        self, store: Store, sweep_ids: Sequence[int], say: Callable[[str], None], clock: Callable[[], float]
    ) -> None:
        self._store, self._sweep_ids, self._say, self._clock = store, sweep_ids, say, clock
        self._process: subprocess.Popen[bytes] | None = None
        self._failures, self._not_before = 0, 0.0
        # The policies whose steps were due when one was last started, by number, and their results then.
        self._asked: Mapping[int, int] = {}

    def attend(self) -> None:
        """Start a step if one is due and none is being taken here. Never waits."""
        if self._at_work():
            return
        try:
            due = {policy.id: policy.results for policy in self._store.due_policies()}
            if not due or (self._clock() < self._not_before and due.items() <= self._asked.items()):
                return
            self._asked = due
            self._process = start_hlbq("decide", db=self._store.location.private, stdout=subprocess.DEVNULL)
        except DatabaseBusyError:
            return  # asked again soon
        except OSError as error:
            self._note_failure(str(error))

    def may_add(self) -> bool:
        """Whether a step may add runs that this worker could claim."""
        if self._at_work():
            return True
        # A step that was taken is no longer due: those that are still so are the ones that fail.
        due = self._store.due_policies() if self._failures >= MOST_FAILURES else ()
        fail = [policy.id for policy in due if self._asked.get(policy.id) == policy.results]
        return self._store.may_grow(self._sweep_ids, without=fail)

    def close(self, patience_seconds: float) -> None:
        """Wait for a step that is under way: it takes a second or two. After `patience_seconds` it goes on alone."""
        if self._process is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(patience_seconds)

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
        self._not_before = self._clock() + min(2.0**self._failures, LONGEST_WAIT_SECONDS)
        self._say(f"a step of a growing sweep failed: {what}. To take it by hand: hlbq decide")
