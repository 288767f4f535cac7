"""The step of `decide`: never past a cap, never a closed arm, and the same verdict in any order of endings."""

import math
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.decide import policy_of, results_of
from orchestrator.comparison.judging.bounds import VILLE, Bound
from orchestrator.comparison.judging.contrasts import Contrast, findings
from orchestrator.comparison.judging.declared import declared
from orchestrator.comparison.judging.policy import REJECTED, Closure, ClosureReason, DecidePolicy, PolicyState
from orchestrator.comparison.judging.running_evidence import running_evidence
from orchestrator.comparison.measuring.measures import Goal
from orchestrator.comparison.measuring.pairs import Pairs
from orchestrator.comparison.statistics import ALPHA, paired_difference
from orchestrator.growth import decide, race
from orchestrator.growth.steps import Results, Stop

CAP = 12


def swept(
    policy: DecidePolicy, values: Any, order: list[int], diverged: Any = None, failed: Any = None, workers: int = 1
) -> PolicyState:
    """Train until the end: of the runs that wait, the next in `order` ends, and the due step is taken after each."""
    step = race.next_step if policy.best_arm else decide.next_step
    shape = len(policy.everyone), policy.max_seeds
    diverged = numpy.zeros(shape, bool) if diverged is None else diverged
    lost = diverged if failed is None else diverged | failed
    ended = numpy.zeros(shape, bool)
    wanted = dict.fromkeys(policy.everyone, policy.first_look)
    state = PolicyState()
    for turn in range(shape[0] * shape[1] + 1):
        taken = step(policy, _seen(values, ended, lost, diverged), state, workers=workers)
        assert taken.state.closures[: len(state.closures)] == tuple(state.closures)
        state = taken.state
        closed = [closure.arm for closure in state.closures]
        assert len(set(closed)) == len(closed)
        assert not (set(taken.seeds) - set(policy.baselines)) & set(closed)
        assert all(seeds <= policy.max_seeds for seeds in taken.seeds.values())
        if taken.ends:
            return state
        for arm, seeds in taken.seeds.items():
            wanted[arm] = max(wanted[arm], seeds)
        waiting = [
            (row, seed)
            for row, arm in enumerate(policy.everyone)
            for seed in range(wanted[arm])
            if not ended[row, seed]
        ]
        assert waiting, "the policy is open, and nothing is under way"
        ended[waiting[order[turn % len(order)] % len(waiting)]] = True
    raise AssertionError("the sweep never ends")


def _seen(values: Any, ended: Any, lost: Any, diverged: Any) -> Results:
    shown = numpy.where(ended & ~lost, values, numpy.nan)
    return Results(values=shown, ended=ended.copy(), diverged=diverged & ended, stops=[None] * len(values))


def drawn(seed: int, arms: int, effects: list[float]) -> tuple[Any, Any, Any]:
    """Runs' numbers, and which of them diverge or fail."""
    generator = numpy.random.default_rng(seed)
    values = generator.standard_normal((arms + 1, CAP)) / 1.4 + numpy.array([0.0, *effects])[:, None]
    return values, generator.random(values.shape) < 0.05, generator.random(values.shape) < 0.05


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    effects=st.lists(st.sampled_from([0.0, 1.0, 3.0]), min_size=1, max_size=4),
    orders=st.lists(st.lists(st.integers(0, 50), min_size=1, max_size=30), min_size=2, max_size=6),
    margin=st.sampled_from([None, 0.5]),
    best_arm=st.booleans(),
)
def test_the_verdict_does_not_depend_on_who_ended_first(
    seed: int, effects: list[float], orders: list[list[int]], margin: float | None, best_arm: bool
) -> None:
    """Nor on how many workers train ahead; also where runs diverge and fail."""
    values, diverged, failed = drawn(seed, len(effects), effects)
    if best_arm:
        policy = policy_of(len(effects) + 1, baselines=(), max_seeds=CAP, best_arm=True, futility=None)
    else:
        policy = policy_of(len(effects), max_seeds=CAP, margin=margin)
    ends = [swept(policy, values, order, diverged, failed, workers) for workers, order in enumerate(orders, start=1)]
    assert all(end == ends[0] for end in ends)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), gaps=st.floats(0.0, 0.5))
