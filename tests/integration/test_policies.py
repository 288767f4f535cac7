"""Policies in the store and the steps that the reconciler takes, on both databases."""

import contextlib
import json
import random
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from threading import Thread
from typing import Any

import numpy
import pytest
from sqlalchemy import event, select, update

from hlbgpt_core.points import Split
from orchestrator.cli.main import run_program
from orchestrator.comparison.judging.bounds import Bound
from orchestrator.comparison.judging.policy import ClosureReason, DecidePolicy, PolicyState, policy_of
from orchestrator.comparison.measuring.measures import Goal
from orchestrator.comparison.questions import Question
from orchestrator.comparison.reporting.rendering import verdict_sentences
from orchestrator.comparison.results import compare
from orchestrator.comparison.statistics import paired_difference
from orchestrator.errors import DatabaseBusyError, ExportError, PlanError, UsageError
from orchestrator.growth.by_hand import addition_to
from orchestrator.growth.declaring import declared_for_sweep, with_policy
from orchestrator.growth.reading import read_results
from orchestrator.growth.reconciler import take_due_steps
from orchestrator.growth.standing import standing_lines, standing_of, summary_lines
from orchestrator.queue import states
from orchestrator.queue.code import CodePart
from orchestrator.queue.notices import NotifyMark
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.sweeps import NewPolicy, NewRun, PolicyStep
from orchestrator.report.contents import read_report
from orchestrator.status.reading import read_status
from orchestrator.store import OpenMode, Store, open_store
from orchestrator.store.known import known_sweep
from orchestrator.store.rows import code_json
from orchestrator.store.tables import attempts, policies, runs, sweeps
from orchestrator.sweep.existing_runs import Existing
from orchestrator.sweep.submission import prepare_sweep
from orchestrator.sweep.sweep_options import SweepOptions
from orchestrator.wording.numbers import duration
from tests.dashboard_client import Client, client
from tests.faults.harness import ask, wait_until
from tests.store_examples import ALL, arm, claim, ending, facts, new_sweep, point, register

__all__ = ["client"]  # a fixture
DEPTHS = (2, 4, 8)
# The loss of each depth; seeds and runs add noise.
LOSSES = {2: 3.0, 4: 2.8, 8: 3.0}


def declaration(**changed: Any) -> DecidePolicy:
    """Depths 4 and 8 against 2."""
    keys = [arm(depth).key for depth in DEPTHS]
    values: dict[str, Any] = {"metric": "val_loss", "goal": Goal.LOWER, "arms": keys[1:], "baselines": [keys[0]] * 2}
    return DecidePolicy(**(values | changed))


def submitted(store: Store, policy: DecidePolicy | None = None, *, seeds: int = 3, **rest: Any) -> int:
    """A sweep with this policy; returns its number."""
    new = None if policy is None else NewPolicy(kind="decide", definition=asdict(policy))
    definition = {"seed": 100, "num_runs": seeds, "base_arm": {"depth": 2, "width": 64}}
    sweep = new_sweep(depths=DEPTHS, seeds=seeds, policy=new, definition=definition, **rest)
    return store.submit(sweep).id


def loss_of(depth: int, seed: int) -> float:
    """A run's loss, whoever trains it."""
    return LOSSES[depth] + numpy.random.default_rng([1, depth, seed]).normal(0, 0.01)


def train_one(store: Store, worker: int, losses: Mapping[int, float] | None = None) -> int | None:
    """Claim a run and finish it; returns its number, None where there is none to claim."""
    taken = store.claim(worker)
    if taken is None:
        return None
    run = taken.run
    loss = loss_of(int(run.settings["depth"]), run.seed)
    store.flush(taken.lease, points=[point(1), point(1, Split.VAL, loss=loss)], facts=facts())
    store.finish(taken.lease, ending(states.Reason.FINISHED))
    return run.id


def steps(store: Store) -> list[Any]:
    """Take what is due."""
    return list(take_due_steps(store, actor="me"))


def decided(store: Store, sweep_id: int) -> dict[str, tuple[ClosureReason, int]]:
    """What was said of each arm, after how many seeds."""
    record = store.policy(sweep_id)
    assert record is not None
    return {closure.arm: (closure.reason, closure.seeds) for closure in PolicyState.of(record).closures}


