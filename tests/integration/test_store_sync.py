"""Marks and leases of the W&B sync, on both databases."""

from collections.abc import Callable

from sqlalchemy import event

from hlbgpt_core.points import Split
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Limits, Reason, State
from orchestrator.store import Store
from orchestrator.wandb_sync.rows import upload_of
from tests.conftest import VirtualClock
from tests.store_examples import ALL, claim, ending, point, register, saved, submit


def unsent(store: Store) -> list[int]:
    return store.unsent(ALL, limit=100)


def send(store: Store, run_id: int, owner: str = "me") -> list[tuple[str, int]]:
    """What a sync does, without W&B; returns what it sent."""
    sendable = store.sendable(run_id)
    uid, points = sendable.run.uid, sendable.points
    assert store.take_sync(uid, owner) is not None
    last = points[-1]
    assert store.plan_sync(uid, owner, generation=0, step=last.point.step, fence=last.fence)
    assert store.commit_sync(uid, owner, rows_sent=len(points), last_step=last.point.step, told=sendable.ending)
    return [(one.point.split.value, one.point.step) for one in points]


def test_points_are_sent_up_to_the_checkpoint_and_all_in_the_end(store: Store) -> None:
    submit(store)
    lease = claim(store, register(store)).lease
    store.flush(lease, points=[point(1), point(2)])
    assert unsent(store) == [], "nothing is committed yet"
    store.commit_checkpoint(lease, saved(2), points=[point(2, Split.VAL)])
    store.flush(lease, points=[point(3)])
    assert unsent(store) == [1]
    assert send(store, 1) == [("train", 1), ("train", 2), ("val", 2)]
    assert unsent(store) == []
    store.commit_checkpoint(lease, saved(3))
    assert unsent(store) == [1] and send(store, 1)[-1] == ("train", 3) and unsent(store) == []
    store.finish(lease, ending(Reason.FINISHED), points=[point(4)])
    assert unsent(store) == [1] and send(store, 1)[-1] == ("train", 4) and unsent(store) == []


def test_an_end_without_new_points_is_told_and_after_a_retry_told_again(store: Store) -> None:
    submit(store, limits=Limits(max_attempts=1))
    worker = register(store)
    lease = claim(store, worker).lease
    store.commit_checkpoint(lease, saved(1), points=[point(1)])
    send(store, 1)
    store.finish(lease, ending(Reason.ERROR))
    assert unsent(store) == [1]
    assert store.sendable(1).ending == "failed error 1"
    send(store, 1)
    assert unsent(store) == []
    store.retry(RunFilter(run_ids=(1,)), "user")
    store.finish(claim(store, worker).lease, ending(Reason.ERROR))
    assert unsent(store) == [1] and store.sendable(1).ending == "failed error 2"


def test_runs_that_were_never_claimed_have_nothing_to_send(store: Store) -> None:
    submit(store, seeds=2)
    store.cancel(ALL, "user")
    assert unsent(store) == []


def test_runs_are_found_page_by_page_and_by_filter(store: Store) -> None:
    submit(store, seeds=5)
    worker = register(store)
    for _ in range(5):
        store.finish(claim(store, worker).lease, ending(Reason.FINISHED), points=[point(1)])
    assert store.unsent(ALL, limit=2) == [1, 2]
    assert store.unsent(ALL, limit=2, after_id=2) == [3, 4]
    assert store.unsent(RunFilter(run_ids=(4,)), limit=9) == [4]


def test_one_sync_at_a_time_holds_a_run(store: Store, open_again: Callable[[], Store], clock: VirtualClock) -> None:
    uid, other = _claimed(store), open_again()
    mine = store.take_sync(uid, "me")
    assert mine is not None and store.take_sync(uid, "me") is not None
    assert other.take_sync(uid, "you") is None
    assert not other.plan_sync(uid, "you", generation=0, step=1, fence=1)
    assert not other.commit_sync(uid, "you", rows_sent=9, last_step=9, told="")
    assert not other.renew_sync(uid, "you")
    seen = other.sync_mark(uid)
    clock.advance(10)
    assert store.renew_sync(uid, "me")
    assert other.take_sync(uid, "you", lapsed=seen) is None, "it was renewed since"
    taken = other.take_sync(uid, "you", lapsed=other.sync_mark(uid))
    assert taken is not None and taken.lease_owner == "you" and taken.rows_sent == 0
    assert not store.commit_sync(uid, "me", rows_sent=9, last_step=9, told="")


def test_leases_of_the_dead_are_freed_together(store: Store) -> None:
    uid = _claimed(store)
    store.take_sync(uid, "gone")
    assert store.release_sync("somebody") == 0 and store.take_sync(uid, "me") is None
    assert store.release_sync("gone") == 1 and store.take_sync(uid, "me") is not None


def test_a_new_generation_begins_at_nothing_sent(store: Store) -> None:
    uid = _claimed(store)
    store.take_sync(uid, "me")
    store.commit_sync(uid, "me", rows_sent=5, last_step=4, told="failed error 1")
    store.take_sync(uid, "me")
    store.plan_sync(uid, "me", generation=0, step=7, fence=1)
    mark = store.sync_mark(uid)
    assert mark is not None and (mark.rows_sent, mark.last_step, mark.told) == (5, 4, "failed error 1")
    store.plan_sync(uid, "me", generation=1, step=2, fence=2)
    mark = store.sync_mark(uid)
    assert mark is not None and (mark.generation, mark.rows_sent, mark.last_step, mark.told) == (1, 0, 0, "")
    assert (mark.planned_step, mark.planned_fence) == (2, 2)


def _claimed(store: Store) -> str:
    submit(store)
    return claim(store, register(store)).run.uid


def test_the_point_of_the_test_stands_last_in_its_step(store: Store) -> None:
    submit(store)
    lease = claim(store, register(store)).lease
    # Stopped within the test: the checkpoint is of the last step, and its points were sent.
    store.commit_checkpoint(lease, saved(2), points=[point(2), point(2, Split.VAL)])
    before = send(store, 1)
    assert before == [("train", 2), ("val", 2)]
    store.finish(lease, ending(Reason.FINISHED), points=[point(2, Split.TEST)])
    assert send(store, 1) == [*before, ("test", 2)]


def test_what_is_sent_of_a_run_that_ends_meanwhile_is_of_one_moment(
    store: Store, open_again: Callable[[], Store]
) -> None:
    """The sync ended with a KeyError: the run still ran, and what was told of its end was of a moment later."""
    [sweep, other] = [submit(store), open_again()]
    lease = claim(store, register(store)).lease
    store.commit_checkpoint(lease, saved(1), points=[point(1)])
    ends = iter([lambda: other.finish(lease, ending(Reason.FINISHED), points=[point(2)])])

    def end_it(*_: object) -> None:
        if "JOIN arms" in str(_[2]):  # the run has been read, its points have not
            next(ends)()

    event.listen(store._engine, "after_cursor_execute", end_it)
    sendable = store.sendable(1)
    event.remove(store._engine, "after_cursor_execute", end_it)
    upload = upload_of(sendable, sweep, 0, project="p", varying=())
    assert (sendable.run.state, sendable.ending, len(sendable.points), upload.exit_code) == (State.RUNNING, "", 1, None)
    assert store.sendable(1).ending == "completed finished 1"
