"""Workers whose database does not answer for a while, or whose answers get lost."""

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from hlbgpt_core.points import SavedCheckpoint
from orchestrator.errors import DatabaseBusyError, FencedError
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason, State
from orchestrator.store import OpenMode, Store, open_store
from tests import store_examples
from tests.faults.harness import Fleet, drained, new_sweep, read_ledger, submit, wait_until
from tests.faults.worker_under_fault import Faults
from worker.attempt import Attempt
from worker.timing import Timing
from worker.trainer.messages import CheckpointMade, FactsFound, PointMade, Resumed

HASTY = {"busy_timeout_seconds": 0.2, "self_fence_seconds": 0.8, "lease_seconds": 2.0}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    with Fleet(db=str(tmp_path / "hlbq.db"), folder=tmp_path, workers=1, faults=Faults(timing=HASTY)) as made:
        yield made


@contextlib.contextmanager
def locked(db: str) -> Iterator[None]:
    """Nobody else can write for the block."""
    connection = sqlite3.connect(db, isolation_level=None, timeout=10)
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


def test_a_trainer_that_was_paused_between_two_runs_trains_the_second(fleet: Fleet) -> None:
    submit(fleet.db, new_sweep(1))
    worker = fleet.start_one()
    with open_store(fleet.db, mode=OpenMode.WRITE) as store:
        wait_until(lambda: drained(store), seconds=120, what="the first run ends")
        with locked(fleet.db):
            wait_until(lambda: "training waits" in fleet.log(), seconds=120, what="the worker fences itself")
        store.submit(new_sweep(1))
        wait_until(lambda: drained(store), seconds=120, what="the second run ends")
    assert worker.poll() is None
    assert read_ledger(fleet.db, fleet.plan).clean


def test_a_worker_that_starts_while_the_database_is_locked_waits_for_it(fleet: Fleet) -> None:
    submit(fleet.db, new_sweep(1))
    with locked(fleet.db):
        worker = fleet.start_one(watch=False)
        wait_until(lambda: "waiting for the database" in fleet.log(), seconds=120, what="the worker says that it waits")
    assert worker.wait(timeout=120) == 0
    assert read_ledger(fleet.db, fleet.plan).clean


def test_a_worker_that_waits_for_the_database_can_be_stopped(fleet: Fleet) -> None:
    submit(fleet.db, new_sweep(1))
    with locked(fleet.db):
        worker = fleet.start_one(watch=False)
        wait_until(lambda: "waiting for the database" in fleet.log(), seconds=120, what="the worker says that it waits")
        worker.terminate()
        assert worker.wait(timeout=120) == 0
    assert "Traceback" not in fleet.log()


def test_an_end_whose_acknowledgement_was_lost_may_be_told_again(store: Store) -> None:
    store_examples.submit(store)
    claim = store_examples.claim(store, store_examples.register(store))
    ending, points = store_examples.ending(Reason.FINISHED), [store_examples.point(1)]
    first = store.finish(claim.lease, ending, points=points)
    assert store.finish(claim.lease, ending, points=points) == first
    assert first.state is State.COMPLETED
    assert [event.action for event in store.events(run_id=claim.run.id)].count("finish") == 1


def test_another_end_than_the_recorded_one_is_refused(store: Store) -> None:
    store_examples.submit(store)
    worker_id = store_examples.register(store)
    claim = store_examples.claim(store, worker_id)
    store.reap(worker_id, seen_beat=0, why="a test")
    with pytest.raises(FencedError):
        store.finish(claim.lease, store_examples.ending(Reason.FINISHED))
    run = store.run(claim.run.id)
    assert run is not None and run.state is State.PENDING