def test_a_sweep_grows_until_the_verdict_is_in(store: Store) -> None:
    sweep, worker = submitted(store, declaration()), register(store)
    assert store.may_grow() and [record.sweep_id for record in store.due_policies()] == [sweep]
    while True:
        while train_one(store, worker) is not None:
            pass
        if not any(step.added for step in steps(store)):
            break
    record = store.policy(sweep)
    assert record is not None and record.ended_why == "every arm is closed" and not store.may_grow()
    said = decided(store, sweep)
    assert said[arm(4).key][0] is ClosureReason.BETTER and said[arm(8).key][0] is ClosureReason.FUTILE
    runs = list(store.runs(ALL))
    own = {depth: [run.seed for run in runs if run.settings["depth"] == depth] for depth in DEPTHS}
    assert own[4] == list(range(100, 100 + said[arm(4).key][1])), "no seed after the verdict"
    assert own[2] == own[8] and [run.run_num for run in runs] == [run.seed - 99 for run in runs]
    told = [event.why for event in store.events(sweep_id=sweep) if event.action == "decide"]
    assert any("better after" in why for why in told) and any("chance of a verdict" in why for why in told)


@pytest.mark.reader
def test_compare_gives_the_policys_verdicts(store: Store) -> None:
    """With fewer seeds than its own rule needs; other questions are judged by its own."""
    sweep, worker = submitted(store, declaration(margin=0.05)), register(store)
    while train_one(store, worker) is not None:
        steps(store)
    comparison = compare(store, RunFilter(sweep_ids=(sweep,), with_members=True), Question())
    said = decided(store, sweep)
    found = {one.label: one.finding.verdict.value for one in comparison.contrasts}
    assert said[arm(8).key][0] is ClosureReason.NO_DIFFERENCE and found["depth 8"] == "no difference"
    assert found["depth 4"] == "better" and "by evidence of 10, for at most 20 seeds; done" in comparison.policy[0]
    assert comparison.extension is None and comparison.margin == 0.05
    alone = compare(store, RunFilter(sweep_ids=(sweep,), with_members=True), Question(arms=True, robust=True))
    assert not alone.policy


def test_what_is_beyond_the_cap_or_before_the_first_look_has_no_part_in_the_intervals(store: Store) -> None:
    """The smaller bound of a cap holds for the policy's own seeds, and from the first look on."""
    sweep, worker = submitted(store, declaration(max_seeds=5, futility=None), seeds=8), register(store)
    while train_one(store, worker) is not None:
        pass
    steps(store)
    for contrast in compare(store, RunFilter(sweep_ids=(sweep,), with_members=True), Question()).contrasts:
        expected = paired_difference(tuple(contrast.pairs.differences.values()), evidence=Bound(cap=5).evidence(1))
        assert list(contrast.pairs.differences) == list(range(100, 105))
        assert contrast.finding.difference == expected and "3 pairs beyond the cap not counted" in contrast.declared
        assert contrast.finding.p_value >= expected.p_value > 0  # type: ignore[operator]


@pytest.mark.parametrize("depth", [4, 8])
def test_a_seed_that_the_policy_skipped_stays_out_of_compare_after_a_retry(store: Store, depth: int) -> None:
    """Of an arm that is closed since, and of one that is open to the cap."""
    sweep, worker = submitted(store, declaration(max_seeds=6, futility=None), seeds=4), register(store)
    (skipped,) = [run.id for run in store.runs(ALL) if run.settings["depth"] == depth and run.seed == 101]
    store.cancel(RunFilter(run_ids=(skipped,)), "ada")
    while train_one(store, worker) is not None:
        pass
    while steps(store) and not store.waiting():
        pass
    store.retry(RunFilter(run_ids=(skipped,)), "ada")
    while train_one(store, worker) is not None:
        steps(store)
    record = store.policy(sweep)
    assert record is not None and record.ended_at is not None
    closures = {closure.arm: closure for closure in PolicyState.of(record).closures}
    comparison = compare(store, RunFilter(sweep_ids=(sweep,), with_members=True), Question())
    (contrast,) = [one for one in comparison.contrasts if arm(depth).key in one.arms]
    seeds = list(contrast.pairs.differences)
    assert 101 not in seeds and len([one for one in seeds if one < 100 + closures[arm(depth).key].seeds]) == (
        closures[arm(depth).key].pairs
    )
    told = f"depth {depth}: no pair of seed 101 (it had no number when the policy reached it, so it stays out)"
    assert told in verdict_sentences(comparison)


def test_what_diverged_beyond_the_cap_is_no_part_of_the_policys_pairs(store: Store) -> None:
    sweep, worker = submitted(store, declaration(max_seeds=5, futility=None), seeds=7), register(store)
    while (taken := store.claim(worker)) is not None:
        run, diverges = taken.run, taken.run.settings["depth"] == 8 and taken.run.seed in (103, 106)
        value = loss_of(int(run.settings["depth"]), run.seed)
        store.flush(taken.lease, points=[point(1, Split.VAL, loss=value)], facts=facts())
        reason = states.Reason.DIVERGED if diverges else states.Reason.FINISHED
        store.finish(taken.lease, ending(reason, permanent=True))
    comparison = compare(store, RunFilter(sweep_ids=(sweep,), with_members=True), Question())
    (contrast,) = [one for one in comparison.contrasts if arm(8).key in one.arms]
    assert (contrast.pairs.diverged, contrast.pairs.diverged_alone) == (1, 1)


