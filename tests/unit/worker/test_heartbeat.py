"""Self-fencing: a worker whose beats do not get through stops training before anybody may take its run."""

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from orchestrator.errors import DatabaseBusyError, DatabaseVersionError, WorkerGoneError
from orchestrator.queue.runs import RunRecord
from orchestrator.queue.workers import DeviceReading, Watch, WorkerIdentity, WorkerRecord
from tests.faults.harness import wait_until
from worker.heartbeat import Heartbeat
from worker.processes import ProcessState, process_state, start_ticks
from worker.timing import Timing

TIMING = Timing(self_fence_seconds=0.2)  # the thread looks every tenth of it; the clock is the test's own


class Clock:
    """A clock that a test moves."""

    now = 100.0

    def __call__(self) -> float:
        return self.now


class FakeStore:
    """The part of the store that a lease keeper calls."""

    def __init__(self) -> None:
        self.busy = self.gone = self.is_locked = self.is_outdated = False
        self.is_unheard = False
        self.asked_again: list[bool] = []
        self.beats = self.registered = 0
        self.ended = ""
        self.others: list[WorkerRecord] = []
        self.locked: set[int] = set()
        self.reaped: list[int] = []
        self.on_reap: Callable[[], None] = lambda: None
        self.watches: list[Watch] = []

    def rehearse(self) -> None:
        if self.is_locked:
            raise DatabaseBusyError("the database is locked")

    def register_worker(self, identity: WorkerIdentity, *, lease_seconds: float, again: bool) -> int:
        self.registered += 1
        self.asked_again.append(again)
        if self.is_unheard:
            raise DatabaseBusyError("the answer was lost")
        return self.registered

    def beat(self, worker_id: int, reading: DeviceReading) -> int:
        if self.busy:
            raise DatabaseBusyError("the database is locked")
        if self.gone:
            raise WorkerGoneError("gone")
        if self.is_outdated:
            raise DatabaseVersionError("the database was changed meanwhile")
        self.beats += 1
        return self.beats

    def live_workers(self, watch: Watch) -> list[WorkerRecord]:
        self.watches.append(watch)
        return self.others[: round(watch.share * len(self.others))]

    def reap(self, worker_id: int, *, seen_beat: int, why: str) -> list[RunRecord]:
        self.on_reap()
        if worker_id in self.locked:
            raise DatabaseBusyError("its rows are locked")
        self.reaped.append(worker_id)
        return []

    def end_worker(self, worker_id: int, why: str) -> None:
        if self.busy:
            raise DatabaseBusyError("the database is locked")
        self.ended = why


class Bench:
    """A keeper with all that surrounds it."""

    def __init__(self) -> None:
        self.clock, self.store, self.fenced = Clock(), FakeStore(), threading.Event()
        store: Any = self.store
        self.heartbeat = Heartbeat(
            store=store,
            identity=WorkerIdentity(host="h/1", hostname="h", pid=1, start_ticks=1, device="cpu"),
            timing=TIMING,
            clock=self.clock,
            on_fence=self.fenced.set,
            say=lambda text: None,
        )
        self.heartbeat.register()


@pytest.fixture
def bench() -> Iterator[Bench]:
    made = Bench()
    yield made
    made.store.busy = False
    made.heartbeat.end("test")


def test_beats_that_do_not_get_through_end_in_a_fence_and_the_next_that_does_lifts_it(bench: Bench) -> None:
    bench.clock.now += 0.1
    assert bench.heartbeat.beat() is False
    bench.store.busy = True
    bench.clock.now += 0.19
    with pytest.raises(DatabaseBusyError):
        bench.heartbeat.beat()
    assert not bench.fenced.wait(0.1) and not bench.heartbeat.fenced  # 0.19 s since the last beat
    bench.clock.now += 0.02
    assert bench.fenced.wait(120)
    wait_until(lambda: bench.heartbeat.fenced, seconds=120, what="the keeper knows")
    bench.store.busy = False
    assert bench.heartbeat.beat() is True
    assert not bench.heartbeat.fenced


def test_a_beat_that_finds_an_upgraded_database_lifts_the_fence_too(bench: Bench) -> None:
    """A worker that fenced itself during a long upgrade never wrote its run's end, and never ended."""
    bench.clock.now += 0.3
    assert bench.fenced.wait(120)
    wait_until(lambda: bench.heartbeat.fenced, seconds=120, what="the keeper knows")
    bench.store.is_outdated = True
    with pytest.raises(DatabaseVersionError):
        bench.heartbeat.beat()
    assert not bench.heartbeat.fenced


def test_a_beat_counts_from_when_it_was_sent(bench: Bench) -> None:
    beat = bench.store.beat

    def slow_beat(worker_id: int, reading: DeviceReading) -> int:
        bench.clock.now += 0.15
        return beat(worker_id, reading)

    bench.store.beat = slow_beat  # type: ignore[method-assign]
    bench.heartbeat.beat()
    bench.clock.now += 0.06
    assert bench.fenced.wait(120)


def test_a_beat_that_failed_is_tried_again_soon(bench: Bench) -> None:
    assert bench.heartbeat.due_in() == pytest.approx(TIMING.beat_seconds)
    bench.store.busy = True
    with pytest.raises(DatabaseBusyError):
        bench.heartbeat.beat()
    assert bench.heartbeat.due_in() == pytest.approx(TIMING.database_retry_seconds)