def test_running_evidence_is_that_of_compare(seed: int, gaps: float) -> None:
    """After every seed: the pairs, their mean, and the always-valid p-value and interval."""
    generator = numpy.random.default_rng(seed)
    differences = generator.standard_normal((3, 8))
    differences[generator.random(differences.shape) < gaps] = numpy.nan
    found = running_evidence(differences)
    half = found.half_width(20.0)
    for row, seeds in ((row, seeds) for row in range(3) for seeds in range(1, 9)):
        own = differences[row, :seeds]
        known = paired_difference([float(value) for value in own[~numpy.isnan(own)]])
        place = row, seeds - 1
        assert found.pairs[place] == known.summary.count
        if known.always_valid_p_value is not None:
            assert found.mean[place] == pytest.approx(known.summary.mean, abs=1e-12)
            p_value = min(1.0, float(numpy.exp(-found.log_evidence[place])))
            assert p_value == pytest.approx(known.always_valid_p_value, rel=1e-9)
        if known.always_valid_interval is not None and known.summary.mean is not None:
            width = known.always_valid_interval.high - known.summary.mean
            assert half[place] == pytest.approx(width, rel=1e-9)


def test_a_verdict_that_is_in_is_not_undone_by_what_comes_later() -> None:
    """A seed that failed and was retried after it was skipped changes nothing."""
    policy = policy_of(1, max_seeds=6)
    values = numpy.array([[0.0] * 6, [-1.0, -1.01, -0.99, -1.02, -1.0, -1.0]])
    first = decide.next_step(policy, results_of(policy, values, {"b": 5, "a0": 5}), PolicyState())
    assert [closure.reason for closure in first.state.closures] == [ClosureReason.BETTER] and first.ends
    values[1] = 5.0
    again = decide.next_step(policy, results_of(policy, values, {"b": 6, "a0": 6}), first.state)
    assert again.state.closures == first.state.closures and again.seeds == {}


def test_a_skipped_seed_stays_skipped() -> None:
    """Otherwise people could look at the verdict with the seed and without it."""
    policy = policy_of(1, max_seeds=6, futility=None)
    values = numpy.array([[0.0] * 6, [0.1, numpy.nan, -0.2, 0.1, -0.1, 0.2]])
    skipped = decide.next_step(policy, results_of(policy, values, {"b": 4, "a0": 4}), PolicyState()).state
    assert skipped.skipped == {"a0": ((1, 0),)} and skipped.round == 4
    values[1, 1] = -9.0
    kept = decide.next_step(policy, results_of(policy, values, {"b": 5, "a0": 5}), skipped).state
    assert kept.skipped == {"a0": ((1, 0),)} and kept.round == 5 and not kept.closures
    closed = decide.next_step(policy, results_of(policy, values, {"b": 6, "a0": 6}), kept).state
    again = decide.next_step(policy, results_of(policy, values, {"b": 6, "a0": 6}), closed).state
    assert closed.closures and closed.skipped == again.skipped == {"a0": ((1, 0),)}


@pytest.mark.parametrize(
    ("shift", "margin", "reason", "within"),
    [
        (0.0, 0.5, ClosureReason.NO_DIFFERENCE, False),
        (0.2, 0.5, ClosureReason.WORSE, True),
        (5.0, 0.5, ClosureReason.WORSE, False),
        (-5.0, None, ClosureReason.BETTER, False),
    ],
)
def test_reasons(shift: float, margin: float | None, reason: ClosureReason, within: bool) -> None:
    """Equal within the margin, worse by less than it, worse, better."""
    policy = policy_of(1, max_seeds=10, margin=margin, futility=None)
    noise = 0.01 * numpy.array([1, -1, 0.5, -0.5, 1, -1, 0.7, -0.7, 0.2, -0.2])
    values = numpy.array([numpy.zeros(10), noise + shift])
    (closure,) = swept(policy, values, [0]).closures
    assert (closure.reason, closure.within_margin) == (reason, within)


