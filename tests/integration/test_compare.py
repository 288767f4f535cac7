"""`hlbq compare` on both databases: groups, pairs, verdicts, looks, times to a target, and what it refuses."""

import json
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hlbgpt_core.errors import HlbqError
from hlbgpt_core.evaluation import fingerprint_of
from hlbgpt_core.flops import flops_per_token
from hlbgpt_core.points import Facts, Point, Split
from hlbgpt_core.settings import Settings
from orchestrator.cli.main import run_program
from orchestrator.comparison.judging.contrasts import Verdict
from orchestrator.comparison.measuring.groups import read_baseline
from orchestrator.comparison.measuring.measures import Goal, Measure, PointChoice
from orchestrator.comparison.questions import Question
from orchestrator.comparison.reporting.rendering import markdown, sentences
from orchestrator.comparison.results import Comparison, Extension, compare, recorded
from orchestrator.export.metric_names import Axis, parse_metric
from orchestrator.queue.attempts import Claim, Ending
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason
from orchestrator.queue.sweeps import NewArm, NewRun
from orchestrator.store import OpenMode, Store, open_store, parse_location
from tests.sample_sweep import BASE, register, sample_facts, sample_point, sample_points, submit_sweep, work

pytestmark = pytest.mark.reader

EVERYTHING = RunFilter()
DEPTHS = ({"depth": 2}, {"depth": 3}, {"depth": 4})
# Noise of seeds that all arms have in common, and of single runs: fixed, so that verdicts are.
SEED_NOISE = (0.3, -0.2, 0.1, 0.0, -0.4, 0.25, 0.15, -0.1)
RUN_NOISE = (0.010, -0.012, 0.004, 0.007, -0.009, 0.003, -0.005, 0.011)

LossOf = Callable[[Claim], float]


def against(*texts: str, **rest: Any) -> Question:
    return Question(baseline=read_baseline(texts), **rest)


def curve(last: float, *, steps: Sequence[int] = (10, 20, 40)) -> list[Point]:
    """Val points that fall to `last`: 0.4 above it at 10 steps, 0.2 at 20."""
    return [sample_point(Split.VAL, step, loss=last + 8 / step - 8 / 40) for step in steps]


def train_all(store: Store, loss_of: LossOf, *, facts: Callable[[Claim], Facts] | None = None) -> None:
    """Run the whole queue; a loss that is not finite is a run that diverges after its first point."""
    worker = register(store)
    while claim := store.claim(worker):
        loss = loss_of(claim)
        told = facts(claim) if facts else sample_facts()
        if math.isfinite(loss):
            store.flush(claim.lease, points=curve(loss), facts=told)
            store.finish(claim.lease, Ending(reason=Reason.FINISHED))
        else:
            points = [*curve(4.0, steps=[10]), sample_point(Split.VAL, 20, loss=loss)]
            store.flush(claim.lease, points=points, facts=told)
            store.finish(claim.lease, Ending(reason=Reason.DIVERGED))


def loss_with(effects: Mapping[int, float]) -> LossOf:
    """3.8 and the effect of the depth, and noise: of the seed, and (but for depth 2) of the run."""

    def loss_of(claim: Claim) -> float:
        depth, number = claim.run.settings["depth"], claim.run.run_num - 1
        own = RUN_NOISE[(number + depth) % len(RUN_NOISE)] if depth > 2 else 0.0
        return 3.8 + effects.get(depth, 0.0) + SEED_NOISE[number] + own

    return loss_of


def three_depths(store: Store, *, seeds: int = 5, effects: Mapping[int, float] | None = None) -> None:
    submit_sweep(store, DEPTHS, seeds=range(100, 100 + seeds))
    train_all(store, loss_with(effects or {3: -0.2}))


def by_label(comparison: Comparison) -> dict[str, Any]:
    return {contrast.label: contrast for contrast in comparison.contrasts}


def text_of(comparison: Comparison) -> str:
    return "\n".join([*comparison.warnings, *sentences(comparison)])


def test_groups_of_the_settings_that_differ(store: Store) -> None:
    three_depths(store)
    found = compare(store, EVERYTHING, Question())
    assert found.by == ("depth",) and [group.label for group in found.groups] == ["depth 2", "depth 3", "depth 4"]
    shallow = found.groups[0].summary
    assert shallow.count == 5 and shallow.mean == pytest.approx(3.8 - 0.04)
    assert shallow.deviation == pytest.approx(0.2701851, rel=1e-5)
    assert found.contrasts == () and found.extension is None and found.warnings == []


