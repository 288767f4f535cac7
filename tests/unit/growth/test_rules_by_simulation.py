"""How often a growing sweep is wrong, by a short draw of what `python -m benchmarks.decide` prints."""

from math import sqrt

import numpy
import pytest

from benchmarks.decide import (
    NOISES,
    at_once,
    by_hand,
    decide,
    differences_of_verdicts,
    false_verdicts,
    family_errors,
    fixed,
    margin_errors,
    normal,
    policy_of,
)
from orchestrator.comparison.judging.bounds import Bound
from orchestrator.comparison.judging.policy import ClosureReason

# Those for which the guarantee holds: normal, or of equal scale.
KEPT = ("normal", "normal, arm twice as noisy", "t with 4 degrees", "Gumbel", "exponential")


def most(sweeps: int, share: float = 0.05) -> float:
    """Three standard errors above a share of so many sweeps."""
    return share + 3 * sqrt(share * (1 - share) / sweeps)


@pytest.mark.parametrize("sweeps", [4_000, pytest.param(200_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("noise", KEPT)
def test_false_verdicts_of_equal_arms(noise: str, sweeps: int) -> None:
    for arms in (1, 3, 8):
        bound = Bound(cap=20, first_look=3)
        assert false_verdicts(NOISES[noise], bound, arms, cap=20, first=3, sweeps=sweeps, seed=arms) <= most(sweeps)


def test_skewed_noise_of_unequal_size_breaks_the_bound() -> None:
    """As the docs say. Else this simulation would see nothing."""
    noise = NOISES["exponential, arm ten times"]
    assert false_verdicts(noise, Bound(cap=20, first_look=3), 1, cap=20, first=3, sweeps=4_000, seed=1) > 0.1


@pytest.mark.parametrize("best_arm", [False, True])
def test_a_step_that_sees_everything_says_what_steps_seed_by_seed_say(best_arm: bool) -> None:
    generator = numpy.random.default_rng(3)
    policy = policy_of(4, margin=0.8)
    if best_arm:
        policy = policy_of(5, baselines=(), best_arm=True, futility=None)
    for _ in range(10):
        values = normal(generator, (5, 20)) + generator.normal(0, 1, (5, 1))
        assert at_once(policy, values) == decide(policy, values, workers=3).said


@pytest.mark.parametrize("sweeps", [60, pytest.param(3_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("equal", range(1, 9))
def test_false_verdicts_at_each_of_holms_steps(equal: int, sweeps: int) -> None:
    """Of 8 arms the others are surely different: they leave the count before the equal ones are decided."""
    policy = policy_of(8, futility=None)
    share = family_errors(NOISES["normal"], policy, equal=equal, effect=5.0, sweeps=sweeps, seed=equal)
    assert share <= most(sweeps)


def test_margin_and_futility_only_take_away_chances_to_reject() -> None:
    generator = numpy.random.default_rng(6)
    for _ in range(60):
        values = normal(generator, (4, 20)) + numpy.array([[0.0], [0.0], [0.7], [1.5]])
        free = at_once(policy_of(3, futility=None), values)
        for bounded in (policy_of(3), policy_of(3, margin=1.0, futility=None)):
            said = at_once(bounded, values)
            verdicts = (ClosureReason.BETTER, ClosureReason.WORSE)
            assert all(now == before for now, before in zip(said, free, strict=True) if now in verdicts)


@pytest.mark.parametrize("sweeps", [4_000, pytest.param(200_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("margin", [0.5, 1.0, 2.0])
def test_arms_that_differ_by_the_margin_are_seldom_called_equal(margin: float, sweeps: int) -> None:
    errors = margin_errors(shift=margin, margin=margin, cap=20, first=3, sweeps=sweeps, seed=4)
    assert errors <= most(sweeps)


@pytest.mark.parametrize("races", [25, pytest.param(1_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("spread", [0.3, 1.0])
def test_the_best_of_many_is_seldom_lost(spread: float, races: int) -> None:
    generator, lost = numpy.random.default_rng(7), 0
    policy = policy_of(8, baselines=(), best_arm=True, futility=None)
    for _ in range(races):
        effects = generator.normal(0, spread, 8)
        said = at_once(policy, normal(generator, (8, 20)) + effects[:, None])
        assert said.count(ClosureReason.BEST) == 1
        lost += said[int(numpy.argmin(effects))] == ClosureReason.NOT_BEST
    assert lost / races <= most(races)


def test_decide_needs_fewer_runs_than_the_loop_by_hand_and_a_fixed_number_of_seeds() -> None:
    generator, policy = numpy.random.default_rng(8), policy_of(3)
    by_habit, at_the_end, spent = [], [], []
    for _ in range(20):
        values = normal(generator, (4, 20)) + numpy.array([[0.0], [0.0], [1.0], [3.0]])
        by_habit.append(by_hand(values, cap=20, first=3).runs)
        at_the_end.append(fixed(values, cap=20).runs)
        spent.append(decide(policy, values).runs)
    assert sum(spent) < 0.7 * sum(by_habit) and sum(spent) < 0.7 * sum(at_the_end)


def test_the_difference_of_a_verdict_is_too_large_in_the_mean_and_its_interval_right() -> None:
    """The arms that look better than they are get their verdicts first."""
    mean, held = differences_of_verdicts(1.0, sweeps=600, seed=9)
    assert 1.1 < mean < 1.25 and held > 0.95
