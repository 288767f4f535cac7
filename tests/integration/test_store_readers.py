"""Sweeps and what readers see of them."""

import math
from collections.abc import Callable

import pytest
from sqlalchemy import func, select

from hlbgpt_core.points import Split
from orchestrator.errors import UsageError
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import State
from orchestrator.queue.sweeps import CsvTarget, NewRun
from orchestrator.store import Store
from orchestrator.store.opening.schema import CURRENT
from orchestrator.store.tables import runs
from tests.conftest import VirtualClock
from tests.store_examples import ALL, arm, claim, new_sweep, point, register, stored_points, submit


def test_a_sweep_is_stored_as_it_was_asked_for(store: Store, clock: VirtualClock) -> None:
    target = CsvTarget(path="/home/ada/results.csv", append=True, host="here")
    asked = new_sweep(
        name="depth",
        note="é",
        argv=("hlbq", "submit"),
        csv=target,
        wandb_project="p",
        definition={"depth": [2]},
        priority=3,
    )
    made = store.submit(asked)
    assert (made.name, made.note, list(made.argv), made.csv, made.wandb_project, made.definition, made.created_at) == (
        "depth",
        "é",
        ["hlbq", "submit"],
        target,
        "p",
        {"depth": [2]},
        clock.now,
    )
    assert made == store.sweep(made.id) == store.latest_sweep() == store.sweeps()[0]
    [run] = store.runs(ALL)
    assert (run.priority, run.bookkeeping, run.settings) == (3, asked.bookkeeping, asked.arms[0].settings)
    assert store.sweep(99) is None


def test_no_sweeps_is_nothing_to_show(store: Store) -> None:
    assert (store.latest_sweep(), store.sweeps(), list(store.runs(ALL)), stored_points(store, ALL)) == (
        None,
        [],
        [],
        [],
    )


def test_runs_are_numbered_in_the_order_given_and_found_by_number_and_uid(store: Store) -> None:
    submit(store, depths=(2, 4), seeds=2)
    runs = list(store.runs(ALL))
    assert [(run.id, run.arm_number, run.run_num, run.seed) for run in runs] == [
        (1, 1, 1, 100),
        (2, 2, 1, 100),
        (3, 1, 2, 101),
        (4, 2, 2, 101),
    ]
    assert len({run.uid for run in runs}) == 4
    assert store.run("3") == store.run(3) == store.run(runs[2].uid) == runs[2]
    assert (store.run(99), store.run("nobody"), store.run("9" * 40), store.run("9" * 5000)) == (None,) * 4


def test_a_sweep_that_cannot_be_stored_whole_is_not_stored(store: Store) -> None:
    twice = new_sweep(depths=(2, 4))
    bad = new_sweep()
    with pytest.raises(IndexError):
        store.submit(type(bad)(arms=bad.arms, runs=[*bad.runs, NewRun(arm=7, run_num=1, seed=1)]))
    assert store.sweeps() == [] and store.info().rows["arms"] == 0
    assert store.submit(twice).counts[State.PENDING] == 2


def test_extend_adds_only_what_is_missing(store: Store) -> None:
    sweep = submit(store, depths=(2,), seeds=2, priority=4)
    wider = [NewRun(arm=at, run_num=num, seed=99 + num) for num in (1, 2, 3) for at in (0, 1)]
    assert store.extend(sweep.id, arms=[arm(8), arm(2)], runs=wider) == 4
    assert store.extend(sweep.id, arms=[arm(8), arm(2)], runs=wider) == 0
    found = sorted((run.settings["depth"], run.seed, run.arm_number, run.priority) for run in store.runs(ALL))
    assert found == [(2, seed, 1, 4) for seed in (100, 101, 102)] + [(8, seed, 2, 4) for seed in (100, 101, 102)]
    with pytest.raises(UsageError, match="77"):
        store.extend(77, arms=[], runs=[])