def test_a_setting_that_is_named_twice_is_one_column(store: Store) -> None:
    three_depths(store, seeds=2)
    assert compare(store, EVERYTHING, Question(by=("depth", "depth"))).by == ("depth",)


def test_a_better_arm_is_told_from_one_without_effect(store: Store) -> None:
    three_depths(store)
    found = compare(store, EVERYTHING, against("depth=2"))
    better, same = by_label(found)["depth 3"], by_label(found)["depth 4"]
    assert better.finding.verdict is Verdict.BETTER and better.baseline == "depth 2"
    assert better.finding.difference.summary.mean == pytest.approx(-0.2, abs=0.01)
    assert same.finding.verdict is Verdict.UNDECIDED
    assert same.finding.p_value is not None and same.finding.p_value > 0.05
    # The seeds' common noise is twenty times that of runs: only pairs see the difference.
    assert found.groups[0].summary.interval is not None and found.groups[0].summary.interval.low < 3.5
    text = text_of(found)
    assert "depth 3 against depth 2: better, by 0.19860 over 5 pairs." in text
    assert "depth 4 against depth 2: undecided after 5 pairs" in text


def test_the_other_way_round_it_is_worse(store: Store) -> None:
    three_depths(store, seeds=6)
    found = compare(store, EVERYTHING, against("depth=3"))
    assert {label: one.finding.verdict for label, one in by_label(found).items()} == {
        "depth 2": Verdict.WORSE,
        "depth 4": Verdict.WORSE,
    }
    assert found.extension is None


def test_one_step_is_a_step() -> None:
    for axis, noun in {Axis.STEPS: "step", Axis.EPOCHS: "epoch", Axis.FLOPS: "flop"}.items():
        one, two = (
            Measure(metric=parse_metric("val_loss"), moment=PointChoice.AT, axis=axis, place=place)
            for place in (1.0, 2.0)
        )
        assert one.text == f"val_loss at 1 {noun}" and two.text == f"val_loss at 2 {noun}s"


def test_which_way_is_better_depends_on_the_metric(store: Store) -> None:
    three_depths(store, effects={3: -0.2, 4: 0.2})
    goals = {goal: compare(store, EVERYTHING, against("depth=2", goal=goal)) for goal in Goal}
    verdicts = {goal: by_label(found)["depth 3"].finding.verdict for goal, found in goals.items()}
    assert verdicts == {Goal.LOWER: Verdict.BETTER, Goal.HIGHER: Verdict.WORSE}


def test_the_loop_of_compare_extend_compare_is_recorded(store: Store) -> None:
    three_depths(store, seeds=2, effects={3: -0.3})
    first = compare(store, EVERYTHING, against("depth=2"))
    recorded(first, lambda: nullcontext(store), pytest.fail)
    assert by_label(first)["depth 3"].finding.verdict is Verdict.UNDECIDED
    assert first.extension is not None and first.extension.sweep == 1 and first.extension.num_runs > 2
    assert f"next: hlbq extend 1 --num_runs {first.extension.num_runs}" in text_of(first)
    assert not first.earlier_looks and "look 1 at this question" in text_of(first)

    again = compare(store, EVERYTHING, against("depth=2"))
    assert again.is_recorded and not again.earlier_looks
    recorded(again, lambda: nullcontext(store), pytest.fail)
    assert len(store.looks(1)) == 1

    extend(store, 6)
    waiting = compare(store, EVERYTHING, against("depth=2"))
    assert waiting.waiting == 12 and {lost.why for lost in by_label(waiting)["depth 3"].pairs.lost} == {
        "depth 3: pending"
    }
    train_all(store, loss_with({3: -0.3}))
    second = compare(store, EVERYTHING, against("depth=2"))
    recorded(second, lambda: nullcontext(store), pytest.fail)
    assert [look.seen.split(";")[0].split(" (")[0] for look in second.earlier_looks] == ["depth 3 undecided"]
    assert by_label(second)["depth 3"].finding.verdict is Verdict.BETTER
    assert "look 2 at this question" in text_of(second) and len(store.looks(1)) == 2
    # Another question has looks of its own.
    assert not compare(store, EVERYTHING, against("depth=2", moment=PointChoice.BEST)).earlier_looks


def extend(store: Store, num_runs: int) -> None:
    runs = {run.arm_key: run for run in store.runs(EVERYTHING)}
    arms = [
        NewArm(key=key, settings=run.settings, num_params=1, num_non_embedding_params=1) for key, run in runs.items()
    ]
    seeds = [NewRun(arm=arm, run_num=at + 1, seed=100 + at) for at in range(num_runs) for arm in range(len(arms))]
    store.extend(1, arms=arms, runs=seeds)


