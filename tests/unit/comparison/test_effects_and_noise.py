"""Effects, shares, wins, noise and advice against brute force and scipy."""

import itertools
import math
from collections.abc import Mapping
from typing import Any

import numpy
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy import stats

from orchestrator.comparison.judging.advice import MOST_FURTHER_PAIRS, advise
from orchestrator.comparison.judging.contrasts import judged
from orchestrator.comparison.judging.effects import (
    Cell,
    cell_of,
    cells_of_effects,
    factors_of,
    interactions,
    main_effects,
    shares_of,
    without_counterpart,
)
from orchestrator.comparison.judging.noise import deviations_differ, outlying, skewness
from orchestrator.comparison.judging.robust import WinVerdict, judge_wins, log_evidence_of_wins
from orchestrator.comparison.judging.tune import best_against_best
from orchestrator.comparison.measuring.measures import Goal, Measured, Standing
from orchestrator.comparison.measuring.pairs import Pairs, Side
from orchestrator.comparison.questions import Question
from orchestrator.comparison.statistics import ALPHA, Summary, summarise

NAMES = ("depth", "num_heads", "lr_mult")
ARMS = [dict(zip(NAMES, values, strict=True)) for values in itertools.product((2, 3, 4), (1, 2), (0.5, 1.0))]


def side(number: int, values: Any) -> Side:
    numbers = {100 + at: Measured(standing=Standing.MEASURED, value=float(value)) for at, value in enumerate(values)}
    return Side(label=f"arm {number}", numbers=numbers, arms=frozenset({number}))


def whole_table(seed: int = 1, seeds: int = 5) -> tuple[Any, Mapping[Cell, Side], Any]:
    """Numbers (3, 2, 2, seeds), their sides by cell, and the factors."""
    table = numpy.random.default_rng(seed).standard_normal((3, 2, 2, seeds))
    factors = factors_of(ARMS, NAMES, {})
    sides = [side(number, row) for number, row in enumerate(table.reshape(12, seeds))]
    return table, {cell_of(arm, factors): one for arm, one in zip(ARMS, sides, strict=True)}, factors


def test_main_effects_and_interactions_are_means_over_the_other_factors() -> None:
    table, cells, factors = whole_table()
    main = judged(main_effects(cells, factors), Question(goal=Goal.LOWER), 4)
    assert [one.label for one in main] == ["depth 3", "depth 4", "num_heads 2", "lr_mult 1"]
    expected = (table[2] - table[0]).mean(axis=(0, 1))
    assert list(main[1].pairs.differences.values()) == pytest.approx(expected.tolist())
    crossed = judged(interactions(cells, factors), Question(goal=None), 0)
    assert len(crossed) == 2 + 2 + 1
    squared = table[2, 1] - table[2, 0] - table[0, 1] + table[0, 0]
    found = next(one for one in crossed if one.values == {"depth": 4, "num_heads": 2})
    assert list(found.pairs.differences.values()) == pytest.approx(squared.mean(axis=0).tolist())


def test_a_missing_cell_takes_its_counterparts_along() -> None:
    _, cells, factors = whole_table()
    fewer = {cell: one for cell, one in cells.items() if cell != ((2,), (1,), (0.5,))}
    found = cells_of_effects(fewer, factors, 1)
    assert len(found[((0, (3,)),)]) == 3 and len(found[((1, (2,)),)]) == 5
    assert without_counterpart(fewer, factors) == {"depth 3": 1, "depth 4": 1, "num_heads 2": 1, "lr_mult 1": 1}
    assert shares_of(fewer, factors) is None


def test_settings_that_determine_each_other_are_one_factor() -> None:
    arms = [{"depth": d, "width": w, "num_heads": h} for d, w in ((2, 64), (4, 128)) for h in (1, 2)]
    factors = factors_of(arms, ("depth", "width", "num_heads"), {"width": 128})
    assert [(factor.label, factor.baseline) for factor in factors] == [
        ("depth and width", (4, 128)),
        ("num_heads", (1,)),
    ]


def test_shares_add_up_to_the_sum_of_squares_between_arms_but_for_noise() -> None:
    table, cells, factors = whole_table(seeds=4)
    found = shares_of(cells, factors)
    assert found is not None and found.seeds == 4
    means = table.reshape(12, 4).mean(axis=1)
    between = 4 * ((means - means.mean()) ** 2).sum()
    residual = table.reshape(12, 4) - means[:, None] - table.reshape(12, 4).mean(axis=0) + table.mean()
    noise = (residual**2).sum() / (11 * 3)
    depth = 16 * ((table.mean(axis=(1, 2, 3)) - table.mean()) ** 2).sum()
    assert found.of["depth"] == pytest.approx(max(0.0, depth - 2 * noise) / between)
    assert list(found.of) == [*NAMES, "depth x num_heads", "depth x lr_mult", "num_heads x lr_mult"]
    pure = table.mean(axis=3) * 0 + numpy.arange(3)[:, None, None]
    exact = {cell: side(0, [value] * 3) for cell, value in zip(cells, pure.ravel(), strict=True)}
    only = shares_of(exact, factors)
    assert only is not None and only.of["depth"] == pytest.approx(1.0) and only.of["num_heads"] == 0.0


