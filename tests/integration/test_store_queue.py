"""Claims, fences, checkpoints and endings, the same on SQLite and PostgreSQL."""

import contextlib
import dataclasses
import math
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier
from typing import Any

import pytest
from sqlalchemy import Connection

from hlbgpt_core.points import Phase, Progress, Split
from orchestrator.errors import DatabaseBusyError, FencedError, WorkerGoneError
from orchestrator.queue.attempts import Claim, Lease
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Limits, Reason, Spent, State
from orchestrator.queue.sweeps import EverySeed
from orchestrator.store import Store
from tests.conftest import VirtualClock
from tests.store_examples import (
    ALL,
    claim,
    commits_unanswered,
    ending,
    facts,
    identity,
    new_sweep,
    point,
    progress,
    register,
    saved,
    steps,
    stored,
    stored_points,
    submit,
)


def test_claims_go_by_priority_then_number(store: Store) -> None:
    submit(store, depths=(1, 2, 3))
    store.set_priority(RunFilter(run_ids=(2,)), 5, "user")
    order = [claim(store, register(store, number)).run.id for number in range(3)]
    assert order == [2, 1, 3]
    assert store.claim(register(store, 9)) is None


def test_a_claim_brings_what_the_trainer_needs(store: Store, clock: VirtualClock) -> None:
    submit(store, depths=(4,), limits=Limits(max_attempts=7))
    worker = register(store)
    taken = claim(store, worker)
    run = taken.run
    assert taken.lease == Lease(run_id=1, run_uid=taken.run.uid, fence=1)
    assert taken.log_path == f"logs/{run.uid}/1.log"
    assert (run.state, run.worker_id, run.fence, run.started_at) == (State.RUNNING, worker, 1, clock.now)
    assert run.settings["depth"] == 4 and run.bookkeeping.limits.max_attempts == 7
    [attempt] = store.attempts(run.id)
    assert (attempt.fence, attempt.worker_id, attempt.start_step, attempt.reason) == (1, worker, 0, None)


def test_a_worker_that_asks_again_gets_the_claim_it_holds(store: Store) -> None:
    submit(store, seeds=2)
    worker = register(store)
    assert claim(store, worker) == claim(store, worker)
    assert store.counts(ALL)[State.RUNNING] == 1
    assert len(store.attempts(1)) == 1


def test_claims_can_be_limited_to_sweeps(store: Store) -> None:
    submit(store, seeds=3)
    second = submit(store, seeds=1)
    assert claim(store, register(store, 1), sweep_ids=(second.id,)).run.sweep_id == second.id
    assert store.claim(register(store, 2), sweep_ids=(second.id,)) is None
    assert claim(store, register(store, 3), sweep_ids=(1, second.id)).run.sweep_id == 1


def test_paused_runs_are_not_claimed(store: Store) -> None:
    submit(store)
    store.pause(ALL, "user")
    worker = register(store)
    assert store.claim(worker) is None
    store.unpause(ALL, "user")
    assert claim(store, worker).run.id == 1


def test_a_worker_taken_for_dead_claims_nothing(store: Store) -> None:
    submit(store)
    worker = register(store)
    store.end_worker(worker, "done")
    with pytest.raises(WorkerGoneError):
        store.claim(worker)
    assert store.counts(ALL)[State.RUNNING] == 0


def test_flush_stores_points_progress_and_facts(store: Store) -> None:
    submit(store)
    taken = claim(store, register(store))
    losses = [point(1, grad_norm=0.5, microbatches=3, extra={"lr_head": 2.0}), point(2, Split.VAL, bits_per_byte=1.5)]
    store.flush(taken.lease, points=losses, progress=progress(2), facts=facts())
    assert [one.point for one in stored(store, 1)] == losses
    [run] = store.running(ALL)
    assert (run.step, run.phase, run.tokens_per_second) == (2, Phase.TRAIN, 1000.0)
    assert (run.last_train_loss, run.last_val_loss) == (losses[0].loss, losses[1].loss)
    assert run.facts["data_fingerprint"] == "abc" and "provenance" not in run.facts
    assert store.attempts(1)[0].provenance == {"git": "1234"}