def test_higher_is_better_where_the_goal_says_so() -> None:
    """And without a goal it is only higher."""
    values = numpy.array([[0.0] * 6, [1.0, 1.01, 0.99, 1.02, 1.0, 1.0]])
    for goal, reason in (
        (Goal.HIGHER, ClosureReason.BETTER),
        (Goal.LOWER, ClosureReason.WORSE),
        (None, ClosureReason.HIGHER),
    ):
        policy = policy_of(1, max_seeds=6, goal=goal)
        (closure,) = swept(policy, values, [0]).closures
        assert closure.reason is reason


def test_an_arm_that_diverged_more_often_is_never_called_better() -> None:
    """Over the seeds that are left it may look better only for that."""
    policy = policy_of(1, max_seeds=8)
    values = numpy.array([[0.0] * 8, [-1.0, -1.01, -0.99, -1.02, -1.0, -1.01, -1.0, -1.0]])
    diverged = numpy.zeros(values.shape, bool)
    diverged[1, 1] = True
    (closure,) = swept(policy, values, [0], diverged).closures
    assert closure.reason is ClosureReason.HELD_BACK


@pytest.mark.parametrize("best_arm", [False, True])
def test_a_seed_that_the_other_side_lacks_makes_no_side_look_steadier(best_arm: bool) -> None:
    """The baseline diverged once too, but at a seed at which the arm failed: that excuses nothing."""
    given: dict[str, Any] = {"max_seeds": 8, "futility": None, "best_arm": best_arm}
    policy = policy_of(2, baselines=(), **given) if best_arm else policy_of(1, **given)
    values = numpy.array([[0.0] * 8, [-1.0, -1.01, -0.99, -1.02, -1.0, -1.01, -1.0, -1.0]])
    diverged, failed = numpy.zeros(values.shape, bool), numpy.zeros(values.shape, bool)
    diverged[1, 1] = diverged[0, 2] = failed[1, 2] = True
    reasons = {closure.reason for closure in swept(policy, values, [0], diverged, failed).closures}
    assert reasons == ({ClosureReason.BEST, ClosureReason.CAP} if best_arm else {ClosureReason.HELD_BACK})


def test_arms_without_any_number_are_closed_at_the_first_look() -> None:
    """Each of their seeds costs a run, and none of them brings a pair."""
    policy = policy_of(2)
    values = numpy.random.default_rng(0).standard_normal((3, 20))
    failed = numpy.zeros(values.shape, bool)
    failed[1] = True
    state = swept(policy, values, [0], failed=failed)
    assert state.closures[0] == Closure(arm="a0", seeds=3, reason=ClosureReason.NO_PAIRS, pairs=0)


def test_workers_find_runs() -> None:
    """Eight workers and two open arms: four seeds ahead, up to the cap."""
    policy = policy_of(2, futility=None)
    values = numpy.random.default_rng(0).standard_normal((3, 20))
    present = dict.fromkeys(policy.everyone, 3)
    assert decide.next_step(policy, results_of(policy, values, present), PolicyState(), workers=1).seeds["a0"] == 4
    assert decide.next_step(policy, results_of(policy, values, present), PolicyState(), workers=8).seeds["a0"] == 7


def test_a_paused_arm_is_not_waited_for() -> None:
    """The other arm goes on; nothing is queued for the one that somebody paused."""
    policy = policy_of(2, futility=None)
    values = numpy.random.default_rng(0).standard_normal((3, 20))
    seen = results_of(policy, values, {"b": 5, "a0": 3, "a1": 5})
    step = decide.next_step(policy, Results(**{**vars(seen), "stops": [None, Stop.PAUSED, None]}), PolicyState())
    assert step.state.round == 5 and step.seeds == {"b": 6, "a1": 6}


@pytest.mark.parametrize("best_arm", [False, True])
def test_an_arm_that_was_paused_is_judged_where_the_others_wait_at_the_cap(best_arm: bool) -> None:
    """The others have had all their rounds by then. A race has no best arm before."""
    given: dict[str, Any] = {"max_seeds": 6, "futility": None, "best_arm": best_arm}
    policy = policy_of(3, baselines=(), **given) if best_arm else policy_of(2, **given)
    step = race.next_step if best_arm else decide.next_step
    values = 0.1 * numpy.random.default_rng(0).standard_normal((3, 6))
    first, paused_arm, last = policy.everyone
    seen = results_of(policy, values, {first: 6, paused_arm: 3, last: 6})
    paused = step(policy, Results(**{**vars(seen), "stops": [None, Stop.PAUSED, None]}), PolicyState())
    assert paused.state.round == 6 and not paused.ends
    assert [closure.arm for closure in paused.state.closures] == ([] if best_arm else [last])
    end = step(policy, results_of(policy, values, dict.fromkeys(policy.everyone, 6)), paused.state)
    assert end.ends and sum(closure.reason is ClosureReason.BEST for closure in end.state.closures) == best_arm
    assert {closure.reason for closure in end.state.closures} == {ClosureReason.CAP} | (
        {ClosureReason.BEST} if best_arm else set()
    )


