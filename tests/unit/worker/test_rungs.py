"""A trainer at a rung waits for the word on its run, and goes on where none comes."""

import os
import threading
from collections.abc import Iterator
from dataclasses import replace

import pytest

from hlbgpt_core.points import Directive, Phase, Progress, Split
from tests.stand_in_trainer import point_at
from worker.trainer import pipe_reporter
from worker.trainer.messages import Direct, Message, PointMade, Start, decode
from worker.trainer.pipe_reporter import Control, Outbox, PipeReporter

START = Start(
    run_id=1,
    fence=2,
    uid="u",
    settings={},
    seed=100,
    log_path="",
    state_folder="",
    checkpoint_every_seconds=60.0,
    rungs=(250, 750),
)


@pytest.fixture
def control() -> Control:
    made = Control()
    made.begin(1, 2)
    return made


@pytest.fixture
def arrived(control: Control) -> Iterator[tuple[PipeReporter, Iterator[Message]]]:
    """A reporter, and what comes out of its pipe."""
    read, write = os.pipe()
    outbox = Outbox(os.fdopen(write, "wb"))
    with os.fdopen(read, "rb") as pipe:
        yield PipeReporter(START, outbox, control, {}), (decode(line) for line in pipe)
        outbox.close()


def wanted(reporter: PipeReporter) -> Directive:
    return reporter.progress(Progress(phase=Phase.TRAIN))


def test_the_word_at_a_rung_is_heeded_before_the_next_step(
    arrived: tuple[PipeReporter, Iterator[Message]], control: Control
) -> None:
    reporter, messages = arrived

    def supervise() -> None:
        for message in messages:
            if isinstance(message, PointMade) and message.point.step in (3, 8):
                word = Directive.CONTINUE if message.point.step == 3 else Directive.RELEASE
                control.direct(Direct(run_id=1, fence=2, directive=word))
                if word is Directive.RELEASE:
                    return

    supervisor = threading.Thread(target=supervise, daemon=True)
    supervisor.start()
    heard = {}
    for step in range(1, 9):
        reporter.point(point_at(100, step))
        reporter.point(point_at(100, step, Split.VAL))
        heard[step] = wanted(reporter)
    supervisor.join(60)
    assert heard == dict.fromkeys(range(1, 8), Directive.CONTINUE) | {8: Directive.RELEASE}


def test_to_go_on_takes_no_wish_to_stop_back(arrived: tuple[PipeReporter, Iterator[Message]], control: Control) -> None:
    """Somebody may ask to stop during the evaluation at a rung, before the rung is judged."""
    for word in (Directive.RELEASE, Directive.CONTINUE):
        control.direct(Direct(run_id=1, fence=2, directive=word))
    assert wanted(arrived[0]) is Directive.RELEASE


def test_a_trainer_without_a_word_goes_on_after_a_moment(
    arrived: tuple[PipeReporter, Iterator[Message]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipe_reporter, "RUNG_SECONDS", 0.01)
    reporter, _ = arrived
    reporter.point(replace(point_at(100, 9, Split.VAL), tokens_seen=900))
    assert wanted(reporter) is Directive.CONTINUE