def test_an_older_sign_of_life_takes_no_step_back(store: Store) -> None:
    """A run that diverged at step 9 was said to stand at step 3: signs of life are told less often than points."""
    submit(store)
    lease = claim(store, register(store)).lease
    store.flush(lease, points=[point(step) for step in range(6)], progress=progress(3))
    assert (store.running(ALL)[0].step, store.running(ALL)[0].tokens_seen) == (5, point(5).tokens_seen)
    store.flush(lease, points=(), progress=progress(3))
    assert (store.running(ALL)[0].step, store.running(ALL)[0].tokens_seen) == (5, point(5).tokens_seen)
    store.flush(lease, points=[point(6)], progress=progress(7))
    assert store.running(ALL)[0].step == 7
    run = store.finish(lease, ending(Reason.DIVERGED), points=[point(9)], progress=progress(7))
    assert (run.step, run.tokens_seen) == (9, point(9).tokens_seen)


def test_facts_are_fixed_by_the_first_attempt(store: Store) -> None:
    submit(store)
    worker = register(store)
    first = claim(store, worker)
    store.flush(first.lease, points=[], facts=facts(device="cuda:0"))
    store.finish(first.lease, ending(Reason.RELEASED))
    second = claim(store, worker)
    store.flush(second.lease, points=[], facts=facts(device="cpu", provenance={"git": "5678"}))
    assert second.run.facts["device"] == "cuda:0"
    assert [one.provenance["git"] for one in store.attempts(1)] == ["1234", "5678"]


def test_points_written_twice_are_there_once(store: Store) -> None:
    submit(store)
    lease = claim(store, register(store)).lease
    batch = [point(step) for step in range(200)]
    store.flush(lease, points=batch)
    store.flush(lease, points=[*batch[100:], point(200)])
    assert [one.point for one in stored(store, 1)] == [*batch, point(200)]


def test_of_two_points_of_one_place_in_a_batch_the_last_counts(store: Store) -> None:
    submit(store)
    lease = claim(store, register(store)).lease
    store.flush(lease, points=[point(1, loss=3.0), point(1, loss=2.0)])
    assert [one.point.loss for one in stored(store, 1)] == [2.0]


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_numbers_that_are_not_finite_stay_themselves(store: Store, value: float) -> None:
    submit(store)
    lease = claim(store, register(store)).lease
    store.flush(lease, points=[point(1, loss=value, pplx=math.inf, grad_norm=value, extra={"a": value, "b": 1.0})])
    found = stored(store, 1)[0].point
    for number in (found.loss, found.grad_norm, found.extra["a"], store.running(ALL)[0].last_train_loss):
        assert number is not None and (number == value or (math.isnan(number) and math.isnan(value)))
    assert (found.pplx, found.extra["b"], found.bits_per_byte) == (math.inf, 1.0, None)


def test_every_write_of_a_superseded_lease_is_refused_and_writes_nothing(store: Store) -> None:
    submit(store)
    dead, heir = register(store, 1), register(store, 2)
    old = claim(store, dead).lease
    store.flush(old, points=[point(1)])
    store.reap(dead, seen_beat=0, why="no beat")
    new = claim(store, heir).lease
    assert new.fence == old.fence + 1
    store.flush(new, points=[point(1, loss=1.0)])
    before = (store.run(1), stored(store, 1), store.attempts(1), store.events())
    writes: list[Callable[[], object]] = [
        lambda: store.flush(old, points=[point(5)], progress=progress(5)),
        lambda: store.commit_checkpoint(old, saved(5)),
        lambda: store.rewind(old, None, why="damaged"),
        lambda: store.finish(old, ending(Reason.FINISHED), points=[point(5)]),
    ]
    for write in writes:
        with pytest.raises(FencedError):
            write()
    assert (store.run(1), stored(store, 1), store.attempts(1), store.events()) == before
    assert not store.still_holds(old) and store.still_holds(new)