@pytest.mark.parametrize("best_arm", [False, True])
def test_a_seed_that_diverged_counts_as_such_while_it_is_tried_again(best_arm: bool) -> None:
    """Else a retry at the right time would make an arm better than its baseline."""
    values = numpy.array([[0.0, 0.01] * 4, [-1.0, -1.01, -0.99, -1.02, -1.0, -1.01, -1.0, -1.0]])
    given: dict[str, Any] = {"max_seeds": 8, "futility": None, "best_arm": best_arm}
    policy = policy_of(2, baselines=(), **given) if best_arm else policy_of(1, **given)
    step = race.next_step if best_arm else decide.next_step
    seen = results_of(policy, values, dict.fromkeys(policy.everyone, 3))
    diverged = numpy.zeros(values.shape, bool)
    diverged[1, 1] = True
    lost = Results(**{**vars(seen), "values": numpy.where(diverged, numpy.nan, seen.values), "diverged": diverged})
    state = step(policy, lost, PolicyState()).state
    again = step(policy, results_of(policy, values, dict.fromkeys(policy.everyone, 8)), state)
    reasons = {closure.reason for closure in again.state.closures}
    assert reasons == ({ClosureReason.BEST, ClosureReason.CAP} if best_arm else {ClosureReason.HELD_BACK})


def test_an_arm_that_diverged_more_often_is_never_the_best_of_a_race() -> None:
    """Its mean is over the seeds that came through: here over one, and an easy one."""
    policy = policy_of(3, baselines=(), best_arm=True, futility=None, max_seeds=8)
    seeds = numpy.array([-1.0, 0.4, -0.3, 0.5, 0.2, 0.6, -0.1, 0.3])
    noise = 0.01 * numpy.random.default_rng(2).standard_normal((3, 8))
    values = seeds + noise + numpy.array([[0.0], [0.002], [0.0]])
    diverged = numpy.zeros(values.shape, bool)
    diverged[2, 1:] = True
    reasons = {one.arm: one.reason for one in swept(policy, values, [0], diverged).closures}
    assert reasons["a2"] is ClosureReason.CAP and ClosureReason.BEST in (reasons["a0"], reasons["a1"])


def test_the_best_of_a_race_is_best_over_the_seeds_that_the_others_have_too() -> None:
    """An arm whose hard seeds failed is not the best for that."""
    policy = policy_of(2, baselines=(), best_arm=True, futility=None, max_seeds=6)
    values = numpy.array([[0.0, 1.0, 0.0, 1.0, 0.0, 1.0], [0.1, 0.0, 0.0, 1.0, 0.1, 1.0]])
    failed = numpy.zeros(values.shape, bool)
    failed[1, [3, 5]] = True
    values[1, 1] = 1.0
    reasons = {one.arm: one.reason for one in swept(policy, values, [0], failed=failed).closures}
    assert reasons == {"a0": ClosureReason.BEST, "a1": ClosureReason.CAP}


@pytest.mark.parametrize("row", [0, 1])
@pytest.mark.parametrize(("shift", "reason"), [(0.0, ClosureReason.HELD_BACK), (0.2, ClosureReason.WORSE)])
def test_a_side_that_diverged_more_often_is_not_within_the_margin(
    row: int, shift: float, reason: ClosureReason
) -> None:
    """As in `compare`: the seeds that came through may agree only for that."""
    policy = policy_of(1, max_seeds=10, margin=0.5, futility=None)
    noise = 0.01 * numpy.array([1, -1, 0.5, -0.5, 1, -1, 0.7, -0.7, 0.2, -0.2])
    values = numpy.array([numpy.zeros(10), noise + shift])
    diverged = numpy.zeros(values.shape, bool)
    diverged[row, 1] = True
    (closure,) = swept(policy, values, [0], diverged).closures
    is_forbidden = row == 0 and shift > 0  # it looks worse than a baseline that diverged more often
    assert closure.reason is (ClosureReason.HELD_BACK if is_forbidden else reason) and not closure.within_margin


