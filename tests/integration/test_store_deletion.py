"""Deleted runs and sweeps, notes and tags, on both databases."""

import os
import signal
from typing import Any

import pytest
from sqlalchemy import select

from hlbgpt_core.points import Split
from orchestrator.errors import FencedError, NotThereError, SyncError, UsageError
from orchestrator.queue.notices import NoticeKind, NotifyMark
from orchestrator.queue.runs import DELETE, RunFilter
from orchestrator.queue.states import Reason, State
from orchestrator.store import OpenMode, Store, open_store
from orchestrator.store.changing import deletion
from orchestrator.store.known import check_named, known_run, known_sweep
from orchestrator.store.tables import (
    arms,
    attempts,
    members,
    metadata,
    notices,
    points,
    policies,
    runs,
    sweeps,
    sync_marks,
)
from tests.ready_processes import ready_context
from tests.store_examples import ALL, claim, ending, point, register, saved, submit

MARK = NotifyMark(token="0123456789abcdef", by="ada on here")


def rows(store: Store) -> dict[str, int]:
    """How many rows each table has."""
    return dict(store.info().rows)


def finish_one(store: Store, worker: int, reason: Reason = Reason.FINISHED) -> int:
    lease = claim(store, worker).lease
    store.flush(lease, points=[point(1), point(1, Split.VAL)])
    store.finish(lease, ending(reason))
    return lease.run_id


def delete(store: Store, wanted: RunFilter = ALL, actor: str = "ada") -> deletion.Deletion:
    return store.delete(store.deletable(wanted).run_ids, actor)


def test_a_deleted_sweep_leaves_its_events_and_nothing_else(store: Store) -> None:
    submit(store, depths=(2, 4), seeds=2, name="kept")
    before = rows(store)
    submit(store, depths=(2, 4), seeds=2, name="gone", notify=MARK)
    worker = register(store)
    for reason in [Reason.FINISHED] * 5 + [Reason.DIVERGED] * 3:
        finish_one(store, worker, reason)
    [uid] = [run.uid for run in store.runs(RunFilter(run_ids=(5,)))]
    store.take_sync(uid, "me")
    store.plan_sync(uid, "me", generation=0, step=1, fence=1)
    found = store.deletable(RunFilter(sweep_ids=(2,)))
    assert (found.run_ids, found.sweeps, found.points, found.on_wandb) == ([5, 6, 7, 8], [2], 8, 1)
    assert delete(store, RunFilter(sweep_ids=(2,))) == found
    after = rows(store)
    for table in (sweeps, arms, runs, notices, sync_marks):
        assert after[table.name] == before[table.name], table.name
    assert (after["attempts"], after["points"]) == (4, 8)
    assert store.integrity_check() == [] and store.sweep(2) is None and store.run(5) is None
    [newest] = store.events(limit=1)
    assert (newest.action, newest.actor, newest.sweep_id, newest.run_id) == (DELETE, "ada", 2, None)
    assert newest.why == "4 runs, and the sweep 'gone'"
    assert store.events(run_id=5, limit=1)[0].why == uid and store.events(sweep_id=2)[-1].action == "submit"


def test_single_runs_go_and_their_sweep_stays(store: Store) -> None:
    submit(store, seeds=3)
    finish_one(store, register(store))
    assert delete(store, RunFilter(states=(State.PENDING,))).sweeps == []
    assert [run.id for run in store.runs(ALL)] == [1] and store.counts(ALL)[State.COMPLETED] == 1
    assert delete(store, RunFilter(run_ids=(1,))).sweeps == [1] and store.sweeps() == []


def test_numbers_are_never_given_again(store: Store) -> None:
    for _ in range(2):
        submit(store, depths=(2, 4), seeds=2)
        delete(store)
    assert submit(store, depths=(2, 4), seeds=2).id == 3
    assert [run.id for run in store.runs(ALL)] == [9, 10, 11, 12]
    delete(store, RunFilter(run_ids=(12,)))
    [arm] = [one for one in store.arms(3) if one.number == 1]
    assert arm is not None and submit(store).id == 4
    assert [run.id for run in store.runs(RunFilter(sweep_ids=(4,)))] == [13]


def test_running_runs_are_refused_and_nothing_goes(store: Store) -> None:
    submit(store, seeds=3)
    lease = claim(store, register(store)).lease
    for call in (store.deletable, lambda wanted: store.delete([1, 2, 3], "ada")):
        with pytest.raises(UsageError, match="run 1 is running; nothing was deleted") as refused:
            call(ALL)
        assert refused.value.hint == "Cancel first: hlbq cancel --run 1"
    assert store.matching(ALL) == 3
    store.cancel(RunFilter(run_ids=(1,)), "ada")
    delete(store)
    with pytest.raises(FencedError):  # its trainer has not heard yet
        store.flush(lease, points=[point(1)])
    assert not store.still_holds(lease)


def test_deleting_what_was_left_ends_the_sweep_for_its_user(store: Store) -> None:
    submit(store, seeds=2, notify=MARK)
    finish_one(store, register(store))
    assert store.undelivered() == []
    delete(store, RunFilter(run_ids=(2,)))
    assert [notice.kind for notice in store.undelivered()] == [NoticeKind.SWEEP_ENDED]