def test_runs_on_their_way_are_not_asked_for_twice(store: Store) -> None:
    submit_sweep(store, DEPTHS[:2], seeds=range(100, 130))
    worker = register(store)
    for _ in range(6):
        claim = store.claim(worker)
        assert claim is not None
        noise = RUN_NOISE[claim.run.id] if claim.run.settings["depth"] == 3 else 0.0
        store.flush(claim.lease, points=curve(4.0 + noise), facts=sample_facts())
        store.finish(claim.lease, Ending(reason=Reason.FINISHED))
    found = compare(store, EVERYTHING, against("depth=2"))
    (only,) = found.contrasts
    assert only.finding.verdict is Verdict.UNDECIDED and only.pairs.waiting == 27
    advice = only.finding.advice
    assert advice is not None and advice.is_early and advice.likely == 2 and found.extension is None


def test_an_arm_with_fewer_seeds_is_advised_from_its_own_last_one(store: Store) -> None:
    three_depths(store, seeds=8, effects={3: -0.3, 4: -0.02})
    late = [run.id for run in store.runs(EVERYTHING) if run.settings["depth"] == 4 and run.seed >= 104]
    store.delete(late, "ada")
    found = compare(store, EVERYTHING, against("depth=2"))
    decided, behind = found.contrasts
    advice = behind.finding.advice
    assert decided.finding.verdict is Verdict.BETTER and advice is not None and advice.likely is not None
    assert found.extension is not None and found.extension.num_runs == 4 + advice.likely


def test_one_seed_has_no_interval_and_it_is_said(store: Store) -> None:
    three_depths(store, seeds=1)
    found = compare(store, EVERYTHING, against("depth=2"))
    assert all(group.summary.interval is None and group.summary.count == 1 for group in found.groups)
    assert all(one.finding.p_value is None for one in found.contrasts)
    assert found.extension is not None and found.extension.num_runs == 5
    assert "one seed only, so no deviation and no interval: depth 2; depth 3; depth 4" in found.warnings
    assert "undecided after 1 pair, with no interval; too early to say how many seeds it needs. Begin with 4 more." in (
        text_of(found)
    )
    assert found.extension == Extension(sweep=1, num_runs=5, only_undecided=False, runs=12)


def test_an_arm_without_a_number_is_not_said_to_have_one_seed(store: Store) -> None:
    submit_sweep(store, DEPTHS[:2], seeds=[100])
    store.cancel(RunFilter(run_ids=(2,)), "ada")
    train_all(store, lambda claim: 4.0)
    found = compare(store, EVERYTHING, Question())
    assert [group.summary.count for group in found.groups] == [1, 0]
    assert "one seed only, so no deviation and no interval: depth 2" in found.warnings


def test_a_missing_pair_is_named_with_its_reason(store: Store) -> None:
    submit_sweep(store, DEPTHS[:2], seeds=[100, 101, 102])
    worker = register(store)
    for place in range(5):
        claim = store.claim(worker)
        assert claim is not None
        if place == 3:
            store.finish(claim.lease, Ending(reason=Reason.ERROR, permanent=True, error_type="ValueError"))
        else:
            store.flush(claim.lease, points=curve(4.0 + place), facts=sample_facts())
            store.finish(claim.lease, Ending(reason=Reason.FINISHED))
    (contrast,) = compare(store, EVERYTHING, against("depth=2")).contrasts
    assert list(contrast.pairs.differences) == [100]
    assert [(lost.seed, lost.why) for lost in contrast.pairs.lost] == [
        (101, "depth 3: failed: error"),
        (102, "depth 3: pending"),
    ]
    assert "depth 3: no pair of seed 101 (depth 3: failed: error)" in text_of(
        compare(store, EVERYTHING, against("depth=2"))
    )


def test_diverged_runs_are_counted_and_forbid_the_verdict_that_they_would_help(store: Store) -> None:
    def loss_of(claim: Claim) -> float:
        diverges = claim.run.settings["depth"] == 3 and claim.run.seed == 102
        return math.nan if diverges else loss_with({3: -0.2})(claim)

    submit_sweep(store, DEPTHS[:2], seeds=range(100, 108))
    train_all(store, loss_of)
    found = compare(store, EVERYTHING, against("depth=2"))
    (contrast,) = found.contrasts
    assert [group.diverged for group in found.groups] == [0, 1]
    assert contrast.pairs.diverged == 1 and contrast.pairs.baseline_diverged == 0
    assert [(lost.seed, lost.why) for lost in contrast.pairs.lost] == [(102, "depth 3: diverged")]
    assert contrast.finding.always_valid_p_value is not None and contrast.finding.always_valid_p_value < 0.05
    assert contrast.finding.verdict is Verdict.UNDECIDED and contrast.finding.held_back is Verdict.BETTER
    assert "It looks better in the 7 pairs that did not diverge, but runs diverged" in text_of(found)
    assert "1 of the runs diverged: means are over the other seeds" in found.warnings
    # It helps the other verdict along in no way that could mislead: worse stays worse.
    worse = compare(store, EVERYTHING, against("depth=2", goal=Goal.HIGHER)).contrasts[0].finding
    assert worse.verdict is Verdict.WORSE