class Unheard:
    """A store whose answers to commit_checkpoint get lost after the commit."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.lost = 0

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def commit_checkpoint(self, *given: object, **named: object) -> None:
        self._store.commit_checkpoint(*given, **named)  # type: ignore[arg-type]
        self.lost += 1
        raise DatabaseBusyError("the connection was cut")


def test_files_of_a_checkpoint_stay_when_its_commit_may_have_gone_through(store: Store, tmp_path: Path) -> None:
    store_examples.submit(store)
    claim = store_examples.claim(store, store_examples.register(store))
    unheard = Unheard(store)
    attempt = Attempt(
        claim,
        store=unheard,
        state_folder=tmp_path,
        timing=Timing(),
        clock=lambda: 0.0,  # type: ignore[arg-type]
    )
    for step in (5, 10):
        checkpoint = SavedCheckpoint(path=f"checkpoints/x/1-{step}", sha256="0" * 64, step=step)
        (tmp_path / checkpoint.path).mkdir(parents=True)
        attempt.take(CheckpointMade(run_id=claim.lease.run_id, fence=claim.lease.fence, checkpoint=checkpoint))
        with pytest.raises(DatabaseBusyError):
            attempt.write()
    run = store.run(claim.run.id)
    assert unheard.lost == 2 and run is not None and run.previous_checkpoint is not None
    assert (tmp_path / run.previous_checkpoint.path).is_dir()


def test_checkpoints_that_the_database_never_learnt_of_are_removed_when_superseded(
    store: Store, tmp_path: Path
) -> None:
    store_examples.submit(store)
    claim = store_examples.claim(store, store_examples.register(store))
    attempt = Attempt(claim, store=store, state_folder=tmp_path, timing=Timing(), clock=lambda: 0.0)
    for step in (5, 10):
        checkpoint = SavedCheckpoint(path=f"checkpoints/x/1-{step}", sha256="0" * 64, step=step)
        (tmp_path / checkpoint.path).mkdir(parents=True)
        attempt.take(CheckpointMade(run_id=claim.lease.run_id, fence=claim.lease.fence, checkpoint=checkpoint))
    assert not (tmp_path / "checkpoints/x/1-5").exists()
    assert (tmp_path / "checkpoints/x/1-10").is_dir()
    assert store_examples.stored_points(store, RunFilter()) == []


@pytest.mark.parametrize("resumed", [True, False])
def test_code_that_changed_after_the_claim_goes_on_with_no_checkpoint(
    store: Store, tmp_path: Path, resumed: bool
) -> None:
    store_examples.submit(store)
    worker = store_examples.register(store)
    if resumed:
        first = store_examples.claim(store, worker, code="aaaa")
        known = store_examples.facts(provenance={"core_digest": "aaaa"})
        store.flush(first.lease, points=(), facts=known)
        store.commit_checkpoint(first.lease, store_examples.saved(6), points=[store_examples.point(6)])
        store.finish(first.lease, store_examples.ending(Reason.RELEASED))
    claim = store_examples.claim(store, worker, code="aaaa")
    attempt = Attempt(claim, store=store, state_folder=tmp_path, timing=Timing(), clock=lambda: 0.0, code="aaaa")
    lease = {"run_id": claim.lease.run_id, "fence": claim.lease.fence}
    if resumed:
        attempt.take(Resumed(**lease, checkpoint=store_examples.saved(6)))
    attempt.take(FactsFound(**lease, facts=store_examples.facts(provenance={"core_digest": "bbbb"})))
    attempt.write()
    run = store.run(claim.run.id)
    assert run is not None and attempt.trainer_is_of_other_code is resumed
    assert [part.digest for part in run.code] == (["aaaa"] if resumed else ["bbbb"])
    assert run.state is (State.PENDING if resumed else State.RUNNING)
    if resumed:
        assert store.claim(worker, code="bbbb") is None and store.held_runs() == [(1, "aaaa", "bbbb")]


def test_points_carry_the_time_at_which_they_came(store: Store, tmp_path: Path) -> None:
    """Not that of their flush, which may come much later: they keep their order in time."""
    store_examples.submit(store)
    claim = store_examples.claim(store, store_examples.register(store))
    times = iter([1000.5, 1001.25])
    attempt = Attempt(
        claim, store=store, state_folder=tmp_path, timing=Timing(), clock=lambda: 0.0, wall_clock=lambda: next(times)
    )
    for step in (1, 2):
        point = store_examples.point(step, extra={"mine": 0.5})
        attempt.take(PointMade(run_id=claim.lease.run_id, fence=claim.lease.fence, point=point))
    attempt.write()
    [curve] = store.curves([claim.run.id], names=["loss", "recorded_at"])
    assert curve["recorded_at"] == (1000.5, 1001.25)
    assert [one.point for one in store_examples.stored_points(store, store_examples.ALL)][1] == point