def test_runs_of_several_sweeps_come_by_number_and_share_their_arms_settings(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orchestrator.store.reading.runs._RUNS_A_PAGE", 2)
    first, second = submit(store, depths=(2, 4), seeds=2), submit(store, depths=(2, 8), seeds=2)
    store.extend(first.id, arms=[arm(2)], runs=[NewRun(arm=0, run_num=3, seed=102)])
    found = list(store.runs(RunFilter(sweep_ids=(second.id, first.id))))
    assert [run.id for run in found] == list(range(1, 10))
    assert len({id(run.settings) for run in found}) == 4
    assert [run.id for run in store.runs(RunFilter(sweep_ids=(second.id, first.id)), limit=6)] == list(range(1, 7))


def test_runs_come_page_by_page(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.store.reading.runs._RUNS_A_PAGE", 3)
    submit(store, seeds=10)
    assert [run.id for run in store.runs(ALL)] == list(range(1, 11))
    assert [run.id for run in store.runs(ALL, limit=7)] == list(range(1, 8))
    assert list(store.runs(ALL, limit=0)) == []


@pytest.mark.parametrize("page", [1, 2, 7, 5000])
def test_curves_come_by_run_split_and_step_whatever_the_page(
    store: Store, monkeypatch: pytest.MonkeyPatch, page: int
) -> None:
    monkeypatch.setattr("orchestrator.store.reading.curves._ROWS_AT_A_TIME", page)
    monkeypatch.setattr("orchestrator.store.reading.curves._RUNS_A_PAGE", 3)
    submit(store, seeds=8)
    lengths = dict(enumerate((3, 0, 1, 9, 0, 2, 1, 0), start=1))
    for number in range(1, 8):
        lease = claim(store, register(store, number)).lease
        new = [point(step, split) for split in sorted(Split) for step in range(lengths[lease.run_id])]
        store.flush(lease, points=new) if new else None
    found = {
        one.run.id: {split: list(curve["step"]) for split, curve in one.curves.items()}
        for one in store.runs_with_curves(ALL)
    }
    assert found == {run: {split: list(range(length)) for split in Split if length} for run, length in lengths.items()}
    some = store.runs_with_curves(RunFilter(run_ids=(1, 4, 6)), Split.VAL)
    of_val = [(one.run.id, len(one.curves[Split.VAL])) for one in some]
    assert of_val == [(1, 3), (4, 9), (6, 2)]


def test_the_last_point_of_a_metric_is_not_one_of_another_case(store: Store) -> None:
    submit(store)
    lease = claim(store, register(store)).lease
    points = [point(1, Split.VAL, extra={"Norm": 1.0}), point(2, Split.VAL, extra={"norm": 2.0})]
    store.flush(lease, points=points)
    for metric, value in (("Norm", 1.0), ("norm", 2.0)):
        (found,) = store.runs_with_curves(ALL, Split.VAL, (metric,), last=True)
        assert list(found.curves[Split.VAL][metric]) == [value]


def test_counts_name_every_state(store: Store) -> None:
    submit(store, seeds=3)
    claim(store, register(store))
    expected = dict.fromkeys(State, 0) | {State.PENDING: 2, State.RUNNING: 1}
    assert store.counts(ALL) == expected == store.sweeps()[0].counts


def test_info_and_check(store: Store) -> None:
    submit(store, seeds=3)
    info = store.info()
    assert (info.dialect, info.schema_version, info.rows["runs"]) == (store.location.dialect, CURRENT.head, 3)
    assert info.size_bytes > 0 and info.engine_version[0].isdigit()
    assert store.integrity_check() == []


def test_a_reader_sees_one_moment_whatever_is_written_meanwhile(store: Store, open_again: Callable[[], Store]) -> None:
    other, count = open_again(), select(func.count()).select_from(runs)
    submit(store)
    with store._read() as connection:
        assert connection.execute(count).scalar_one() == 1
        submit(other)
        assert connection.execute(count).scalar_one() == 1
    with store._read() as connection:
        assert connection.execute(count).scalar_one() == 2


def test_metrics_without_a_column_are_named_by_split_and_run(store: Store) -> None:
    submit(store, seeds=3)
    first, second = (claim(store, register(store, number)).lease for number in (1, 2))
    store.flush(first, points=[point(1, extra={"lr_head": math.inf, "größe'": math.nan}), point(2)])
    store.flush(second, points=[point(1, Split.VAL, extra={"z_loss": -1e-300}), point(2, extra={"lr_head": 1.0})])
    own = {(Split.TRAIN, "lr_head"), (Split.TRAIN, "größe'")}
    assert store.metrics_without_column(ALL) == own | {(Split.VAL, "z_loss")}
    assert store.metrics_without_column(RunFilter(run_ids=(first.run_id, 3))) == own
    assert store.metrics_without_column(RunFilter(run_ids=(3,))) == set()