def test_checkpoints_keep_the_newest_two_and_name_the_one_that_falls_off(store: Store) -> None:
    submit(store)
    lease = claim(store, register(store)).lease
    assert store.commit_checkpoint(lease, saved(10), points=[point(10)], progress=progress(10)) is None
    assert store.commit_checkpoint(lease, saved(20), points=[point(20)]) is None
    assert store.commit_checkpoint(lease, saved(30), points=[point(30)]) == saved(10)
    assert store.commit_checkpoint(lease, saved(30)) is None, "a call tried again changes nothing"
    run = store.run(1)
    assert run is not None and (run.checkpoint, run.previous_checkpoint) == (saved(30), saved(20))
    assert steps(store, 1) == [10, 20, 30]


def test_points_past_the_checkpoint_go_when_the_run_goes_back(store: Store) -> None:
    submit(store)
    worker = register(store)
    lease = claim(store, worker).lease
    store.commit_checkpoint(lease, saved(2), points=[point(1), point(2), point(2, Split.VAL)])
    store.flush(lease, points=[point(3), point(3, Split.VAL)], progress=progress(3))
    run = store.finish(lease, ending(Reason.RELEASED), points=[point(4)])
    assert (run.state, run.reason, run.step, run.last_train_loss) == (State.PENDING, Reason.RELEASED, 2, point(2).loss)
    assert (steps(store, 1, Split.TRAIN), steps(store, 1, Split.VAL)) == ([1, 2], [2])
    again = claim(store, worker)
    assert again.run.checkpoint == saved(2) and store.attempts(1)[1].start_step == 2
    assert (again.run.step, again.run.last_val_loss) == (2, point(2, Split.VAL).loss)


def test_rewind_takes_up_the_previous_checkpoint(store: Store) -> None:
    submit(store)
    lease = claim(store, register(store)).lease
    store.commit_checkpoint(lease, saved(10), points=[point(10)])
    store.commit_checkpoint(lease, saved(20), points=[point(20)])
    store.rewind(lease, saved(10), why="damaged")
    run = store.run(1)
    assert run is not None and (run.checkpoint, run.previous_checkpoint, run.step) == (saved(10), None, 10)
    assert steps(store, 1) == [10] and store.attempts(1)[0].start_step == 10
    store.rewind(lease, None, why="damaged")
    assert steps(store, 1) == [] and store.attempts(1)[0].start_step == 0
    assert [event.action for event in store.events(run_id=1)][:2] == ["rewind", "rewind"]


def test_finish_writes_points_run_attempt_and_event_at_once(store: Store, clock: VirtualClock) -> None:
    submit(store)
    worker = register(store)
    lease = claim(store, worker).lease
    clock.advance(60)
    run = store.finish(lease, ending(Reason.FINISHED), points=[point(7)], progress=progress(7))
    assert (run.state, run.reason, run.ended_at, run.step, run.fraction) == (
        State.COMPLETED,
        Reason.FINISHED,
        clock.now,
        7,
        1.0,
    )
    assert run.worker_id is None and steps(store, 1) == [7]
    [attempt] = store.attempts(1)
    assert (attempt.reason, attempt.ended_at, attempt.step) == (Reason.FINISHED, clock.now, 7)
    newest = store.events(run_id=1)[0]
    assert (newest.action, newest.actor, newest.worker_id) == ("finish", f"worker {worker}", worker)