def test_a_seed_that_the_other_side_lacks_makes_no_side_look_steadier(store: Store) -> None:
    """The baseline diverged once too, but at a seed at which the arm has no number: that excuses nothing."""

    def loss_of(claim: Claim) -> float:
        diverges = (claim.run.settings["depth"], claim.run.seed) in ((3, 102), (2, 107))
        return math.nan if diverges else loss_with({3: -0.2})(claim)

    submit_sweep(store, DEPTHS[:2], seeds=range(100, 108))
    (last,) = (run.id for run in store.runs(EVERYTHING) if run.settings["depth"] == 3 and run.seed == 107)
    store.cancel(RunFilter(run_ids=(last,)), actor="test")
    train_all(store, loss_of)
    found = compare(store, EVERYTHING, against("depth=2"))
    (contrast,) = found.contrasts
    assert [group.diverged for group in found.groups] == [1, 1]
    assert contrast.finding.verdict is Verdict.UNDECIDED and contrast.finding.held_back is Verdict.BETTER
    assert "runs diverged at 1 seed of it and 0 of the baseline" in text_of(found)


@pytest.mark.parametrize(("diverging", "seeds"), [((3,), "2 seeds of it and 0"), ((2, 3), "2 seeds of it and 2")])
def test_no_seeds_are_advised_where_every_seed_diverges(store: Store, diverging: Sequence[int], seeds: str) -> None:
    submit_sweep(store, DEPTHS[:2], seeds=[100, 101])
    train_all(store, lambda claim: math.nan if claim.run.settings["depth"] in diverging else 3.8)
    found = compare(store, EVERYTHING, against("depth=2"))
    assert found.extension is None and found.contrasts[0].finding.verdict is Verdict.UNDECIDED
    assert (
        f"depth 3 against depth 2: undecided, with 0 pairs and so no interval: runs diverged at {seeds} of "
        "the baseline, and more seeds do not help."
    ) in text_of(found)


def test_no_seeds_are_advised_where_every_run_ended_before_the_place(store: Store) -> None:
    submit_sweep(store, DEPTHS[:2], seeds=range(100, 103))
    worker = register(store)
    for number in range(6):
        work(store, worker, curve(3.0 + number / 10, steps=(10, 20) if number % 2 else (10, 20, 40)))
    found = compare(store, EVERYTHING, against("depth=2", moment=PointChoice.AT, axis=Axis.STEPS, place=30))
    (contrast,) = found.contrasts
    assert contrast.finding.advice is None and found.extension is None and not found.undecided_arms
    assert "runs that are complete have no number there" in "\n".join(sentences(found))


def test_a_run_that_diverged_later_has_a_number_before(store: Store) -> None:
    submit_sweep(store, DEPTHS[:1], seeds=[100, 101])
    train_all(store, lambda claim: math.inf if claim.run.seed == 101 else 3.9)
    at_first = compare(store, EVERYTHING, Question(moment=PointChoice.AT, axis=Axis.STEPS, place=10))
    assert at_first.groups[0].summary.count == 2 and at_first.groups[0].diverged == 0
    between = compare(store, EVERYTHING, Question(moment=PointChoice.AT, axis=Axis.STEPS, place=15))
    assert between.groups[0].summary.count == 1 and between.groups[0].diverged == 1


@pytest.mark.parametrize(
    ("axis", "place"),
    [
        (Axis.STEPS, 15),
        (Axis.TOKENS, 15_000),
        (Axis.EPOCHS, 0.015),
        (Axis.SECONDS, 3.75),
        # Within the steps of the first length: 32 tokens, up to step 81.
        (Axis.FLOPS, 15_000 * flops_per_token(Settings.from_dict({**BASE, **DEPTHS[0]}), 32)),
    ],
)
def test_numbers_between_points_are_interpolated(store: Store, axis: Axis, place: float) -> None:
    submit_sweep(store, DEPTHS[:1], seeds=[100])
    train_all(store, lambda claim: 4.0)
    found = compare(store, EVERYTHING, Question(moment=PointChoice.AT, axis=axis, place=place))
    values = [point.loss for point in curve(4.0)]
    assert found.groups[0].summary.mean == pytest.approx((values[0] + values[1]) / 2)
    with pytest.raises(HlbqError, match="no run has a number"):
        compare(store, EVERYTHING, Question(moment=PointChoice.AT, axis=axis, place=place * 10))


