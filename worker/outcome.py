"""What came of a worker's runs: what it says of each, their count, and whether its device should take any more."""

from collections.abc import Callable
from dataclasses import dataclass

from orchestrator.errors import DatabaseBusyError
from orchestrator.queue.attempts import Ending
from orchestrator.queue.runs import RunRecord
from orchestrator.queue.states import Reason, State
from orchestrator.queue.workers import WorkerIdentity
from orchestrator.store import Store
from worker.devices.set_aside import FAILURES, SET_ASIDE_AFTER, why_to_set_aside


@dataclass(frozen=True, kw_only=True)
class WorkerSummary:
    """What a worker did. `why` says what ended it."""

    completed: int
    failed: int
    why: str
    interrupted: bool = False
    set_aside: bool = False
    could_not_work: bool = False


class Outcome:
    """The runs that one worker has ended. `why_aside` says why its device is set aside; empty while it is not."""

    def __init__(self, store: Store, identity: WorkerIdentity, say: Callable[[str], None]) -> None:
        self.ended = self.completed = self.failed = 0
        self.why_aside = ""
        self._store, self._identity, self._say = store, identity, say

    def note(self, ending: Ending, after: RunRecord) -> None:
        """An attempt's end is recorded: say so, and count it."""
        loss = "" if after.last_val_loss is None else f", validation loss {after.last_val_loss:.4f}"
        why = ending.error_message.splitlines()[:1]
        what = ": ".join(["", *filter(None, (ending.error_type, *why))]) if why else ""
        self._say(f"run {after.id} ends ({ending.reason}){loss}{what}; it is {after.state} at step {after.step}")
        self.ended += ending.reason is not Reason.RELEASED
        self.completed += after.state is State.COMPLETED
        self.failed += after.state is State.FAILED

    def judge_device(self, reason: Reason) -> None:
        """A run ended for a fault of its own, or of the device: set that aside if its last runs speak against it."""
        if reason not in FAILURES:
            return
        try:
            last = self._store.recent_endings(self._identity.host, self._identity.device, SET_ASIDE_AFTER)
        except DatabaseBusyError:
            return  # asked again after the next failure
        if why := why_to_set_aside(last):
            self.why_aside = (
                f"device {self._identity.device} of {self._identity.hostname} is set aside: {why}; "
                "see `hlbq status` and `hlbq doctor`, then start the worker again"
            )
            self._say(self.why_aside)