def test_before_the_first_look_there_is_no_interval(store: Store) -> None:
    sweep, worker = submitted(store, declaration(first_look=6, max_seeds=7), seeds=4), register(store)
    while train_one(store, worker) is not None:
        pass
    for contrast in compare(store, RunFilter(sweep_ids=(sweep,), with_members=True), Question()).contrasts:
        assert len(contrast.pairs.differences) == 4
        assert contrast.finding.difference.always_valid_interval is None


def test_a_step_is_written_once(store: Store) -> None:
    """Of two who computed it, the later one writes nothing."""
    sweep = submitted(store, declaration())
    record = store.policy(sweep)
    assert record is not None
    key = arm(4).key
    step = PolicyStep(read=record, state={"round": 0}, runs=[(key, 103)])
    assert store.take_step(step, "one") == 1
    assert store.take_step(step, "two") is None
    assert store.counts(ALL)[states.State.PENDING] == 10
    (added,) = [run for run in store.runs(ALL) if run.seed == 103]
    assert (added.arm_key, added.run_num) == (key, 4)
    after = store.policy(sweep)
    assert after is not None and (after.version, after.is_due) == (1, False)


def test_seeds_that_are_added_take_the_priority_that_the_sweep_has_now(store: Store) -> None:
    """By a step, while runs are queued and after the last has ended, and by hand."""
    sweep, worker = submitted(store, declaration(), priority=2), register(store)
    store.set_priority(RunFilter(sweep_ids=(sweep,)), 9, "ada")
    while train_one(store, worker) is not None:
        pass
    assert sum(step.added for step in steps(store)), "nothing was queued by then"
    assert {run.priority for run in store.runs(ALL)} == {9}
    store.set_priority(RunFilter(sweep_ids=(sweep,)), 4, "ada")
    assert store.extend(sweep, arms=[arm(DEPTHS[0])], runs=[NewRun(arm=0, run_num=19, seed=118)]) == 1
    assert {run.priority for run in store.runs(RunFilter(states=(states.State.PENDING,)))} == {4}


def test_results_that_come_during_a_step_make_the_next_one_due(store: Store) -> None:
    sweep, worker = submitted(store, declaration()), register(store)
    read = store.policy(sweep)
    assert read is not None
    train_one(store, worker)
    step = PolicyStep(read=read, state={})
    assert store.take_step(step, "me") == 0 and [record.id for record in store.due_policies()] == [read.id]
    assert steps(store) and not store.due_policies()
    store.cancel(RunFilter(run_ids=(5,)), "ada")
    assert store.due_policies()


def test_a_run_that_ends_while_a_policy_is_declared_is_a_result_for_it(store: Store) -> None:
    """PostgreSQL's transactions do not see each other: the first step read the run as running, and none was due after
    it. The policy waited for ever."""
    sweep, worker = submitted(store, seeds=1), register(store)
    new = NewPolicy(kind="decide", definition=asdict(declaration()))

    def declare_meanwhile(_: object) -> None:
        with open_store(store.location.private, mode=OpenMode.WRITE, busy_timeout_seconds=0.1) as other:
            with contextlib.suppress(DatabaseBusyError):
                other.declare(sweep, new)
            steps(other)

    while train_one(store, worker) != 2:
        pass
    last = claim(store, worker).lease
    event.listen(store._engine, "commit", declare_meanwhile, once=True)
    store.finish(last, ending(states.Reason.FINISHED))
    if store.policy(sweep) is None:
        store.declare(sweep, new)
    assert [record.sweep_id for record in store.due_policies()] == [sweep]


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 4))])
def test_whoever_ends_first_and_whoever_dies_the_verdict_is_the_same(store: Store, seed: int) -> None:
    """Workers end runs in any order, steps are taken by any of them, late, or by one that dies before it wrote."""
    draw = random.Random(seed)
    sweep = submitted(store, declaration())
    workers = [register(store, number, device=f"cuda:{number}") for number in range(3)]
    held: dict[int, Any] = {}
    for _ in range(2000):
        worker = draw.choice(workers)
        if worker in held:
            taken = held.pop(worker)
            run = taken.run
            if draw.random() < 0.2:
                store.finish(taken.lease, ending(states.Reason.RELEASED))
                continue
            value = loss_of(int(run.settings["depth"]), run.seed)
            store.flush(taken.lease, points=[point(1, Split.VAL, loss=value)], facts=facts())
            store.finish(taken.lease, ending(states.Reason.FINISHED))
        elif (claimed := store.claim(worker)) is not None:
            held[worker] = claimed
        elif not held and not store.may_grow():
            break
        if draw.random() < 0.4:
            steps(store)
    undisturbed = submitted(store, declaration())
    while train_one(store, workers[0]) is not None:
        steps(store)
    assert decided(store, sweep) == decided(store, undisturbed) != {}
    runs = [(run.arm_key, run.seed) for run in store.runs(RunFilter(sweep_ids=(sweep,)))]
    assert len(set(runs)) == len(runs)