def test_an_end_told_twice_is_recorded_once(store: Store) -> None:
    # The answer to the first call may be lost with the connection.
    submit(store)
    lease = claim(store, register(store)).lease
    first = store.finish(lease, ending(Reason.FINISHED), points=[point(7)])
    events = store.events()
    assert store.finish(lease, ending(Reason.FINISHED), points=[point(7), point(8)]) == first
    assert (store.events(), steps(store, 1)) == (events, [7])
    with pytest.raises(FencedError):
        store.finish(lease, ending(Reason.ERROR))


def test_an_end_told_again_after_the_next_claim_is_refused(store: Store) -> None:
    submit(store)
    worker = register(store)
    old = claim(store, worker).lease
    store.finish(old, ending(Reason.RELEASED))
    new = claim(store, worker).lease
    with pytest.raises(FencedError):
        store.finish(old, ending(Reason.RELEASED))
    assert store.still_holds(new)


def test_waiting_counts_runs_that_back_off_but_not_paused_ones(store: Store) -> None:
    sweep = submit(store)
    worker = register(store)
    store.finish(claim(store, worker).lease, ending(Reason.ERROR))
    assert store.claim(worker) is None and store.waiting() and store.waiting((sweep.id,))
    assert not store.waiting((sweep.id + 1,))
    store.pause(ALL, "user")
    assert not store.waiting()


def test_a_failed_run_keeps_its_curve_and_its_error(store: Store) -> None:
    submit(store)
    lease = claim(store, register(store)).lease
    broken = ending(Reason.DIVERGED, error_type="Diverged", error_message="nan", error_traceback="at")
    run = store.finish(lease, broken, points=[point(3)])
    assert (run.state, run.error_type, run.error_message) == (State.FAILED, "Diverged", "nan")
    assert steps(store, 1) == [3] and store.attempts(1)[0].error_traceback == "at"


def test_an_error_that_quotes_what_is_no_text_is_recorded_all_the_same(store: Store) -> None:
    submit(store)
    lease = claim(store, register(store)).lease
    odd = ending(Reason.ERROR, error_type="X", error_message="file \udcff\x00.txt", error_traceback="a\x00b\ud800")
    run = store.finish(lease, odd)
    [attempt] = store.attempts(run.id)
    assert (run.error_message, attempt.error_traceback) == ("file ?\ufffd.txt", "a\ufffdb?")


def test_whole_and_other_numbers_may_stand_in_one_batch(store: Store) -> None:
    submit(store)
    lease = claim(store, register(store)).lease
    store.flush(lease, points=[point(1, lr=0, grad_norm=1), point(2, lr=0.5, grad_norm=None), point(3, lr=2**40)])
    assert [one.point.lr for one in stored_points(store, ALL)] == [0.0, 0.5, 2.0**40]


def test_errors_wait_longer_each_time_and_then_fail(store: Store, clock: VirtualClock) -> None:
    submit(store, limits=Limits(max_attempts=3, backoff_seconds=10, max_backoff_seconds=600))
    worker = register(store)
    for wait in (10, 20):
        run = store.finish(claim(store, worker).lease, ending(Reason.ERROR))
        assert run.backoff_until == clock.now + wait
        clock.advance(wait - 1)
        assert store.claim(worker) is None
        clock.advance(1)
    assert store.finish(claim(store, worker).lease, ending(Reason.ERROR)).state is State.FAILED
    run = next(store.runs(ALL))
    assert (run.spent, run.fence, len(store.attempts(1))) == (Spent(errors=3), 3, 3)


def test_a_wait_ends_when_the_clock_was_set_back(store: Store, clock: VirtualClock) -> None:
    submit(store, limits=Limits(max_attempts=3))
    worker = register(store)
    store.finish(claim(store, worker).lease, ending(Reason.ERROR))
    clock.advance(-86_400)
    assert claim(store, worker).run.id == 1