def test_the_best_point_and_the_last(store: Store) -> None:
    submit_sweep(store, DEPTHS[:1], seeds=[100])
    points = [sample_point(Split.VAL, step, loss=loss) for step, loss in ((1, 5.0), (2, 3.0), (3, 4.0))]
    work(store, register(store), points)
    assert compare(store, EVERYTHING, Question()).groups[0].summary.mean == 4.0
    assert compare(store, EVERYTHING, Question(moment=PointChoice.BEST)).groups[0].summary.mean == 3.0


def test_a_metric_of_one_s_own(store: Store) -> None:
    submit_sweep(store, DEPTHS[:2], seeds=[100, 101])
    worker = register(store)
    for value in (1.0, 2.0, 3.0, 5.0):
        work(store, worker, [sample_point(Split.VAL, 10, loss=4.0, extra={"sharpness": value})])
    found = compare(store, EVERYTHING, against("depth=2", metric="val_sharpness"))
    assert [group.summary.mean for group in found.groups] == [2.0, 3.5]
    assert found.contrasts[0].finding.difference.summary.mean == 1.5
    with pytest.raises(HlbqError, match="is higher or lower better"):
        compare(store, EVERYTHING, Question(metric="val_sharpness", moment=PointChoice.BEST))
    best = compare(store, EVERYTHING, Question(metric="val_sharpness", moment=PointChoice.BEST, goal=Goal.HIGHER))
    assert [group.summary.mean for group in best.groups] == [2.0, 3.5]


def test_time_tokens_and_steps_to_a_target(store: Store) -> None:
    submit_sweep(store, DEPTHS[:2], seeds=[100, 101, 102])
    train_all(store, lambda claim: 4.0 if claim.run.settings["depth"] == 2 else 4.9)
    shallow, deep = (group.target for group in compare(store, EVERYTHING, Question(target=4.3)).groups)
    assert shallow is not None and deep is not None
    # The loss falls from 4.6 at step 10 to 4.2 at step 20.
    assert (shallow.reached, shallow.never) == (3, 0)
    assert shallow.median_steps == pytest.approx(17.5)
    assert shallow.median_tokens == pytest.approx(17_500) and shallow.median_seconds == pytest.approx(17.5 / 4)
    assert (deep.reached, deep.never, deep.median_steps) == (0, 3, None)


def test_a_partial_baseline_holds_each_group_against_its_own(store: Store) -> None:
    arms = [{"depth": depth, "num_heads": heads} for depth in (2, 3) for heads in (1, 2)]
    submit_sweep(store, arms, seeds=range(100, 106))
    train_all(store, loss_with({3: -0.2}))
    found = compare(store, EVERYTHING, against("depth=2", arms=True))
    assert [(one.label, one.baseline) for one in found.contrasts] == [
        ("depth 3, num_heads 1", "depth 2, num_heads 1"),
        ("depth 3, num_heads 2", "depth 2, num_heads 2"),
    ]
    coarse = compare(store, EVERYTHING, against("depth=2", by=("depth",)))
    assert coarse.averaged_over == ["num_heads"] and [group.summary.count for group in coarse.groups] == [6, 6]
    assert len(coarse.contrasts) == 1 and coarse.contrasts[0].finding.verdict is Verdict.BETTER
    assert "a seed's number is the mean over its arms (num_heads)" in coarse.warnings[0]


def refusal(store: Store, question: Question, runs: RunFilter = EVERYTHING) -> str:
    with pytest.raises(HlbqError) as caught:
        compare(store, runs, question)
    return f"{caught.value.message} | {caught.value.hint}"


def test_losses_of_different_tokenizers_are_refused_and_bits_per_byte_are_not(store: Store) -> None:
    submit_sweep(store, [{"tokenizer": "bytes"}, {"tokenizer": "gpt2"}], seeds=[100, 101])
    train_all(
        store, lambda claim: 4.0, facts=lambda claim: sample_facts(data_fingerprint=claim.run.settings["tokenizer"])
    )
    assert "can't be compared across tokenizers: bytes, gpt2 | Use --metric val_bits_per_byte" in refusal(
        store, Question()
    )
    assert "val_bits_per_byte" in refusal(store, Question(allow_mixed_data=True))
    found = compare(store, EVERYTHING, against("tokenizer=bytes", metric="val_bits_per_byte"))
    assert [group.summary.count for group in found.groups] == [2, 2]
    by_tokens = Question(metric="val_bits_per_byte", moment=PointChoice.AT, axis=Axis.TOKENS, place=15_000)
    assert "at the same number of tokens, not of bytes" in compare(store, EVERYTHING, by_tokens).warnings[0]