def test_what_is_cancelled_or_paused_waits_for_a_person(store: Store) -> None:
    """Nothing grows behind their back, and workers do not stay for it."""
    sweep, worker = submitted(store, declaration(futility=None)), register(store)
    store.cancel(ALL, "ada")
    steps(store)
    assert not store.may_grow() and not store.waiting() and store.counts(ALL)[states.State.PENDING] == 0
    (line,) = summary_lines(store, (), sweep)
    assert line.endswith("; open arms wait for you, because runs are cancelled: hlbq retry --sweep 1 lets them go on")
    record = store.policy(sweep)
    assert record is not None and standing_of(store, record).waits
    store.retry(ALL, "ada")
    assert store.due_policies()
    while train_one(store, worker) is not None:
        steps(store)
    assert decided(store, sweep)[arm(4).key][0] is ClosureReason.BETTER


def test_a_sweep_that_grows_is_over_once_its_policy_is(store: Store) -> None:
    """`--notify` tells of the end once, not of every round's."""
    mark = NotifyMark(token="0123456789abcdef", by="ada on here")
    sweep, worker = submitted(store, declaration(), notify=mark), register(store)
    while train_one(store, worker) is not None:
        if not store.waiting():
            assert not store.undelivered()
            steps(store)
    assert [notice.sweep_id for notice in store.undelivered()] == [sweep]


def test_declaring_later_takes_the_bound_without_a_cap(store: Store) -> None:
    """The runs have results by then; a second policy is refused unless it replaces the first."""
    sweep, worker = submitted(store), register(store)
    options = SweepOptions(decide=True, max_seeds=8)
    stored = store.sweep(sweep)
    assert stored is not None
    new, warnings = declared_for_sweep(store, stored, options)
    assert new.definition["is_capped"] and not warnings
    train_one(store, worker)
    new, warnings = declared_for_sweep(store, stored, options)
    assert not new.definition["is_capped"] and "evidence of 20" in warnings[0]
    first = store.declare(sweep, new)
    with pytest.raises(UsageError, match="has a policy already"):
        store.declare(sweep, new)
    second = store.declare(sweep, new, replace=True)
    assert [(one.id, one.ended_why) for one in store.policies((sweep,))] == [
        (first.id, "declared again"),
        (second.id, ""),
    ]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_seeds": 2}, "--max_seeds 2 is less than --first_look 3"),
        ({"margin": -1.0}, "--margin -1"),
        ({"margin": float("nan")}, "--margin nan"),
        ({"margin": 2.0, "metric": "val_acc"}, "is a share"),
        ({"futility": "often"}, "--futility often"),
        ({"metric": "val_los"}, "no run of sweep 1 has it"),
        ({"metric": "test_loss"}, "not every arm is evaluated on test text"),
        ({"best_arm": True, "metric": "lr"}, "is higher or lower better"),
        ({"max_seeds": 2, "first_look": 2}, "no verdict on 2 arms is possible below 3 seeds"),
    ],
)
def test_a_policy_that_cannot_be_is_refused(store: Store, options: Mapping[str, Any], message: str) -> None:
    stored = store.sweep(submitted(store))
    assert stored is not None
    with pytest.raises(UsageError, match=message):
        declared_for_sweep(store, stored, SweepOptions(decide=True, **options))


@pytest.mark.parametrize(
    ("axes", "metric", "differ"),
    [
        ({"num_eval_tokens": [4096, 8192]}, "val_loss", "num_eval_tokens: 4096, 8192"),
        ({"num_eval_tokens": [4096, 8192]}, "val_bits_per_byte", "num_eval_tokens: 4096, 8192"),
        ({"num_eval_tokens": [4096, 8192]}, "train_loss", ""),
        ({"test_tokens": [0, 4096]}, "val_loss", "test_tokens: 0, 4096"),
        ({"max_sequence_length": [128, 256]}, "val_loss", "max_sequence_length: 128, 256"),
        ({"max_sequence_length": [128, 256], "eval_sequence_length": [128]}, "val_loss", ""),
        ({"recipe": ["0.4.1", "0.3.0"]}, "val_acc", "num_eval_tokens: 153600, 1048576"),
        ({"tokenizer": ["bytes", "gpt2"]}, "train_loss", "tokenizer: bytes, gpt2"),
        ({"tokenizer": ["bytes", "gpt2"]}, "val_bits_per_byte", ""),
        ({"dataset": ["pystdlib", "wikitext-103"]}, "train_loss", "dataset: pystdlib, wikitext-103"),
    ],
)
@pytest.mark.parametrize("way", [{"decide": True}, {"decide": True, "best_arm": True}, {"trials": 2, "confirm": 1}])
def test_arms_whose_numbers_mean_different_things_are_not_decided_between(
    axes: Mapping[str, list[Any]], metric: str, differ: str, way: Mapping[str, Any]
) -> None:
    """As `compare` does not compare them."""
    if "trials" in way:
        pytest.importorskip("optuna")
    base = {"depth": [2], "width": [192], "dataset": ["pystdlib"], "tokenizer": ["bytes"]}
    options = SweepOptions(metric=metric, **way)
    found = prepare_sweep({**base, **axes}, options, db="unused.db", argv=[], find_existing=lambda plan: Existing())
    if not differ:
        assert with_policy(found, options).sweep.policy is not None
        return
    with pytest.raises(UsageError, match=f"{metric} can't decide between arms that differ in {differ}"):
        with_policy(found, options)