def test_losses_count_until_a_newer_checkpoint(store: Store) -> None:
    submit(store, limits=Limits(max_losses=2))
    for number, step in enumerate((5, 5, 9), start=1):
        worker = register(store, number)
        store.commit_checkpoint(claim(store, worker).lease, saved(step))
        [run] = store.reap(worker, seen_beat=0, why="no beat")
        # The second attempt made no progress: its checkpoint is of the same step.
        assert run.spent.losses == {1: 1, 2: 2, 3: 1}[number]
        assert run.state is (State.FAILED if number == 2 else State.PENDING)
        if number == 2:
            store.retry(ALL, "user")


def test_out_of_memory_beside_others_is_tried_alone_once(store: Store) -> None:
    submit(store)
    first, second = register(store, 1, device="cuda:0"), register(store, 2, device="cuda:0")
    taken = claim(store, first)
    assert store.attempts(1)[0].shared_slots == 2
    run = store.finish(taken.lease, ending(Reason.OOM))
    assert (run.state, run.alone) == (State.PENDING, True)
    again = claim(store, second)
    assert store.finish(again.lease, ending(Reason.OOM)).state is State.FAILED


def test_a_run_to_be_trained_alone_waits_for_the_others_and_they_for_it(store: Store) -> None:
    submit(store, seeds=3)
    first, second = register(store, 1, device="cuda:0"), register(store, 2, device="cuda:0")
    elsewhere = register(store, 3, device="cuda:1")
    too_large, beside = claim(store, first), claim(store, second)
    store.finish(too_large.lease, ending(Reason.OOM))
    other = claim(store, first)
    assert other.run.id == 3  # the first is to be trained alone, and the second trains
    store.finish(other.lease, ending(Reason.FINISHED))
    assert store.claim(first) is None
    store.finish(beside.lease, ending(Reason.FINISHED))
    submit(store)
    alone = claim(store, first)
    assert alone.run.id == 1 and store.attempts(1)[-1].shared_slots == 1
    assert store.claim(second) is None  # nothing beside it on its device
    assert claim(store, elsewhere).run.id == 4
    store.finish(alone.lease, ending(Reason.FINISHED))


