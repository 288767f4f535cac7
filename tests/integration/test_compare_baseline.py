"""`hlbq compare` without --baseline takes the sweep's own; members of the sweep stand beside its own runs."""

from typing import Any

import pytest

from hlbgpt_core.points import Split
from orchestrator.comparison.questions import Question
from orchestrator.comparison.reporting.rendering import tables
from orchestrator.comparison.results import Comparison, compare
from orchestrator.queue.attempts import Ending
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason
from orchestrator.queue.sweeps import NewSweep
from orchestrator.report.contents import read_report
from orchestrator.store import Store
from orchestrator.sweep.definition import definition_of
from orchestrator.sweep.options import axes_of
from orchestrator.sweep.plan import Plan, make_plan
from orchestrator.sweep.shapes import Shape
from tests.sample_sweep import register, sample_facts, sample_point

pytestmark = pytest.mark.reader

FIXED = {"depth": [2], "width": [128], "tokenizer": ["bytes"], "dataset": ["pystdlib"]}
NOISE = (0.01, -0.012, 0.004, 0.007, -0.009, 0.003)


def submit(store: Store, values: dict[str, list[Any]], *, seeds: int = 5, members: int = 0, **rest: Any) -> Plan:
    """A sweep of these values; of its runs, those that are the first `members` of the database are left out."""
    axes = axes_of(FIXED | values)
    plan = make_plan(axes, num_runs=seeds, shape=rest.pop("shape", Shape()))
    lent = [run for run in store.runs(RunFilter()) if run.id <= members]
    plan = plan.without({(run.arm_key, run.seed) for run in lent})
    store.submit(
        NewSweep(
            arms=plan.new_arms(), runs=plan.new_runs(), members=[run.id for run in lent],
            definition=definition_of(plan, axes, rest),
        )
    )  # fmt: skip
    return plan


def train(store: Store, **facts: Any) -> None:
    """The whole queue: more heads are better."""
    worker = register(store)
    while claim := store.claim(worker):
        run = claim.run
        loss = 3.0 + NOISE[run.seed % 6] - 0.1 * run.settings["num_heads"] + NOISE[(run.seed + run.id) % 6] / 10
        point = sample_point(Split.VAL, 10, loss=loss)
        store.flush(claim.lease, points=[point], facts=sample_facts(**facts))
        store.finish(claim.lease, Ending(reason=Reason.FINISHED))


def found(store: Store, sweep: int = 1, **question: Any) -> Comparison:
    return compare(store, RunFilter(sweep_ids=(sweep,), with_members=True), Question(**question))


def verdicts(comparison: Comparison) -> list[tuple[str, str, str]]:
    return [(one.label, one.baseline, one.finding.verdict.value) for one in comparison.contrasts]


def test_the_first_value_of_each_axis_is_what_others_are_compared_with(store: Store) -> None:
    submit(store, {"num_heads": [2, 1, 4]})
    train(store)
    assert verdicts(found(store)) == [
        ("num_heads 1", "num_heads 2", "worse"), ("num_heads 4", "num_heads 2", "better")
    ]  # fmt: skip
    assert [one[1] for one in verdicts(found(store, baseline={"num_heads": 4}))] == ["num_heads 4"] * 2


def test_a_named_baseline_is_the_sweeps_and_one_at_a_time_drops_no_arm(store: Store) -> None:
    values = {"num_heads": [2, 1], "lr_mult": [1, 2]}
    submit(store, values, baseline=["num_heads=1"])
    submit(store, values, shape=Shape(one_at_a_time=True))
    train(store)
    armwise = compare(store, RunFilter(sweep_ids=(1,), with_members=True), Question(arms=True))
    assert [one[1] for one in verdicts(armwise)] == ["num_heads 1, lr_mult 1", "num_heads 1, lr_mult 2"]
    assert [one[0] for one in verdicts(found(store, 2))] == ["num_heads 1, lr_mult 1", "num_heads 2, lr_mult 2"]
    partly = found(store, 2, baseline={"num_heads": 2})
    assert any("num_heads 2, lr_mult 2" in warning for warning in partly.warnings)


def test_filters_that_leave_the_baseline_out_give_the_table_and_say_why(store: Store) -> None:
    submit(store, {"num_heads": [2, 1, 4]})
    train(store)
    wanted = RunFilter(sweep_ids=(1,), where={"num_heads": (1, 4)})
    comparison = compare(store, wanted, Question())
    assert len(comparison.groups) == 2 and not comparison.contrasts
    assert any("no differences from the sweep's baseline" in text for text in comparison.warnings)


def test_members_are_compared_with_the_sweeps_own_runs(store: Store) -> None:
    submit(store, {"num_heads": [1]})
    train(store)
    submit(store, {"num_heads": [1, 2]}, members=5)
    train(store)
    comparison = found(store, 2)
    assert verdicts(comparison) == [("num_heads 2", "num_heads 1", "better")]
    assert (comparison.sweeps, comparison.runs, comparison.lent) == ([2], 10, [(1, 5)])
    assert "sweep 2, 10 runs, 5 of them of sweep 1" in tables(comparison)[0].title
    assert not verdicts(compare(store, RunFilter(), Question())), "several sweeps have no baseline of their own"
    report = read_report(store, 2)
    assert "10 runs" in report.summary and "better" in str(report.sections[0])


def test_members_on_other_data_stand_apart_without_differences(store: Store) -> None:
    submit(store, {"num_heads": [1]})
    train(store)
    submit(store, {"num_heads": [1, 2]}, members=3)
    train(store, data_fingerprint="0ther")
    comparison = found(store, 2)
    assert not comparison.contrasts and comparison.by == ("num_heads", "sweep")
    assert [(group.values["sweep"], group.summary.count) for group in comparison.groups] == [(1, 3), (2, 2), (2, 5)]
    assert any(text.startswith("no differences: with those of other sweeps, ") for text in comparison.warnings)


def test_a_pair_is_one_pair(store: Store) -> None:
    submit(store, {"num_heads": [1, 2]}, seeds=1)
    train(store)
    from orchestrator.comparison.results import seen

    assert "(1 pair, difference" in seen(found(store).contrasts)
