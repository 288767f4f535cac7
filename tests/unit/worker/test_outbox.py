"""What the trainer says reaches the supervisor in order; points may gather for a moment, other messages never wait."""

import os

import pytest

from hlbgpt_core.points import Phase, Progress
from worker.trainer import pipe_reporter
from worker.trainer.messages import Ended, ProgressMade, Ready, decode
from worker.trainer.pipe_reporter import Outbox


def progress(step: int) -> ProgressMade:
    return ProgressMade(run_id=1, fence=1, progress=Progress(phase=Phase.TRAIN, step=step))


def test_messages_arrive_in_order_and_all_of_them_before_the_end() -> None:
    read, write = os.pipe()
    outbox = Outbox(os.fdopen(write, "wb"))
    sent = [Ready(pid=1, core_digest="d"), *(progress(step) for step in range(50))]
    for message in [*sent, Ended(run_id=1, fence=1, reason="finished")]:
        outbox.put(message)
    outbox.close()
    with os.fdopen(read, "rb") as pipe:
        os.set_blocking(read, False)
        arrived = [decode(line) for line in pipe]
    assert arrived[:-1] == sent and isinstance(arrived[-1], Ended)


def test_what_is_no_point_takes_all_before_it_along_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipe_reporter, "GATHER_SECONDS", 3600.0)
    read, write = os.pipe()
    outbox = Outbox(os.fdopen(write, "wb"))
    with os.fdopen(read, "rb") as pipe:
        for step in range(3):
            outbox.put(progress(step))
        outbox.put(Ended(run_id=1, fence=1, reason="finished"))
        arrived = [decode(pipe.readline()) for _ in range(4)]
    assert isinstance(arrived[-1], Ended)
    assert [one.progress.step for one in arrived if isinstance(one, ProgressMade)] == [0, 1, 2]


def test_points_alone_arrive_after_a_moment_also_when_nothing_was_said_for_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pipe_reporter, "GATHER_SECONDS", 0.01)
    read, write = os.pipe()
    outbox = Outbox(os.fdopen(write, "wb"))
    with os.fdopen(read, "rb") as pipe:
        for step in range(5):
            outbox.put(progress(step))
            message = decode(pipe.readline())  # it sleeps between any two
            assert isinstance(message, ProgressMade) and message.progress.step == step
    outbox.close()