def test_more_seeds_than_the_cap_are_refused() -> None:
    options = SweepOptions(decide=True, max_seeds=5, num_runs=6)
    axes = {"depth": [2, 4], "width": [128]}
    found = prepare_sweep(axes, options, db="unused.db", argv=[], find_existing=lambda plan: Existing())
    with pytest.raises(UsageError, match="--num_runs 6 is more than --max_seeds 5"):
        with_policy(found, options)


def test_options_without_effect_on_a_race_are_named() -> None:
    options = SweepOptions(decide=True, best_arm=True, baseline=["depth=2"], futility="0.2")
    axes = {"depth": [2, 4], "width": [128]}
    found = prepare_sweep(axes, options, db="unused.db", argv=[], find_existing=lambda plan: Existing())
    assert with_policy(found, options).warnings == ["--baseline and --futility: no effect on the race of --best_arm"]
    usual = replace(options, baseline=(), futility="0.10")
    assert not with_policy(found, usual).warnings


def test_seeds_for_undecided_arms_are_the_policys_to_add(store: Store) -> None:
    sweep, worker = submitted(store, declaration()), register(store)
    while train_one(store, worker):
        pass
    for is_open in (True, False):
        why = "its policy adds the seeds" if is_open else "none of its arms is undecided"
        with pytest.raises(UsageError, match=why):
            addition_to(store, known_sweep(store, sweep), {}, 20, undecided=True)
        while is_open and (steps(store) or train_one(store, worker)):
            pass


def test_one_arm_or_no_baseline_is_refused(store: Store) -> None:
    one = store.submit(new_sweep(definition={"seed": 100}))
    with pytest.raises(UsageError, match="the sweep has one arm"):
        declared_for_sweep(store, one, SweepOptions(decide=True))
    without = store.submit(new_sweep(depths=DEPTHS, definition={"seed": 100, "base_arm": None}))
    with pytest.raises(UsageError, match="no baseline"):
        declared_for_sweep(store, without, SweepOptions(decide=True))
    assert declared_for_sweep(store, without, SweepOptions(decide=True, best_arm=True))[0].definition["best_arm"]


def test_runs_that_a_policy_counts_are_not_deleted(store: Store) -> None:
    """But the whole sweep may go, its policy with it."""
    sweep = submitted(store, declaration())
    with pytest.raises(UsageError, match=f"run 2 is counted by sweep {sweep}"):
        store.deletable(RunFilter(run_ids=(2,)))
    everything = store.deletable(RunFilter(sweep_ids=(sweep,)))
    store.delete(everything.run_ids, "ada")
    assert store.policy(sweep) is None and store.sweep(sweep) is None


def test_a_race_ends_with_the_best_arm(store: Store) -> None:
    keys = [arm(depth).key for depth in DEPTHS]
    policy = declaration(arms=keys, baselines=[], best_arm=True, futility=None, is_capped=False, max_seeds=12)
    sweep, worker = submitted(store, policy), register(store)
    while train_one(store, worker) is not None:
        steps(store)
    said = decided(store, sweep)
    assert said[arm(4).key][0] is ClosureReason.BEST and {said[key][0] for key in (keys[0], keys[2])} == {
        ClosureReason.NOT_BEST
    }
    comparison = compare(store, RunFilter(sweep_ids=(sweep,), with_members=True), Question())
    assert "done" in comparison.policy[0] and comparison.policy[-1] == "best: depth 4"
    record = store.policy(sweep)
    assert record is not None and comparison.policy == standing_lines(standing_of(store, record))
    assert "evidence of 40 for each pair of arms" in comparison.policy[0]


