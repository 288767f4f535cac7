"""The supervisor's loop, a step of it at a time: what it makes of a database that keeps it waiting."""

from pathlib import Path
from typing import Any

import pytest

from hlbgpt_core.points import Phase, Progress
from orchestrator.errors import DatabaseBusyError
from orchestrator.launch.worker_command import WorkerOptions
from orchestrator.queue.attempts import Claim
from orchestrator.queue.states import Reason
from orchestrator.store import Store
from tests.faults.harness import wait_until
from tests.store_examples import claim, identity, register, submit
from worker.attempt import Attempt
from worker.devices.devices import cpu_device
from worker.supervisor import Supervisor
from worker.timing import Timing
from worker.trainer.messages import ProgressMade, Resume
from worker.trainer.trainer_handle import Inbox


class Trainers:
    """A trainer that says what a test puts into its inbox, and keeps what it is told."""

    pid = 1
    is_ready = True

    def __init__(self) -> None:
        self.inbox, self.sent, self.is_killed = Inbox(), list[Any](), False

    def code(self) -> str:
        return ""

    def has_loaded(self, digest: str) -> bool:
        return True

    def send(self, message: Any) -> None:
        self.sent.append(message)

    def kill(self) -> None:
        self.is_killed = True


class Bench:
    """A supervisor on a clock of the test's own."""

    def __init__(self, store: Store, folder: Path) -> None:
        self.now, self.trainers, self.store, self.folder = 100.0, Trainers(), store, folder
        trainers: Any = self.trainers
        self.supervisor = Supervisor(
            store=store,
            state_folder=folder,
            identity=identity(),
            device=cpu_device(),
            trainers=trainers,
            options=WorkerOptions(),
            clock=lambda: self.now,
            say=lambda text: None,
        )

    def attempt(self) -> Attempt:
        """At a run that it has claimed."""
        return self.attempt_at(claim(self.store, register(self.store)))

    def attempt_at(self, taken: Claim) -> Attempt:
        return Attempt(taken, store=self.store, state_folder=self.folder, timing=Timing(), clock=lambda: self.now)


@pytest.fixture
def bench(store: Store, tmp_path: Path) -> Bench:
    submit(store)
    return Bench(store, tmp_path)


def test_a_trainer_is_not_taken_for_hung_while_the_database_keeps_its_words_waiting(bench: Bench) -> None:
    """A flush that took longer than --stall_timeout ended the trainer, which had told of its progress all the while,
    and counted as an error of the run."""
    attempt = bench.attempt()
    bench.now += attempt.claim.run.bookkeeping.stall_timeout_seconds + 1
    lease = attempt.lease
    told = ProgressMade(run_id=lease.run_id, fence=lease.fence, progress=Progress(phase=Phase.TRAIN))
    bench.trainers.inbox.put(told)
    bench.supervisor._end_if_hung(attempt)
    assert attempt.ending is None and not bench.trainers.is_killed
    bench.now += attempt.claim.run.bookkeeping.stall_timeout_seconds + 1
    bench.supervisor._end_if_hung(attempt)
    assert attempt.ending is not None and attempt.ending.reason is Reason.TIMEOUT and bench.trainers.is_killed


def test_a_trainer_that_was_not_told_to_go_on_yet_is_not_taken_for_hung(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After an outage longer than --stall_timeout a beat got through, and the very next question did not: the trainer,
    which had been paused all the while, was ended, and that counted as an error of the run."""
    supervisor = bench.supervisor
    supervisor._heartbeat.register()
    try:
        taken = claim(bench.store, supervisor._heartbeat.worker_id)
        attempt = bench.attempt_at(taken)
        bench.now += attempt.claim.run.bookkeeping.stall_timeout_seconds + 1
        wait_until(lambda: supervisor._heartbeat.fenced, seconds=60, what="it is fenced")
        with monkeypatch.context() as flapping:
            flapping.setattr(bench.store, "still_holds", raises_busy)
            with pytest.raises(DatabaseBusyError):
                supervisor._beat(attempt)
            supervisor._end_if_hung(attempt)
            assert attempt.ending is None and not bench.trainers.is_killed
        supervisor._beat(attempt)
        assert Resume() in bench.trainers.sent and attempt.hangs_in() > 0
    finally:
        supervisor._heartbeat.end("test")


def raises_busy(*_: object) -> None:
    raise DatabaseBusyError("the database does not answer")


def test_a_trainer_that_hangs_while_it_loads_is_not_the_runs_fault(bench: Bench) -> None:
    attempt, bench.trainers.is_ready = bench.attempt(), False
    bench.now += attempt.claim.run.bookkeeping.stall_timeout_seconds + 1
    bench.supervisor._end_if_hung(attempt)
    assert attempt.ending is not None and attempt.ending.reason is Reason.RELEASED and attempt.ended_while_loading
    assert "before it had loaded its libraries" in attempt.ending.error_message


def test_a_worker_that_was_taken_for_dead_as_it_claimed_does_not_leave_its_trainer_paused(bench: Bench) -> None:
    """A claim that took so long that the worker fenced itself: its next run waited in a paused trainer, as if hung."""
    supervisor = bench.supervisor
    supervisor._heartbeat.register()
    try:
        bench.store.end_worker(supervisor._heartbeat.worker_id, "no beat")
        assert supervisor._claim() is None
        assert Resume() in bench.trainers.sent and supervisor._claim() is not None
    finally:
        supervisor._heartbeat.end("test")