@settings(max_examples=40, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    effects=st.lists(st.sampled_from([0.0, 0.7, 1.5, 3.0]), min_size=1, max_size=5),
    seen=st.integers(1, CAP),
    margin=st.sampled_from([None, 1.0]),
    is_capped=st.booleans(),
)
def test_p_is_below_the_level_exactly_where_the_policy_gave_a_verdict(
    seed: int, effects: list[float], seen: int, margin: float | None, is_capped: bool
) -> None:
    """What stands beside a verdict in `compare` is what the policy judged by."""
    values, diverged, failed = drawn(seed, len(effects), effects)
    policy = policy_of(len(effects), max_seeds=CAP, margin=margin, is_capped=is_capped)
    ended = numpy.broadcast_to(numpy.arange(CAP) < seen, values.shape)
    state = decide.next_step(policy, _seen(values, ended, diverged | failed, diverged), PolicyState()).state
    lost = diverged | failed | ~ended
    differences = values[1:] - values[0]
    contrasts = [
        contrast_of(
            arm, {place: float(differences[row, place]) for place in numpy.flatnonzero(~(lost[0] | lost[row + 1]))}
        )
        for row, arm in enumerate(policy.arms)
    ]
    others = [contrast_of("another", {0: 0.5, 1: 0.6})] * 9
    reasons = {closure.arm: closure.reason for closure in state.closures}
    found = declared([*contrasts, *others], policy, state, first_seed=0)
    assert found[len(policy.arms) :] == others
    for one in found[: len(policy.arms)]:
        p_value = one.finding.always_valid_p_value
        is_sure = p_value is not None and p_value <= ALPHA
        by_evidence = reasons.get(one.label) in {*REJECTED, ClosureReason.HELD_BACK}
        assert is_sure == by_evidence or (margin is not None and reasons[one.label] is ClosureReason.HELD_BACK)
        assert one.finding.p_value is None or one.finding.p_value <= len(effects) * one.finding.difference.p_value


def test_evidence_that_is_too_large_for_its_inverse_gives_a_p_of_zero() -> None:
    policy = DecidePolicy(
        metric="val_loss", goal=Goal.LOWER, arms=["a"], baselines=["b"], max_seeds=400, first_look=400
    )
    contrast = contrast_of("a", {seed: -1.0 - 1e-9 * (seed % 2) for seed in range(400)})
    closure = Closure(arm="a", seeds=400, reason=ClosureReason.BETTER, pairs=400, mean=-1.0)
    (found,) = declared([contrast], policy, PolicyState(round=400, closures=(closure,)), first_seed=0)
    assert found.finding.always_valid_p_value == 0.0


def contrast_of(arm: str, differences: dict[int, float]) -> Contrast:
    """An arm against the baseline `b`, before the policy has its say."""
    pairs = Pairs(differences=differences, baseline_values=dict.fromkeys(differences, 0.0))
    (finding,) = findings([pairs], Goal.LOWER)
    given: dict[str, Any] = {"values": {}, "label": arm, "baseline": "b", "arms": [arm, "b"]}
    return Contrast(pairs=pairs, finding=finding, wins=None, seconds_a_seed=None, **given)


def test_a_p_value_of_a_cap_is_a_level_of_its_table() -> None:
    bound = Bound(cap=20, first_look=3)
    for arms in (1, 2, 8, 9, 11):
        needed = math.log(bound.evidence(arms))
        assert arms * bound.p_value(needed) <= ALPHA < arms * bound.p_value(needed - 1e-9)
    assert bound.p_value(math.log(9.0)) == pytest.approx(1 / 9) and bound.p_value(-numpy.inf) == 1.0
    assert VILLE.p_value(math.log(300.0)) == pytest.approx(1 / 300) and VILLE.p_value(numpy.inf) == 0.0
