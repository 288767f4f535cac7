"""What people do to many runs: cancel, pause, retry, priority; and how filters choose them."""

import pytest

from hlbgpt_core.errors import SettingsError
from hlbgpt_core.points import Split
from orchestrator.errors import FencedError
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Limits, Reason, Retry, Spent, State
from orchestrator.store import Store
from tests.conftest import VirtualClock
from tests.store_examples import ALL, claim, ending, point, register, saved, steps, submit


def test_cancel_holds_at_once_for_pending_and_running_runs(store: Store, clock: VirtualClock) -> None:
    submit(store, seeds=3)
    done, held = register(store, 1), register(store, 2)
    store.finish(claim(store, done).lease, ending(Reason.FINISHED))
    lease = claim(store, held).lease
    assert store.cancel(ALL, "user") == 2
    assert store.counts(ALL) == dict.fromkeys(State, 0) | {State.COMPLETED: 1, State.CANCELLED: 2}
    with pytest.raises(FencedError):
        store.flush(lease, points=[point(1)])
    run = store.run(lease.run_id)
    assert run is not None and (run.reason, run.ended_at, run.worker_id) == (Reason.CANCELLED, clock.now, None)
    [attempt] = store.attempts(lease.run_id)
    assert (attempt.reason, attempt.ended_at) == (Reason.CANCELLED, clock.now)
    assert store.cancel(ALL, "user") == 0


def test_each_change_is_an_event_of_its_run(store: Store) -> None:
    submit(store, seeds=2)
    worker = register(store)
    claim(store, worker)
    store.cancel(ALL, "ada")
    found = [(event.run_id, event.actor, event.action, event.worker_id) for event in store.events(limit=2)]
    assert found == [(2, "ada", "cancel", None), (1, "ada", "cancel", worker)]
    assert store.events(sweep_id=1)[-1].action == "submit"


def test_retry_gives_limits_afresh_and_keeps_the_checkpoint_only(store: Store) -> None:
    submit(store, limits=Limits(max_attempts=1))
    lease = claim(store, register(store)).lease
    store.commit_checkpoint(lease, saved(1), points=[point(1)])
    store.finish(lease, ending(Reason.ERROR), points=[point(2)])
    assert steps(store, 1) == [1, 2], "a failed run shows its whole curve"
    assert store.retry(ALL, "user") == 1
    run = store.run(1)
    assert run is not None
    assert (run.state, run.reason, run.spent, run.checkpoint) == (State.PENDING, None, Spent(), saved(1))
    assert (run.ended_at, run.step, steps(store, 1)) == (None, 1, [1])


def test_retry_of_a_run_without_checkpoint_starts_from_nothing(store: Store) -> None:
    submit(store, seeds=2)
    lease = claim(store, register(store)).lease
    store.flush(lease, points=[point(0), point(1)])
    store.cancel(RunFilter(run_ids=(1,)), "user")
    assert store.retry(ALL, "user") == 1
    assert steps(store, 1) == [] and store.retry(ALL, "user") == 0


@pytest.mark.parametrize(("how", "left"), [(Retry.AS_BEFORE, 1), (Retry.FROM_START, None)])
def test_after_a_retry_the_last_losses_are_of_the_points_that_are_left(
    store: Store, how: Retry, left: int | None
) -> None:
    """`status` and the dashboard told those of points that were gone."""
    submit(store, seeds=3, limits=Limits(max_attempts=1))
    worker = register(store)
    lease = claim(store, worker).lease
    store.commit_checkpoint(lease, saved(1), points=[point(1), point(1, Split.VAL, loss=float("inf"))])
    store.finish(lease, ending(Reason.ERROR), points=[point(2), point(2, Split.VAL)])
    store.finish(claim(store, worker).lease, ending(Reason.DIVERGED), points=[point(2), point(2, Split.VAL)])
    store.finish(claim(store, worker).lease, ending(Reason.FINISHED), points=[point(2), point(2, Split.VAL)])
    assert store.retry(ALL, "user", how) == 2
    first, second, third = store.runs(ALL)
    assert (first.last_train_loss, first.last_val_loss) == (
        (None, None) if left is None else (point(left).loss, float("inf"))
    )
    assert (second.last_train_loss, second.last_val_loss) == (None, None)
    assert (first.tokens_seen, second.tokens_seen) == (0 if left is None else point(left).tokens_seen, 0)
    assert (third.last_train_loss, third.last_val_loss) == (point(2).loss, point(2).loss)


def test_completed_runs_are_never_moved(store: Store) -> None:
    submit(store)
    store.finish(claim(store, register(store)).lease, ending(Reason.FINISHED))
    before = store.run(1)
    assert [store.cancel(ALL, "u"), store.retry(ALL, "u"), store.pause(ALL, "u"), store.set_priority(ALL, 3, "u")] == [
        0,
        0,
        0,
        0,
    ]
    assert store.run(1) == before


def test_pausing_lets_running_runs_go_on(store: Store) -> None:
    submit(store, seeds=2)
    lease = claim(store, register(store, 1)).lease
    assert (store.pause(ALL, "user"), store.pause(ALL, "user")) == (2, 0)
    store.flush(lease, points=[point(1)])
    assert store.finish(lease, ending(Reason.RELEASED)).paused
    assert store.claim(register(store, 2)) is None
    assert store.unpause(ALL, "user") == 2


@pytest.mark.parametrize(
    ("wanted", "numbers"),
    [
        (RunFilter(), [1, 2, 3, 4, 5]),
        (RunFilter(sweep_ids=(2,)), [5]),
        (RunFilter(sweep_ids=(1, 2), states=(State.COMPLETED,)), [1]),
        (RunFilter(run_ids=(2, 5, 77)), [2, 5]),
        (RunFilter(reasons=(Reason.FINISHED, Reason.OOM)), [1]),
        (RunFilter(where={"depth": 2}), [1, 3, 5]),
        (RunFilter(where={"depth": "4"}), [2, 4]),
        (RunFilter(where={"depth": (2, 4), "seed": 101}), [3, 4]),
        (RunFilter(where={"depth": 2, "lr_mult": "2.62"}, sweep_ids=(1,)), [1, 3]),
        (RunFilter(where={"depth": 8}), []),
    ],
)
def test_filters_choose_the_same_runs_for_every_command(store: Store, wanted: RunFilter, numbers: list[int]) -> None:
    submit(store, depths=(2, 4), seeds=2)
    submit(store, depths=(2,))
    store.finish(claim(store, register(store)).lease, ending(Reason.FINISHED))
    assert [run.id for run in store.runs(wanted)] == numbers
    assert store.matching(wanted) == len(numbers) == sum(store.counts(wanted).values())
    unfinished = [number for number in numbers if number != 1]
    assert store.set_priority(wanted, 9, "user") == len(unfinished)


def test_a_filter_by_a_setting_that_is_none_names_the_nearest(store: Store) -> None:
    submit(store)
    with pytest.raises(SettingsError, match="depth"):
        store.matching(RunFilter(where={"dept": 2}))


def test_very_many_numbers_in_a_filter(store: Store) -> None:
    submit(store, seeds=3)
    assert store.pause(RunFilter(run_ids=tuple(range(2, 100_000))), "user") == 2