@example([0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0])
@given(st.lists(st.floats(-5, 5).map(lambda one: round(one, 4)), min_size=8, max_size=30))
def test_skewness_and_unequal_deviations_are_scipy_s(values: list[float]) -> None:
    own = numpy.array(values)
    if numpy.std(own) < 1e-2:
        return
    if stats.skew(own) == 0:  # where SciPy's statistic, continuous elsewhere, jumps to that of another skewness
        assert abs(skewness(own)) < 1e-6
    else:
        assert skewness(own) == pytest.approx(stats.skewtest(own).statistic, rel=1e-6, abs=1e-6)
    other = numpy.random.default_rng(len(values)).standard_normal(len(values))
    expected = stats.pearsonr(own + other, own - other).pvalue
    assert deviations_differ(own, other) == pytest.approx(expected, rel=1e-6, abs=1e-9)


def test_an_outlier_is_measured_in_deviations_of_the_rest() -> None:
    assert outlying(numpy.array([-2.0, -1.0, 0.0, 1.0, 14.826])) == pytest.approx(10.0)
    assert outlying(numpy.zeros(8)) == 0.0


def test_the_evidence_of_wins_is_that_of_a_uniform_prior() -> None:
    for won, lost in ((0, 0), (11, 1), (3, 5)):
        exact = 2 ** (won + lost) * math.factorial(won) * math.factorial(lost) / math.factorial(won + lost + 1)
        assert math.exp(log_evidence_of_wins(numpy.array(won), numpy.array(lost))) == pytest.approx(exact)


def pairs_of(differences: list[float], **counts: int) -> Pairs:
    return Pairs(differences=dict(enumerate(differences)), baseline_values={}, **counts)


def test_ties_are_left_out_and_diverged_runs_lose_their_seeds() -> None:
    family = [pairs_of([-1.0] * 8 + [0.0], baseline_diverged_alone=1, both_diverged=2), pairs_of([-1.0] * 7)]
    first, second = judge_wins(family, Goal.LOWER, size=2)
    assert (first.won, first.lost, first.left_out, first.verdict) == (9, 0, 3, WinVerdict.MORE)
    assert second.verdict is WinVerdict.UNDECIDED and second.seeds == 7
    assert judge_wins(family[1:], Goal.HIGHER, size=1)[0].lost == 7
    assert judge_wins([pairs_of([-1.0] * 8)], Goal.HIGHER, size=1)[0].verdict is WinVerdict.LESS
    assert judge_wins(family[:1], Goal.LOWER, size=100)[0].verdict is WinVerdict.UNDECIDED


def test_a_value_that_diverged_more_often_beats_nothing() -> None:
    seeds = numpy.arange(12) / 100
    baseline = numpy.stack([seeds + 1.0, seeds**2 + 2.0])
    own = numpy.stack([seeds * 0.9, seeds**2 + 3.0])
    better, worse = best_against_best(own, baseline)
    assert better < 0.01 and worse == 1.0
    own[0, 0] = numpy.inf
    assert best_against_best(own, baseline)[0] == 1.0
    at_missing = baseline.copy()
    at_missing[:, 1], own[0, 1] = numpy.inf, numpy.nan
    assert best_against_best(own, at_missing)[0] == 1.0, "a seed that the other lacks excuses nothing"
    baseline[:, 2] = numpy.inf
    assert best_against_best(own, baseline)[0] < 0.01


@settings(max_examples=30)
@given(st.integers(4, 10), st.floats(0.1, 3))
def test_more_seeds_are_asked_for_smaller_effects_and_stricter_levels(count: int, effect: float) -> None:
    def asked(size: float, alpha: float, share: str = "likely") -> int:
        found = advise(Summary(count=count, mean=size, deviation=1.0, interval=None), alpha)
        return getattr(found, share) or MOST_FURTHER_PAIRS + 1

    assert asked(effect, ALPHA, "soon") <= asked(effect, ALPHA)
    assert asked(effect, ALPHA) <= asked(effect / 2, ALPHA)
    assert asked(effect, ALPHA) <= asked(effect, ALPHA / 5)


def test_advice_at_the_ends() -> None:
    early = advise(summarise([1.0]), ALPHA)
    assert early.is_early and early.likely == 4
    assert advise(summarise([0.25] * 4), ALPHA).likely == 1
    assert advise(summarise([0.0, 0.1, -0.1, 0.0]), ALPHA).likely is None
    assert advise(summarise([0.0, 0.1, -0.1, 0.0]), ALPHA, margin=0.3).likely is not None
