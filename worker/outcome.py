"""What came of a worker's runs: what it says of each, their count, and whether its device should take any more."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from orchestrator.errors import DatabaseBusyError
from orchestrator.queue.attempts import Ending
from orchestrator.queue.runs import RunRecord
from orchestrator.queue.states import Reason, State
from orchestrator.queue.workers import DeviceEnding, WorkerIdentity
from orchestrator.store import Store

SET_ASIDE_AFTER = 3
FAILURES = frozenset({Reason.ERROR, Reason.OOM, Reason.TIMEOUT})


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


def why_to_set_aside(endings: Sequence[DeviceEnding]) -> str:
    """What the last endings on a device, the newest first, say against it; empty while it may go on.

    Failures of different arms do, and the same error in different runs, even of one arm. An arm that is too large
    for the device, or that diverges, says nothing against it.
    """
    last = endings[:SET_ASIDE_AFTER]
    if len(last) < SET_ASIDE_AFTER or any(one.reason not in FAILURES for one in last):
        return ""
    if len({one.arm_id for one in last}) == SET_ASIDE_AFTER:
        return f"its last {SET_ASIDE_AFTER} runs, of different arms, all failed"
    same_error = len({_error(one) for one in last}) == 1 and last[0].reason is not Reason.OOM
    if same_error and len({one.run_id for one in last}) == SET_ASIDE_AFTER:
        return f"its last {SET_ASIDE_AFTER} runs all failed with the same error"
    return ""


def _error(ending: DeviceEnding) -> tuple[str, str]:
    """An error without the numbers in it: those of seeds, steps and addresses differ from run to run."""
    first_line = ending.error_message.partition("\n")[0]
    return ending.error_type, re.sub(r"0x[0-9a-fA-F]+|\d+", "#", first_line)