def test_a_policy_grows_from_runs_that_wait_as_from_those_that_run(store: Store) -> None:
    """Workers ask once: what a step has just queued must not be missed between two questions."""
    sweep, worker = submitted(store, declaration()), register(store)
    steps(store)
    assert not store.due_policies() and store.may_grow() and store.may_grow([sweep])
    store.pause(ALL, "ada")
    steps(store)
    assert not store.may_grow()
    store.unpause(ALL, "ada")
    steps(store)
    assert store.claim(worker) is not None and store.may_grow()


def test_a_step_that_fails_keeps_no_other_sweep_from_growing(store: Store) -> None:
    submitted(store, declaration(metric="quality"))
    sweep, worker = submitted(store, declaration()), register(store)
    while train_one(store, worker) is not None:
        with pytest.raises(ExportError, match="quality"):
            steps(store)
    assert decided(store, sweep)[arm(4).key][0] is ClosureReason.BETTER


def test_a_bug_that_one_sweep_meets_keeps_no_other_from_growing(store: Store) -> None:
    broken = submitted(store, declaration())
    sweep, worker = submitted(store, declaration()), register(store)
    with store._write() as connection:
        state = json.dumps({"round": 0, "of_another_version": 1})
        connection.execute(update(policies).where(policies.c.sweep_id == broken).values(state=state))
    while train_one(store, worker) is not None:
        with pytest.raises(TypeError, match="of_another_version"):
            steps(store)
    assert decided(store, sweep)[arm(4).key][0] is ClosureReason.BETTER


def test_who_may_grow_besides_those_whose_steps_fail(store: Store) -> None:
    first, second = submitted(store, declaration()), submitted(store, declaration())
    numbers = [record.id for record in store.policies()]
    assert store.may_grow(without=numbers[:1]) and store.may_grow([second], without=numbers[:1])
    assert not store.may_grow([first], without=numbers[:1]) and not store.may_grow(without=numbers)


@pytest.mark.parametrize(("seed", "is_fine"), [(2**63 - 20, True), (2**63 - 19, False)])
def test_seeds_up_to_the_cap_are_there_from_the_beginning(store: Store, seed: int, is_fine: bool) -> None:
    """A sweep was submitted, and its policy failed at the first seed that the database could not hold."""
    options = SweepOptions(decide=True, seed=seed)
    found = new_sweep(depths=DEPTHS, definition={"seed": seed, "base_arm": {"depth": 2, "width": 64}})
    stored = store.submit(found)

    def submit() -> None:
        axes = {"depth": ["2", "4"], "width": ["64"], "dataset": ["pystdlib"], "tokenizer": ["bytes"]}
        made = prepare_sweep(axes, options, db=None, argv=(), find_existing=lambda plan: Existing())
        with_policy(made, options)

    for declare in (submit, lambda: declared_for_sweep(store, stored, options)):
        if is_fine:
            declare()
            continue
        with pytest.raises(PlanError, match=f"seed {2**63} is out of range"):
            declare()


def test_the_baseline_that_decide_was_told_is_the_one_that_compare_shows(store: Store) -> None:
    """Not the sweep's own, against which the verdict would read the other way round."""
    sweep, worker = submitted(store), register(store)
    stored = store.sweep(sweep)
    assert stored is not None
    new, _ = declared_for_sweep(store, stored, SweepOptions(decide=True, baseline=("depth=4",)))
    store.declare(sweep, new)
    while train_one(store, worker) is not None:
        steps(store)
    assert decided(store, sweep)[arm(2).key][0] is ClosureReason.WORSE
    comparison = compare(store, RunFilter(sweep_ids=(sweep,), with_members=True), Question())
    found = {(one.label, one.baseline): one.finding.verdict.value for one in comparison.contrasts}
    assert found == {("depth 2", "depth 4"): "worse", ("depth 8", "depth 4"): "worse"}


@pytest.mark.parametrize("what", ["cancel", "delete"])
def test_locks_are_taken_in_one_order(store: Store, what: str) -> None:
    """A step locks the policy, then the sweep: who did it the other way round would end in a deadlock."""
    if store.location.path is not None:
        pytest.skip("SQLite lets one write at a time")
    submitted(store, declaration(), notify=NotifyMark(token="0123456789abcdef", by="ada on here"))

    def change() -> None:
        with open_store(store.location.private, mode=OpenMode.WRITE) as other:
            other.cancel(ALL, "ada") if what == "cancel" else other.delete(range(1, 10), "ada")

    changing = Thread(target=change)
    with open_store(store.location.private, mode=OpenMode.READ) as reader, store._write() as connection:
        connection.execute(update(policies).values(version=policies.c.version))
        changing.start()
        waits = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        wait_until(lambda: ask(reader, waits) > 0, seconds=60, what="the change waits")
        connection.execute(select(sweeps.c.id).with_for_update(nowait=True, key_share=True))
    changing.join(60)
    assert not changing.is_alive()


