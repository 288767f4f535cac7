"""What the last endings on a device say against it."""

import pytest

from orchestrator.queue.states import Reason
from orchestrator.queue.workers import DeviceEnding
from worker.outcome import why_to_set_aside


def endings(*rows: tuple[int, int, Reason, str]) -> list[DeviceEnding]:
    return [
        DeviceEnding(run_id=run, arm_id=arm, reason=reason, error_type="RuntimeError", error_message=message)
        for run, arm, reason, message in rows
    ]


ERROR, OOM, TIMEOUT = Reason.ERROR, Reason.OOM, Reason.TIMEOUT


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (endings((1, 1, ERROR, "a"), (2, 2, OOM, "b"), (3, 3, TIMEOUT, "c")), "different arms"),
        (
            endings((1, 1, ERROR, "at 0x7f00: 12"), (2, 1, ERROR, "at 0x7e11: 9"), (3, 1, ERROR, "at 0x1: 1")),
            "same error",
        ),
        (endings((1, 1, ERROR, "a"), (2, 1, ERROR, "b"), (3, 1, ERROR, "c")), ""),
        (endings((1, 1, ERROR, "a"), (1, 1, ERROR, "a"), (2, 1, ERROR, "a")), ""),
        (endings((1, 1, OOM, "a"), (2, 1, OOM, "a"), (3, 1, OOM, "a")), ""),
        (endings((1, 1, ERROR, "a"), (2, 1, Reason.FINISHED, ""), (3, 1, ERROR, "a"), (4, 1, ERROR, "a")), ""),
        (endings((1, 1, Reason.DIVERGED, "a"), (2, 1, Reason.DIVERGED, "a"), (3, 1, Reason.DIVERGED, "a")), ""),
        (endings((1, 1, ERROR, "a"), (2, 1, ERROR, "a")), ""),
    ],
)
def test_three_different_runs_with_one_error_or_three_arms_set_a_device_aside(
    found: list[DeviceEnding], wanted: str
) -> None:
    why = why_to_set_aside(found)
    assert (wanted in why) if wanted else (why == "")