def test_two_data_sets_are_refused(store: Store) -> None:
    submit_sweep(store, [{"dataset": "pystdlib"}, {"dataset": "wikitext103"}], seeds=[100])
    train_all(store, lambda claim: 4.0)
    assert "different data: pystdlib, wikitext103 | Choose one: --where dataset=pystdlib" in refusal(store, Question())


def test_the_same_run_of_two_sweeps_counts_once_and_sweeps_can_be_told_apart(store: Store) -> None:
    three_depths(store, seeds=2)
    submit_sweep(store, DEPTHS[:1], seeds=[100, 101, 102])
    train_all(store, lambda claim: 5.0)
    found = compare(store, EVERYTHING, Question())
    assert [group.summary.count for group in found.groups] == [3, 2, 2] and found.groups[0].summary.mean == 5.0
    assert "2 runs left out: of one arm and seed, only the newest run counts" in found.warnings
    apart = compare(store, RunFilter(where={"depth": 2}), against("sweep=1", by=("sweep",)))
    assert [(one.label, list(one.pairs.differences)) for one in apart.contrasts] == [("sweep 2", [100, 101])]
    assert apart.extension is None


def test_runs_that_others_stand_for_are_no_second_code(store: Store) -> None:
    for digest in ("aaaa", "bbbb"):
        submit_sweep(store, DEPTHS[:2], seeds=range(100, 104))
        train_all(store, loss_with({}), facts=lambda _, code=digest: by_code(code))
    found = compare(store, EVERYTHING, against("depth=2"))
    assert found.warnings == ["8 runs left out: of one arm and seed, only the newest run counts"]
    both = compare(store, RunFilter(where={"depth": 2}), Question(by=("sweep",)))
    assert any("runs of 2 codes are shown together" in text for text in both.warnings)


def by_code(digest: str) -> Facts:
    return replace(sample_facts(), provenance={"core_digest": digest})


def test_groups_without_an_arm_in_common_are_no_pair_and_get_no_advice(store: Store) -> None:
    for depths in ((2, 3), (4, 5), (3, 4)):
        submit_sweep(store, [{"depth": depth} for depth in depths], seeds=range(100, 104))
    train_all(store, loss_with({}))
    found = compare(store, RunFilter(), against("sweep=1", by=("sweep",)))
    assert [contrast.label for contrast in found.contrasts] == ["sweep 3"]
    assert "no baseline with the same other settings: sweep 2" in text_of(found)
    with pytest.raises(HlbqError, match="nothing to compare with the baseline"):
        compare(store, RunFilter(sweep_ids=(1, 2)), against("sweep=1", by=("sweep",)))


def test_a_single_arm_is_a_group_of_all_runs(store: Store) -> None:
    submit_sweep(store, DEPTHS[:1], seeds=[100, 101])
    train_all(store, lambda claim: 4.0)
    found = compare(store, EVERYTHING, Question())
    assert [(group.label, group.summary.count) for group in found.groups] == [("all runs", 2)]
    assert "the groups differ in nothing: there is one arm" in refusal(store, against("depth=2"))


def test_different_data_are_refused_unless_allowed(store: Store) -> None:
    submit_sweep(store, DEPTHS[:2], seeds=[100, 101])
    train_all(
        store,
        lambda claim: 4.0,
        facts=lambda claim: sample_facts(data_fingerprint=f"data{claim.run.settings['depth']}"),
    )
    said = refusal(store, Question())
    assert "2 versions of their data, with the fingerprints data2, data3" in said and "--allow_mixed_data" in said
    assert len(compare(store, EVERYTHING, Question(allow_mixed_data=True)).groups) == 2


def test_seconds_of_different_devices_and_slot_counts_are_warned_of(store: Store) -> None:
    submit_sweep(store, DEPTHS[:1], seeds=[100, 101])
    alone = register(store)
    claim = store.claim(alone)
    assert claim is not None
    store.flush(claim.lease, points=curve(4.0), facts=sample_facts(device_name="a fast one"))
    register(store, pid=4243)
    second = store.claim(alone) if store.finish(claim.lease, Ending(reason=Reason.FINISHED)) else None
    assert second is not None
    store.flush(second.lease, points=curve(4.0), facts=sample_facts(device_name="a slow one"))
    store.finish(second.lease, Ending(reason=Reason.FINISHED))
    timed = compare(store, EVERYTHING, Question(metric="val_cumulative_time")).warnings
    assert "seconds of different devices are compared: a fast one, a slow one" in timed
    assert any("different numbers of others: 1, 2 slots" in warning for warning in timed)
    assert compare(store, EVERYTHING, Question(target=4.1)).warnings == timed
    assert compare(store, EVERYTHING, Question()).warnings == []