def test_a_run_of_two_codes_is_no_evidence(store: Store) -> None:
    sweep, worker = submitted(store, declaration()), register(store)
    while train_one(store, worker) is not None:
        pass
    with store._write() as connection:
        two = code_json([CodePart(digest="aa", after=0), CodePart(digest="bb", after=0)])
        connection.execute(update(runs).where(runs.c.seed == 101).values(code=two))
    record = store.policy(sweep)
    assert record is not None
    results = read_results(store, policy_of(record), sweep, 100)
    assert results.ended[:, :3].all() and numpy.isnan(results.values[:, 1]).all()
    assert not numpy.isnan(results.values[:, (0, 2)]).any()


def test_a_policy_goes_on_once_the_codes_that_it_waits_for_are_declared_the_same(store: Store) -> None:
    """The runs counted from then on, but no step was due: it waited until somebody extended the sweep."""
    sweep, worker = submitted(store, declaration(futility=None)), register(store)
    while train_one(store, worker) is not None:
        pass
    with store._write() as connection:
        two = code_json([CodePart(digest="aa", after=0), CodePart(digest="bb", after=0)])
        connection.execute(update(runs).where(runs.c.seed >= 101).values(code=two))
    steps(store)
    assert not store.waiting() and not store.may_grow()
    store.declare_same("aa", "bb", why="a test", actor="ada")
    assert [step.sweep_id for step in steps(store)] == [sweep] and store.waiting()


def test_runs_of_two_codes_beside_each_other_are_named_by_every_reader(store: Store) -> None:
    """As by `compare`, which warns of them; codes that people declared the same are one."""
    sweep, worker = submitted(store, declaration()), register(store)
    while train_one(store, worker) is not None:
        pass
    with store._write() as connection:
        for depth, digest in ((2, "a" * 16), (4, "b" * 16), (8, "a" * 16)):
            own = [run.id for run in store.runs(ALL) if run.settings["depth"] == depth]
            code = code_json([CodePart(digest=digest, after=0)])
            connection.execute(update(runs).where(runs.c.id.in_(own)).values(code=code))
    steps(store)
    told = "runs of 2 codes are shown together: aaaaaaaa (6 runs), bbbbbbbb (3 runs)"
    record = store.policy(sweep)
    assert record is not None
    assert standing_lines(standing_of(store, record))[-1].strip() == told
    assert summary_lines(store, (), sweep)[0].endswith(f"; {told}")
    comparison = compare(store, RunFilter(sweep_ids=(sweep,), with_members=True), Question())
    assert told in comparison.warnings and told not in "".join(comparison.policy)
    store.declare_same("a" * 16, "b" * 16, why="a test", actor="ada")
    assert not standing_of(store, record).codes  # type: ignore[union-attr]


def test_a_run_on_other_data_is_no_evidence(store: Store) -> None:
    sweep, worker = submitted(store, declaration()), register(store)
    while train_one(store, worker) is not None:
        pass
    with store._write() as connection:
        other = json.dumps(asdict(facts(data_fingerprint="0ther")))
        connection.execute(update(runs).where(runs.c.seed == 102).values(facts=other))
    record = store.policy(sweep)
    assert record is not None
    results = read_results(store, policy_of(record), sweep, 100)
    assert results.ended[:, :3].all() and numpy.isnan(results.values[:, 2]).all()
    assert not numpy.isnan(results.values[:, :2]).any() and not any(results.stops)


@pytest.mark.parametrize(("first_seed", "more"), [(100, 4), (102, 6)])
def test_a_policy_whose_data_changed_waits_and_asks_for_no_more_seeds(store: Store, first_seed: int, more: int) -> None:
    """The policy of a confirmation counts from seeds past those of its search."""
    sweep, worker = submitted(store, declaration(futility=None, first_seed=first_seed)), register(store)
    while train_one(store, worker) is not None:
        pass
    if first_seed > 100:
        assert sum(step.added for step in steps(store)) == 6
    while train_one(store, worker) is not None:
        pass
    with store._write() as connection:
        other = json.dumps(asdict(facts(data_fingerprint="0ther")))
        connection.execute(update(runs).where(runs.c.seed > first_seed).values(facts=other))
    assert not any(step.added for step in steps(store)) and not store.may_grow()
    record = store.policy(sweep)
    assert record is not None and record.ended_at is None
    told = "open arms wait for you, because runs are trained on other data: restore the first data, then "
    told += f"hlbq extend 1 --num_runs {more}; or submit a new sweep"
    assert standing_lines(standing_of(store, record))[-1].strip() == told
    assert summary_lines(store, (), sweep)[0].endswith(f"; {told}")
    assert store.retry(RunFilter(sweep_ids=(sweep,)), "ada") == 0, "there is nothing to try again"
    addition_to(store, known_sweep(store, sweep), {}, more).apply(store, sweep)
    while train_one(store, worker) is not None:
        steps(store)
    assert decided(store, sweep)[arm(4).key][0] is ClosureReason.BETTER


