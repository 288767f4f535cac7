"""When a device should take no more runs. Pure."""

import re
from collections.abc import Sequence

from orchestrator.queue.states import Reason
from orchestrator.queue.workers import DeviceEnding

SET_ASIDE_AFTER = 3
FAILURES = frozenset({Reason.ERROR, Reason.OOM, Reason.TIMEOUT})


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