@pytest.mark.parametrize(
    ("question", "said"),
    [
        (Question(metric="val_los"), "there is no metric 'val_los' | Did you mean 'val_loss'?"),
        (Question(metric="val_grad_norm"), "has no val_grad_norm"),
        (Question(by=("dept",)), "Did you mean 'depth'?"),
        (against("depth=9"), "--baseline depth=9: no run has that | There are depth: 2, 3"),
        (against("width=128"), "the groups differ in depth | Add --by width"),
    ],
)
def test_what_is_not_there_is_said_with_what_is(store: Store, question: Question, said: str) -> None:
    submit_sweep(store, DEPTHS[:2], seeds=[100])
    train_all(store, lambda claim: 4.0)
    assert said in refusal(store, question)


@pytest.mark.parametrize("ended", [True, False])
def test_the_way_to_the_points_names_the_sweep_that_was_asked_for(store: Store, ended: bool) -> None:
    submit_sweep(store, DEPTHS[:1], seeds=[100])
    if ended:
        store.cancel(RunFilter(), "ada")
    submit_sweep(store, DEPTHS[:1], seeds=[100])
    said = "hlbq export points.csv --layout points --sweep 1" if ended else "hlbq status --sweep 1 shows"
    assert said in refusal(store, Question(), RunFilter(sweep_ids=(1,)))


def test_no_runs_match(store: Store) -> None:
    submit_sweep(store)
    with pytest.raises(HlbqError, match="no run matches"):
        compare(store, RunFilter(where={"depth": 17}), Question())


@pytest.mark.parametrize("text", ["depth", "depth=", "foo=1", "depth=deep"])
def test_a_baseline_that_can_t_be_read(text: str) -> None:
    with pytest.raises(HlbqError):
        read_baseline([text])


@pytest.fixture
def database(tmp_path: Path) -> str:
    """A database with three depths and six seeds each, of which depth 3 is better."""
    path = str(tmp_path / "hlbq.db")
    with open_store(path, mode=OpenMode.CREATE) as store:
        three_depths(store, seeds=6)
    return path


