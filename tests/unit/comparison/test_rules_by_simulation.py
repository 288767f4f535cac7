"""How often the rules of comparisons are wrong, by a short draw of what `python -m benchmarks.verdicts` prints."""

import numpy
import pytest

from benchmarks.simulated_sweeps import (
    NOISES,
    Habit,
    advice_kept,
    by_margin,
    by_plain_t,
    by_t,
    by_wins,
    ever,
    exponential,
    false_effect_rate,
    false_rate_of_added_arms,
    false_tuning_rate,
    false_verdict_rate,
    family,
    normal,
    p_by_look,
    seeds_needed,
    warned,
)
from orchestrator.comparison.judging.contrasts import findings
from orchestrator.comparison.measuring.measures import Goal
from orchestrator.comparison.measuring.pairs import Pairs
from orchestrator.comparison.statistics import holm

# Three standard errors above 5 % of 600 sweeps are 7.7 %; all rules are well below 5 %.
BOUND = 0.06


def test_the_simulation_judges_as_the_program_does() -> None:
    differences = family(numpy.random.default_rng(5), 20, [0.0, 1.0, 3.0], 9, normal)
    for look in (3, 6, 9):
        for sweep, p in zip(differences, holm(p_by_look(differences)[..., look - 1]), strict=True):
            pairs = [Pairs(differences=dict(enumerate(arm[:look].tolist())), baseline_values={}) for arm in sweep]
            found = [one.always_valid_p_value for one in findings(pairs, Goal.LOWER)]
            assert found == pytest.approx(p.tolist(), rel=1e-9)


@pytest.mark.parametrize("sweeps", [300, pytest.param(2_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("first", [2, 5])
def test_false_verdicts_of_compare_extend_compare(first: int, sweeps: int) -> None:
    assert false_verdict_rate(sweeps, 2, Habit(first_seeds=first), normal, seed=first) <= BOUND


def test_false_verdicts_of_arms_that_lost_different_seeds() -> None:
    assert false_verdict_rate(300, 3, Habit(first_seeds=4, lost=0.3), exponential, seed=1) <= BOUND


@pytest.mark.parametrize("sweeps", [1_500, pytest.param(20_000, marks=pytest.mark.long)])
def test_false_verdicts_of_a_look_after_every_seed(sweeps: int) -> None:
    for name in (
        "normal",
        "heavy tails (t, 4 degrees)",
        "normal, the arm ten times as noisy",
        "exponential, of equal size",
    ):
        assert ever(sweeps, 200, NOISES[name], by_t) <= BOUND
    # The same looks at the plain t-test: this is what the always-valid one is for, and shows that the loop bites.
    assert ever(sweeps, 200, NOISES["normal"], by_plain_t) > 0.3


def test_the_noise_that_docs_warn_of_does_harm() -> None:
    assert ever(1_500, 200, NOISES["exponential, the arm ten times as noisy"], by_t) > 0.08
    assert ever(1_500, 200, NOISES["normal, the arm spikes in one run of ten"], by_t) > 0.3
    assert ever(1_500, 200, NOISES["normal, the arm in two modes"], by_t) > 0.1
    assert ever(1_500, 200, NOISES["normal, seeds correlated with 0.3"], by_t) > 0.08


def test_adding_arms_until_one_wins_is_more_often_wrong_as_the_docs_say() -> None:
    assert false_rate_of_added_arms(2_000, 1, 50) <= BOUND
    assert 0.06 < false_rate_of_added_arms(2_000, 20, 50) < 0.1


@pytest.mark.parametrize("sweeps", [1_500, pytest.param(20_000, marks=pytest.mark.long)])
def test_false_verdicts_by_the_seeds_won(sweeps: int) -> None:
    for name in ("normal", "heavy tails (t, 4 degrees)", "exponential, of equal size"):
        assert ever(sweeps, 200, NOISES[name], by_wins) <= BOUND


@pytest.mark.parametrize("sweeps", [1_500, pytest.param(20_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("margin", [0.5, 1.0, 2.0])
def test_a_difference_of_the_margin_is_not_called_none(margin: float, sweeps: int) -> None:
    assert ever(sweeps, 100, NOISES["normal"], lambda found: by_margin(found, margin), effect=margin) <= BOUND
    assert ever(sweeps, 100, NOISES["normal"], lambda found: by_margin(found, margin)) > 0.8


@pytest.mark.parametrize("sweeps", [300, pytest.param(2_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("means", [(0.0, 0.0, 0.0), (0.0, 0.3, 0.6), (0.0, 3.0, 6.0)])
def test_identical_groups_are_not_told_apart_at_their_best(means: tuple[float, ...], sweeps: int) -> None:
    assert false_tuning_rate(sweeps, means, 20, groups=2) <= BOUND


@pytest.mark.parametrize("sweeps", [600, pytest.param(2_000, marks=pytest.mark.long)])
@pytest.mark.parametrize("interactions", [False, True])
def test_false_effects_of_factorial_sweeps(interactions: bool, sweeps: int) -> None:
    assert false_effect_rate(sweeps, (3, 2), 40, interactions=interactions) <= BOUND


@pytest.mark.parametrize(("arms", "sweeps"), [(1, 250), (8, 40), pytest.param(3, 700, marks=pytest.mark.long)])
@pytest.mark.parametrize("first", [4, 8])
def test_the_advised_seeds_decide_it_as_often_as_said(first: int, arms: int, sweeps: int) -> None:
    soon, likely = advice_kept(sweeps, first, arms=arms, seed=1)
    assert 0.5 <= likely <= 0.8 or (sweeps < 300 and 0.45 <= likely <= 0.85)
    assert 0.2 <= soon < likely


def test_the_advised_seeds_decide_it_where_half_of_them_diverge() -> None:
    generator, kept = numpy.random.default_rng(4), []
    for effect in generator.normal(0, 2, 600):
        differences, lost = generator.standard_normal(250) + effect, int(generator.negative_binomial(5, 0.5))
        first = dict(enumerate(differences[:5].tolist()))
        pairs = Pairs(differences=first, baseline_values={}, diverged=lost, diverged_alone=lost)
        # The side that looks better is the one that did not diverge: no verdict is held back.
        (finding,) = findings([pairs], Goal.LOWER if sum(first.values()) > 0 else Goal.HIGHER)
        if finding.advice is not None and finding.advice.likely is not None:
            further = int(generator.binomial(finding.advice.likely, 0.5))
            kept.append(bool(by_t(differences[None, : 5 + further])[0, 4:].any()))
    assert 0.6 <= numpy.mean(kept) <= 0.8


@pytest.mark.parametrize("pairs", [8, 20])
def test_healthy_arms_are_hardly_ever_warned_of(pairs: int) -> None:
    skewed, unequal, outlying, _ = warned(20_000, pairs, NOISES["normal"])
    assert 0.003 < skewed < 0.007 and 0.003 < unequal < 0.007 and outlying < 0.012
    assert warned(2_000, 20, NOISES["exponential, the arm ten times as noisy"])[3] > 0.5


def test_effects_worth_finding_are_found_with_few_seeds() -> None:
    assert seeds_needed(2000, 1.0, 0.8) <= 22
    assert seeds_needed(2000, 2.0, 0.8) <= 9
    assert seeds_needed(2000, 3.0, 0.8) <= 6
    assert seeds_needed(2000, 2.0, 0.8, rule=by_wins) <= 12
