"""Runs that a sweep left out because another had completed them: readers count them in, everything else does not."""

import json
from dataclasses import replace

import pytest
from sqlalchemy import event

from orchestrator.dashboard.run_values import run_values
from orchestrator.errors import UsageError
from orchestrator.export.metric_names import parse_metric
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason, State
from orchestrator.queue.sweeps import NewArm, NewRun, NewSweep
from orchestrator.store import Store
from tests.store_examples import arm, claim, ending, facts, point, register, submit

SECOND = RunFilter(sweep_ids=(2,))
WITH_MEMBERS = replace(SECOND, with_members=True)


@pytest.fixture
def lent(store: Store) -> Store:
    """Sweep 1: depths 2 and 4 with two seeds, all completed. Sweep 2: depths 2 and 8, and run 3 of sweep 1; its own
    runs of depth 2 begin at the third seed, and those of sweep 1's depth 4 are members alone."""
    submit(store, depths=(2, 4), seeds=2)
    worker = register(store)
    for _ in range(4):
        lease = claim(store, worker).lease
        store.flush(lease, points=[point(1)], facts=facts())
        store.finish(lease, ending(Reason.FINISHED))
    new = [NewRun(arm=0, run_num=3, seed=102), NewRun(arm=1, run_num=1, seed=100)]
    store.submit(NewSweep(arms=[arm(2), arm(8)], runs=new, members=[1, 2, 3], definition={"seed": 100}))
    return store


def ids(store: Store, wanted: RunFilter, **more: int) -> list[int]:
    return [run.id for run in store.runs(wanted, **more)]


def test_readers_take_the_members_too_by_number(lent: Store) -> None:
    assert ids(lent, SECOND) == [5, 6]
    assert ids(lent, WITH_MEMBERS) == [1, 2, 3, 5, 6]
    assert [run.sweep_id for run in lent.runs(WITH_MEMBERS)] == [1, 1, 1, 2, 2]
    assert ids(lent, WITH_MEMBERS, limit=2) == [1, 2]
    assert ids(lent, replace(WITH_MEMBERS, where={"depth": 2})) == [1, 3, 5]
    assert ids(lent, replace(WITH_MEMBERS, states=(State.COMPLETED,))) == [1, 2, 3]
    assert ids(lent, replace(WITH_MEMBERS, where={"seed": (101, 102)})) == [3, 5]


def test_a_run_counts_once_however_many_sweeps_have_it(lent: Store) -> None:
    assert ids(lent, RunFilter(with_members=True)) == [1, 2, 3, 4, 5, 6]
    assert ids(lent, RunFilter(sweep_ids=(1, 2), with_members=True)) == [1, 2, 3, 4, 5, 6]


def test_what_changes_runs_and_counts_them_knows_only_the_sweeps_own(lent: Store) -> None:
    assert lent.matching(WITH_MEMBERS) == sum(lent.counts(WITH_MEMBERS).values()) == 2
    assert lent.pause(WITH_MEMBERS, "user") == 2 and lent.cancel(WITH_MEMBERS, "user") == 2
    assert lent.retry(WITH_MEMBERS, "user") == 2
    sweep = lent.sweep(2)
    assert sweep is not None and sum(sweep.counts.values()) == 2


def test_a_sweep_is_not_stored_without_a_run_that_was_to_stand_for_one_of_its_own(lent: Store) -> None:
    """It was deleted after `submit --skip_existing` had read it: the sweep lacked that seed, and nobody said so."""
    with pytest.raises(UsageError, match="was deleted meanwhile"):
        lent.submit(NewSweep(arms=[arm(2)], runs=[], members=[1, 99], definition={"seed": 100}))
    assert len(lent.sweeps()) == 2


def test_an_extension_makes_no_run_that_a_member_stands_for(lent: Store) -> None:
    arms: list[NewArm] = [arm(2), arm(4), arm(8)]
    wanted = [NewRun(arm=one, run_num=seed - 99, seed=seed) for one in range(3) for seed in (100, 101, 102)]
    # Members: depth 2 with both seeds, depth 4 with the first; its own: depth 2 with the third, depth 8 with the first.
    assert lent.extend(2, arms=arms, runs=wanted) == 4
    assert {(run.settings["depth"], run.seed) for run in lent.runs(SECOND)} == {
        (2, 102), (8, 100), (4, 101), (4, 102), (8, 101), (8, 102)
    }  # fmt: skip


def test_a_page_shows_members_under_the_sweeps_own_arm(lent: Store) -> None:
    assert [json.dumps(one.settings["depth"]) for one in lent.arms(2)] == ["2", "8", "4"]
    arms = {one.id: one.settings["depth"] for one in lent.arms(2)}
    assert [(line.id, line.sweep_id, arms[line.arm_id]) for line in lent.run_lines(2)] == [
        (1, 1, 2), (2, 1, 4), (3, 1, 2), (5, 2, 2), (6, 2, 8)
    ]  # fmt: skip

    assert sorted(run_values(lent, [2], parse_metric("train_loss"), "last", 0)) == [1, 2, 3]


@pytest.mark.parametrize("location", ["sqlite"], indirect=True)
def test_pages_with_members_sort_nothing(lent: Store) -> None:
    seen: list[tuple[str, tuple[object, ...]]] = []
    engine = lent._engine

    def note(connection: object, cursor: object, statement: str, parameters: tuple[object, ...], *_: object) -> None:
        if "FROM runs" in statement:
            seen.append((statement, parameters))

    event.listen(engine, "before_cursor_execute", note)
    list(lent.runs(WITH_MEMBERS))
    event.remove(engine, "before_cursor_execute", note)
    members = [one for one in seen if "members" in one[0]]
    assert members
    with lent._read() as connection:
        for statement, parameters in members:
            rows = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
            found = "\n".join(str(row[-1]) for row in rows)
            assert "TEMP B-TREE" not in found and "SCAN" not in found, found


def test_a_member_is_not_deleted_while_a_sweep_counts_it(lent: Store) -> None:
    """Together with that sweep it is; the sweep alone may go."""
    with pytest.raises(UsageError, match="run 3 is counted by sweep 2"):
        lent.deletable(RunFilter(run_ids=(3,)))
    assert lent.deletable(WITH_MEMBERS).run_ids == [5, 6]
    lent.delete([3, 5, 6], "user")
    assert lent.sweep(2) is None and ids(lent, WITH_MEMBERS) == []
    assert ids(lent, RunFilter()) == [1, 2, 4]