def test_a_worker_taken_for_dead_can_register_again(bench: Bench) -> None:
    bench.store.gone = True
    with pytest.raises(WorkerGoneError):
        bench.heartbeat.beat()
    bench.heartbeat.register()
    assert bench.heartbeat.worker_id == 2


def test_the_row_is_given_up_at_the_end_even_if_nobody_hears(bench: Bench) -> None:
    bench.store.busy = True
    bench.heartbeat.end("test")
    assert bench.store.ended == ""


def silent(number: int) -> WorkerRecord:
    """A worker on another host whose beat never changes."""
    return WorkerRecord(
        id=number,
        identity=WorkerIdentity(host=f"elsewhere/{number}", hostname="e", pid=1, start_ticks=1, device="cpu"),
        lease_seconds=60.0,
        started_at=0.0,
        beat=1,
        beat_at=0.0,
        ended_at=None,
        ended_why="",
        run_id=number,
    )


@pytest.mark.parametrize(("wait_seconds", "expected"), [(0.3, [8, 9]), (20.0, [])])
def test_a_dead_worker_whose_rows_are_locked_keeps_nobody_from_the_others(
    bench: Bench, wait_seconds: float, expected: list[int]
) -> None:
    bench.store.others = [silent(7), silent(8), silent(9)]
    bench.heartbeat.judge(own_beats_commit=True)
    bench.store.locked = {7}
    bench.store.on_reap = lambda: setattr(bench.clock, "now", bench.clock.now + wait_seconds)
    for _ in range(3):  # a look counts no more than two beats, 20 s
        bench.clock.now += 20
        bench.heartbeat.judge(own_beats_commit=True)
    assert bench.store.reaped == expected


@pytest.fixture
def stopped() -> Iterator["subprocess.Popen[bytes]"]:
    """A process that was stopped."""
    with subprocess.Popen(["sleep", "600"]) as process:
        os.kill(process.pid, signal.SIGSTOP)
        wait_until(lambda: process_state(process.pid, 0) is ProcessState.STOPPED, seconds=120, what="it is stopped")
        yield process
        process.kill()


def worker_in(process: "subprocess.Popen[bytes]", bench: Bench) -> WorkerRecord:
    """A worker of this host in that process."""
    identity = replace(bench.heartbeat._identity, pid=process.pid, start_ticks=start_ticks(process.pid))
    return replace(silent(8), identity=identity)


def test_one_that_is_stopped_is_ended_though_the_dead_cannot_be_reaped(
    bench: Bench, stopped: "subprocess.Popen[bytes]"
) -> None:
    # It may be what holds the database, so that nobody can reap anybody: the dead must not come first.
    dead = replace(bench.heartbeat._identity, pid=2**22 + 1)  # more than any pid
    bench.store.others = [replace(silent(7), identity=dead), worker_in(stopped, bench)]
    bench.store.locked = {7}
    bench.store.on_reap = lambda: setattr(bench.clock, "now", bench.clock.now + 20)
    for _ in range(5):
        bench.clock.now += 20
        bench.heartbeat.judge(own_beats_commit=False)
    assert stopped.wait(timeout=120) == -signal.SIGKILL


def test_one_that_is_stopped_is_ended_by_workers_that_it_keeps_from_registering(
    bench: Bench, stopped: "subprocess.Popen[bytes]"
) -> None:
    bench.store.others = [worker_in(stopped, bench)]
    bench.store.is_locked = True
    for _ in range(5):
        bench.clock.now += 20
        with pytest.raises(DatabaseBusyError):
            bench.heartbeat.register()
    assert stopped.wait(timeout=120) == -signal.SIGKILL


def test_one_that_is_stopped_and_is_another_users_loses_its_run(
    bench: Bench, stopped: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody may end it: every beat said that it was ended, and its run stayed where it was."""
    monkeypatch.setattr(signal, "pidfd_send_signal", refused)
    bench.store.others = [worker_in(stopped, bench)]
    while bench.clock.now < 200:
        bench.heartbeat.judge(own_beats_commit=True)
        bench.clock.now += 20
    assert 8 in bench.store.reaped


def refused(*_: object) -> None:
    raise PermissionError


def test_in_a_large_fleet_each_watches_a_share_and_asks_an_empty_queue_less_often(bench: Bench) -> None:
    assert bench.heartbeat.crowding == 1
    identity = WorkerIdentity(host="far", hostname="far", pid=1, start_ticks=1, device="cpu")
    bench.store.others = [
        WorkerRecord(
            id=number,
            identity=identity,
            started_at=0,
            beat=1,
            beat_at=0,
            lease_seconds=60,
            ended_at=None,
            ended_why="",
            run_id=None,
        )
        for number in range(10, 650)
    ]
    bench.heartbeat.beat()
    bench.heartbeat.beat()
    first, second = bench.store.watches[-2:]
    assert (first.share, second.share) == (1.0, 0.1)
    assert first.start == second.start  # the same arc of the circle for its whole life
    assert bench.heartbeat.crowding == 10


def test_a_row_whose_number_was_never_heard_is_ended_with_the_next_one(bench: Bench) -> None:
    bench.store.is_unheard = True
    for _ in range(2):
        with pytest.raises(DatabaseBusyError):
            bench.heartbeat.register()
    bench.store.is_unheard = False
    bench.heartbeat.register()
    bench.heartbeat.register()
    assert bench.store.asked_again == [False, False, True, True, False]