def test_a_policy_whose_last_seeds_are_on_other_data_is_closed_at_its_cap(store: Store) -> None:
    """Nobody can give it more."""
    sweep, worker = submitted(store, declaration(futility=None, max_seeds=4), seeds=4), register(store)
    while train_one(store, worker) is not None:
        pass
    with store._write() as connection:
        other = json.dumps(asdict(facts(data_fingerprint="0ther")))
        connection.execute(update(runs).where(runs.c.seed >= 102).values(facts=other))
    steps(store)
    assert {reason for reason, _ in decided(store, sweep).values()} == {ClosureReason.CAP}


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        (states.Reason.OOM, "failed: hlbq retry --sweep 1 lets them go on once the cause is gone"),
        (None, "paused: hlbq unpause --sweep 1 lets them go on"),
    ],
)
def test_what_lets_a_policy_go_on_depends_on_what_stopped_it(
    store: Store, reason: states.Reason | None, told: str
) -> None:
    sweep, worker = submitted(store, declaration(futility=None)), register(store)
    if reason is None:
        store.pause(ALL, "ada")
    while (taken := store.claim(worker)) is not None:
        store.finish(taken.lease, ending(reason or states.Reason.FINISHED, permanent=True))
    steps(store)
    record = store.policy(sweep)
    assert record is not None
    assert standing_lines(standing_of(store, record))[-1].endswith(f"open arms wait for you, because runs are {told}")


@pytest.mark.reader
@pytest.mark.parametrize("best_arm", [False, True])
def test_every_reader_says_how_the_policy_stands(store: Store, client: Client, best_arm: bool) -> None:
    keys = [arm(depth).key for depth in DEPTHS]
    race: dict[str, Any] = {"arms": keys, "baselines": [], "best_arm": True, "futility": None, "is_capped": False}
    sweep, worker = submitted(store, declaration(**(race if best_arm else {}))), register(store)
    client.feed.pages.refresh({f"sweep/{sweep}"})
    assert f"{2 + best_arm} arms open after 0 seeds" in client.get(f"sweeps/{sweep}")["growth"][0]
    assert "at the latest" not in summary_lines(store, (), sweep)[0], "no run has ended yet"
    train_one(store, worker)
    with store._write() as connection:
        connection.execute(update(attempts).values(started_at=attempts.c.ended_at - 60))
    assert summary_lines(store, (), sweep)[0].endswith(f", ends in {duration(len(DEPTHS) * 20 * 60)} at the latest")
    while train_one(store, worker) is not None:
        steps(store)
    record = store.policy(sweep)
    assert record is not None
    head, *arms = standing_lines(standing_of(store, record))
    client.feed.pages.refresh({f"sweep/{sweep}"})
    assert client.get(f"sweeps/{sweep}")["growth"] == [head, *arms]
    sentences = client.get(f"sweeps/{sweep}/comparison?metric=val_loss")["sentences"]
    (section,) = [one for one in read_report(store, sweep).sections if one.heading == "Comparison"]
    for lines in (sentences, section.paragraphs):
        assert head in lines and "; done, " in head
        assert not best_arm or set(arms) <= set(lines)
    status = asdict(read_status(store, RunFilter(), now=0.0))
    assert [line for line in status["growing"] if f"sweep {sweep} is done after" in line]


def test_decide_without_any_policy_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    database = str(tmp_path / "hlbq.db")
    open_store(database, mode=OpenMode.CREATE).close()
    assert run_program(["decide", "--db", database]) == 0
    assert capsys.readouterr().err == f"no sweep has a policy. Declare one: hlbq decide --db {database} SWEEP\n"


def test_decide_says_that_it_declares_and_then_only_how_it_stands(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Without options it reads as if it only showed."""
    database = str(tmp_path / "hlbq.db")
    assert run_program(["submit", "--preset", "tiny-cpu", "--depth", "1", "2", "--db", database]) == 0
    capsys.readouterr()
    said = []
    for _ in range(2):
        assert run_program(["decide", "1", "--db", database]) == 0
        said.append(capsys.readouterr())
    assert "sweep 1 had no policy, and now has one with the defaults\n" in said[0].err
    assert f"hlbq decide --db {database} 1 --redeclare --margin 0.01\n" in said[0].err
    assert "had no policy" not in said[1].err and said[1].out == said[0].out
    assert run_program(["cancel", "--all", "--yes", "--db", database]) == 0
    capsys.readouterr()
    assert run_program(["decide", "--db", database]) == 0
    assert f"hlbq retry --db {database} --sweep 1 lets them go on" in capsys.readouterr().out