def test_what_was_deleted_is_told_from_what_never_was(store: Store) -> None:
    submit(store, name="gone")
    run = known_run(store, 1)
    delete(store, actor="bob")
    with pytest.raises(NotThereError, match="run 1 was deleted by bob on 2023-11-1"):
        check_named(store, RunFilter(run_ids=(1,)))
    with pytest.raises(NotThereError, match="sweep 1 was deleted by bob"):
        check_named(store, RunFilter(sweep_ids=(1,)))
    with pytest.raises(NotThereError, match="there is no sweep 2 in"):
        known_sweep(store, 2)
    assert store.deleted_among([run.uid, "r0000"]) == {run.uid}
    assert not store.any_sweep([1, 2])


def test_a_sync_that_comes_too_late_hears_of_it(store: Store) -> None:
    submit(store, wandb_project="p")
    finish_one(store, register(store))
    run = known_run(store, 1)
    assert store.take_sync(run.uid, "me") is not None
    delete(store)
    assert store.take_sync(run.uid, "other") is None and not store.renew_sync(run.uid, "me")
    assert store.plan_sync(run.uid, "me", generation=0, step=1, fence=1) is False
    with pytest.raises(SyncError, match="run 1 was deleted"):
        store.sendable(1)


def _delete_and_die(location: str) -> None:
    with open_store(location, mode=OpenMode.WRITE) as store:
        remove, calls = deletion._remove, iter(range(9))

        def deadly(*arguments: Any) -> None:
            if next(calls) == 1:  # the runs of the first sweep are gone, the sweep is not
                os.kill(os.getpid(), signal.SIGKILL)
            remove(*arguments)

        deletion._remove = deadly
        store.delete([1, 2, 3, 4], "ada")


def test_a_delete_that_is_killed_leaves_all(store: Store, location: str) -> None:
    for _ in range(2):
        submit(store, seeds=2)
    finish_one(store, register(store))
    before = rows(store)
    process = ready_context().Process(target=_delete_and_die, args=(location,))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL
    assert rows(store) == before
    assert delete(store).sweeps == [1, 2] and rows(store)["points"] == 0


def test_every_table_that_refers_to_runs_or_sweeps_is_known_here() -> None:
    """Whoever adds one decides whether its rows go with the run, or keep it from being deleted."""
    found = {
        table.name
        for table in metadata.sorted_tables
        for key in table.foreign_keys
        if key.column.table in (runs, sweeps)
    }
    assert found == {table.name for table in (arms, runs, attempts, points, sync_marks, notices, members, policies)}


def test_tags_and_notes_of_runs_and_sweeps(store: Store) -> None:
    submit(store, seeds=2, name="first")
    submit(store)
    first = known_sweep(store, 1)
    assert store.change_tags(first, "ada", add=["paper", "A"], remove=[]) == ("A", "paper")
    assert store.change_tags(known_run(store, 2), "ada", add=["good"], remove=["never"]) == ("good",)
    assert store.change_tags(known_run(store, 3), "ada", add=["pap", "a"], remove=[]) == ("a", "pap")
    assert [run.tags for run in store.runs(ALL)] == [("A", "paper"), ("A", "good", "paper"), ("a", "pap")]
    matching = {
        tags: [run.id for run in store.runs(RunFilter(tags=tags))]
        for tags in [("paper",), ("A",), ("a",), ("good",), ("good", "pap"), ("ape",), ("%",)]
    }
    assert list(matching.values()) == [[1, 2], [1, 2], [3], [2], [2, 3], [], []]
    assert store.change_tags(first, "ada", add=[], remove=["A"]) == ("paper",)
    store.set_note(first, "two\nlines", "ada")
    store.set_note(known_run(store, 1), "odd", "ada")
    store.rename(first, "second", "ada")
    assert (known_sweep(store, 1).name, known_sweep(store, 1).note) == ("second", "two\nlines")
    assert known_run(store, 1).note == "odd"
    told = [(event.action, event.run_id, event.why) for event in store.events(sweep_id=1, limit=5)][::-1]
    assert told == [
        ("tag", 2, "+good -never"),
        ("tag", None, "-A"),
        ("note", None, "two\nlines"),
        ("note", 1, "odd"),
        ("rename", None, "'first' is now 'second'"),
    ]


def test_too_many_tags_are_refused_and_change_nothing(store: Store) -> None:
    submit(store)
    with pytest.raises(UsageError, match="that makes 33 tags"):
        store.change_tags(known_run(store, 1), "ada", add=[f"t{number}" for number in range(33)], remove=[])
    with store._read() as connection:
        assert connection.execute(select(runs.c.tags)).scalar_one() == ""


def test_a_checkpoint_of_a_deleted_run_holds_nothing_back(store: Store) -> None:
    submit(store)
    lease = claim(store, register(store)).lease
    store.commit_checkpoint(lease, saved(1), points=[point(1)])
    store.cancel(ALL, "ada")
    assert delete(store).points == 1