def test_the_command_prints_tables_json_and_markdown(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["compare", "--db", database, "--baseline", "depth=2"]) == 0
    shown = capsys.readouterr()
    assert "depth 3 against depth 2: better" in shown.out and shown.err == ""
    assert run_program(["compare", "--db", database, "--baseline", "depth=2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["contrasts"][0]["finding"]["verdict"] == "better" and found["is_recorded"]
    assert run_program(["compare", "--db", database, "--best", "--markdown", "--target", "3.7"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("**best val_loss over seeds") and lines[3] == "| --- | --- | --- | --- | --- |"
    assert any(line.startswith("| depth | reached | never") for line in lines)


def test_the_command_to_type_next_is_whole(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    with open_store(database, mode=OpenMode.CREATE) as store:
        three_depths(store, seeds=2)
    assert run_program(["compare", "--db", database, "--baseline", "depth=2"]) == 0
    last = capsys.readouterr().out.splitlines()[-1]
    assert last.startswith("next: hlbq extend 2 --num_runs ") and last.endswith(f" --db {database}")
    assert int(last.split()[5]) > 2
    command = last.removeprefix("next: hlbq ").split()
    assert run_program(command) == 0
    with open_store(database, mode=OpenMode.READ) as store:
        assert max(run.run_num for run in store.runs(RunFilter(sweep_ids=(2,)))) == int(last.split()[5])


def test_seeds_that_filters_hide_come_before_more_seeds(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--baseline", "depth=2", "--where", "seed=100", "seed=101", "depth=2", "depth=3"]
    assert run_program(["compare", "--db", database, *few]) == 0
    shown = capsys.readouterr().out
    assert "undecided after 2 pairs" in shown and "hlbq extend" not in shown


def test_the_command_to_type_next_holds_no_password() -> None:
    assert parse_location("postgresql://ada:secret@host/db").option == " --db postgresql://ada@host/db"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--at_tokens", "5", "--best"], "several of --best and the --at_... options were given"),
        (["--markdown", "--json"], "two ways of printing"),
        (["--robust", "--margin", "0.01"], "--margin has no effect with --robust"),
        (["--goal", "up"], "--goal up: no such choice"),
        (["--sweep", "9"], "there is no sweep 9"),
        (["--where", "depth=17"], "no run matches"),
        (["--baseline", "depth=2", "depth=3"], "--baseline names depth twice: 2 and 3"),
        (["--metric", "val_los"], "Did you mean 'val_loss'?"),
    ],
)
def test_the_command_refuses_with_exit_code_2(
    database: str, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program(["compare", "--db", database, *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_database_that_can_only_be_read_is_compared_all_the_same(
    database: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(database).chmod(0o400)
    assert run_program(["compare", "--db", database, "--baseline", "depth=2"]) == 0
    shown = capsys.readouterr()
    assert "depth 3 against depth 2: better" in shown.out and "this look was not recorded" in shown.err


def test_markdown_keeps_its_columns_whatever_a_setting_is_called(store: Store) -> None:
    three_depths(store, seeds=2)
    found = compare(store, EVERYTHING, Question())
    odd = replace(found, groups=[replace(group, values={"depth": "a|b"}) for group in found.groups])
    assert "| a\\|b |" in markdown(odd)


def test_different_evaluations_are_refused_unless_allowed(store: Store) -> None:
    submit_sweep(store, [{"num_eval_tokens": 2048}, {"num_eval_tokens": 8192}], seeds=[100, 101])
    train_all(store, lambda claim: 4.0)
    said = refusal(store, against("num_eval_tokens=2048"))
    assert "'val_loss' of different evaluations can't be compared" in said and "num_eval_tokens 2048, 8192" in said
    assert "--where num_eval_tokens=2048" in said and "--allow_mixed_evaluation" in said
    assert "different evaluations" in refusal(store, Question(allow_mixed_data=True))
    assert "different evaluations" in refusal(store, Question(metric="val_bits_per_byte"))
    insisted = compare(store, EVERYTHING, against("num_eval_tokens=2048", allow_mixed_evaluation=True))
    assert "'val_loss' is of different evaluations" in insisted.warnings[-1]
    counted = Question(metric="val_tokens_seen", by=("evaluation_fingerprint",))  # no evaluation measures it
    assert len(compare(store, EVERYTHING, counted).groups) == 2


def test_sequence_length_is_an_axis_where_evaluations_have_one_of_their_own(store: Store) -> None:
    submit_sweep(store, [{"max_sequence_length": 512}, {"max_sequence_length": 1024}], seeds=[100, 101])
    train_all(store, lambda claim: 4.0)
    said = refusal(store, Question())
    assert "max_sequence_length 512, 1024" in said and "one --eval_sequence_length can be compared" in said
    arms = [{"max_sequence_length": length, "eval_sequence_length": 512} for length in (512, 1024)]
    second = submit_sweep(store, arms, seeds=[100, 101])
    train_all(store, lambda claim: 4.0)
    found = compare(store, RunFilter(sweep_ids=(second.id,)), against("max_sequence_length=512"))
    assert len(found.contrasts) == 1


def test_a_run_of_before_fingerprints_compares_with_one_that_has_one(store: Store) -> None:
    submit_sweep(store, DEPTHS[:2], seeds=[100, 101])

    def facts(claim: Claim) -> Facts:
        settings = claim.run.settings
        known = fingerprint_of(Split.VAL, settings, text="f00d") if settings["depth"] == 2 else ""
        return sample_facts(evaluation_fingerprint=known)

    train_all(store, lambda claim: 4.0, facts=facts)
    assert len(compare(store, EVERYTHING, against("depth=2")).contrasts) == 1


def test_choosing_on_validation_and_reporting_on_the_test(store: Store) -> None:
    submit_sweep(store, [{"depth": 2, "test_tokens": 2048}, {"depth": 3, "test_tokens": 2048}], seeds=[100, 101, 102])
    worker = register(store)
    while (claim := store.claim(worker)) is not None:
        loss = 4.0 + claim.run.settings["depth"] / 10 + claim.run.seed / 10_000
        test = sample_point(Split.TEST, 30, loss=loss)
        facts = sample_facts(test_fingerprint="t", test_evaluation_fingerprint="the same")
        store.flush(claim.lease, points=[*sample_points(4), test], facts=facts)
        store.finish(claim.lease, Ending(reason=Reason.FINISHED))
    found = compare(store, EVERYTHING, against("depth=2", metric="test_loss"))
    assert found.measure == "last test_loss" and len(found.contrasts) == 1
    assert found.contrasts[0].finding.difference.summary.mean == pytest.approx(0.1)