def test_of_two_slots_that_claim_at_once_none_trains_beside_a_run_to_be_trained_alone(
    store: Store, open_again: Callable[[], Store]
) -> None:
    stores = (open_again(), open_again())
    workers = [register(store, number, device="cuda:0") for number in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        for _ in range(8):
            submit(store, seeds=2)
            too_large = claim(store, workers[0])
            store.finish(too_large.lease, ending(Reason.OOM))
            start = Barrier(2)

            def claim_at_once(number: int, start: Barrier = start) -> Claim | None:
                start.wait()
                return stores[number].claim(workers[number])

            [taken] = [found for found in pool.map(claim_at_once, (0, 1)) if found is not None]
            assert taken.run.id == too_large.run.id and taken.run.alone
            for found in (taken, None):
                store.finish((found or claim(store, workers[0])).lease, ending(Reason.FINISHED))


def test_slots_that_have_not_started_yet_count_as_sharing(store: Store) -> None:
    submit(store)
    worker = store.register_worker(identity(1, slots=3), lease_seconds=60)
    claim(store, worker)
    assert store.attempts(1)[0].shared_slots == 3


def test_after_a_rehearsal_a_flush_has_nothing_left_to_compile(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Compiling takes 30 ms, in which the first flush of a worker would keep all others from SQLite's write lock."""
    submit(store)
    lease = claim(store, register(store)).lease
    store.rehearse()
    compiled: list[str] = []
    compile_now = store._engine.dialect.statement_compiler

    def compiler(dialect: Any, statement: Any, *given: Any, **named: Any) -> Any:
        compiled.append(str(statement))
        return compile_now(dialect, statement, *given, **named)

    monkeypatch.setattr(store._engine.dialect, "statement_compiler", compiler)
    store.flush(lease, points=[point(1)], progress=Progress(phase=Phase.TRAIN, step=1))
    store.flush(lease, points=[point(2), point(2, Split.VAL)])
    store.flush(lease, points=[], progress=Progress(phase=Phase.EVALUATE, step=2))
    assert compiled == []


def test_arms_times_seeds_are_the_runs_that_a_list_of_them_is(store: Store) -> None:
    sweep = new_sweep(depths=(4, 2, 8), seeds=3)
    product = EverySeed(arms=3, first_seed=100, num_runs=3)
    assert list(product) == list(sweep.runs) and len(product) == 9
    first = store.submit(sweep)
    second = store.submit(dataclasses.replace(sweep, runs=product, priority=0))
    listed, made = (list(store.runs(RunFilter(sweep_ids=(one.id,)))) for one in (first, second))
    for of_list, of_product in zip(listed, made, strict=True):
        same = ("arm_number", "arm_key", "run_num", "seed", "state", "priority", "created_at", "settings")
        assert [getattr(of_list, name) for name in same] == [getattr(of_product, name) for name in same]
        assert of_product.id == of_list.id + 9
    uids = {run.uid for run in made}
    assert len(uids) == 9 and all(re.fullmatch("r[0-9a-f]{16}", uid) for uid in uids)
    assert store.counts(RunFilter(sweep_ids=(second.id,)))[State.PENDING] == 9


def test_a_worker_that_was_just_given_a_run_is_told_when_there_is_no_other(store: Store) -> None:
    submit(store)
    first = register(store)
    claim(store, first)
    second = register(store, 2)
    assert store.claim(second) is None and store.claim(second) is None
    store.end_worker(first, "gone")
    assert claim(store, second).lease.fence == 2
    store.end_worker(second, "gone")
    with pytest.raises(WorkerGoneError):
        store.claim(second)


def test_what_waiting_arms_need_is_what_their_runs_held_on_such_a_device(store: Store) -> None:
    submit(store, depths=(2, 3), seeds=2)
    worker = register(store, device="gpu0", device_name="H100")
    known = Progress(phase=Phase.TRAIN, step=1, memory_bytes=5_000)
    store.finish(claim(store, worker).lease, ending(Reason.FINISHED), progress=known)
    found = {arm.settings["depth"]: arm.measured_bytes for arm in store.memory_of_waiting_arms("H100")}
    assert found == {2: 5_000, 3: 0}
    assert [arm.measured_bytes for arm in store.memory_of_waiting_arms("A100", sweep_ids=(1,))] == [0, 0]
    store.pause(ALL, "user")
    assert store.memory_of_waiting_arms("H100") == []


def test_a_run_that_does_its_test_again_has_one_point_of_it(store: Store) -> None:
    submit(store)
    worker = register(store)
    lease = claim(store, worker).lease
    store.commit_checkpoint(lease, saved(3), points=[point(3), point(3, Split.VAL), point(3, Split.TEST)])
    store.finish(lease, ending(Reason.LOST))
    second = claim(store, worker).lease
    store.finish(second, ending(Reason.FINISHED), points=[point(3, Split.TEST)])
    assert steps(store, 1, Split.TEST) == [3] and steps(store, 1, Split.VAL) == [3]
    run = store.run(1)
    assert run is not None and run.last_val_loss == point(3).loss
    assert store.losses([1], Split.TEST) == {1: [point(3).loss]}


def test_a_submit_whose_commit_was_not_answered_says_how_to_check(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It said \"Try again.\", which stores the sweep a second time."""
    with (
        commits_unanswered(store, monkeypatch),
        pytest.raises(DatabaseBusyError, match="check with hlbq status before you submit it again"),
    ):
        submit(store)
    assert [sweep.id for sweep in store.sweeps()] == [1]

    @contextlib.contextmanager
    def locked() -> Iterator[Connection]:
        raise DatabaseBusyError("the database is locked", "Try again.")
        yield

    monkeypatch.setattr(store, "_write", locked)
    with pytest.raises(DatabaseBusyError, match=r"Try again\."):
        submit(store)
