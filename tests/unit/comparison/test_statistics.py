"""The statistics against scipy and against integrals."""

import itertools
import math
from collections.abc import Sequence

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate, stats

from orchestrator.comparison.measuring.measures import Measured, Standing, mean_or_gravest
from orchestrator.comparison.statistics import (
    ALPHA,
    CONFIDENCE,
    EFFECT_SCALE,
    always_valid_critical_t,
    always_valid_p_value,
    critical_t,
    fewest_pairs,
    holm,
    log_evidence,
    paired_difference,
    summarise,
)

losses = st.floats(-20, 20).map(lambda number: round(number, 6))
samples = st.lists(losses, min_size=2, max_size=12).filter(lambda values: max(values) - min(values) > 1e-3)


@given(samples)
def test_means_deviations_and_intervals_are_scipy_s(values: list[float]) -> None:
    found = summarise(values)
    low, high = stats.ttest_1samp(values, 0).confidence_interval(CONFIDENCE)
    assert found.count == len(values)
    assert found.mean == pytest.approx(numpy.mean(values), abs=1e-12)
    assert found.deviation == pytest.approx(stats.tstd(values), rel=1e-9)
    assert found.interval is not None
    assert [found.interval.low, found.interval.high] == pytest.approx([low, high], rel=1e-9, abs=1e-9)


def test_the_mean_over_arms_does_not_depend_on_their_order() -> None:
    # 0.1 + 0.2 + 0.3 has two values, by the order in which it is added up; arms come from a set.
    found = {
        mean_or_gravest([Measured(standing=Standing.MEASURED, value=value) for value in values]).value
        for values in itertools.permutations((0.1, 0.2, 0.3))
    }
    assert len(found) == 1


@given(st.lists(st.tuples(losses, losses), min_size=2, max_size=12))
def test_the_plain_test_is_scipy_s_paired_t_test(pairs: list[tuple[float, float]]) -> None:
    differences = [a - b for a, b in pairs]
    if max(differences) - min(differences) < 1e-3:
        return
    expected = stats.ttest_rel([a for a, _ in pairs], [b for _, b in pairs])
    found = paired_difference(differences)
    assert found.p_value == pytest.approx(expected.pvalue, rel=1e-6)
    assert found.summary.interval is not None
    low, high = expected.confidence_interval(CONFIDENCE)
    assert [found.summary.interval.low, found.summary.interval.high] == pytest.approx([low, high], rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("t", "count"), [(0.0, 2), (1.3, 2), (-4.0, 3), (2.0, 5), (5.5, 7), (-0.4, 20), (9.0, 11)])
def test_the_evidence_is_the_bayes_factor_of_its_prior(t: float, count: int) -> None:
    def weighted(effect: float) -> float:
        density = stats.nct.pdf(t, count - 1, effect * math.sqrt(count))
        return float(density * stats.norm.pdf(effect, scale=EFFECT_SCALE))

    marginal, _ = integrate.quad(weighted, -20, 20, limit=400)
    assert math.exp(log_evidence(t, count)) == pytest.approx(marginal / stats.t.pdf(t, count - 1), rel=1e-4)


@pytest.mark.parametrize("count", [2, 3, 5, 10, 40])
def test_the_evidence_is_worth_one_on_average_where_there_is_no_effect(count: int) -> None:
    def weighted(t: float) -> float:
        return math.exp(log_evidence(t, count)) * float(stats.t.pdf(t, count - 1))

    half, _ = integrate.quad(weighted, 0, math.inf, limit=400)
    assert 2 * half == pytest.approx(1, rel=1e-4)


@given(st.integers(2, 200), st.floats(0.001, 0.2))
def test_the_critical_t_is_where_the_p_value_is_alpha(count: int, alpha: float) -> None:
    t = float(always_valid_critical_t(count, alpha))
    if math.isinf(t):
        assert always_valid_p_value(math.inf, count) >= alpha * (1 - 1e-9)
    else:
        assert always_valid_p_value(t, count) == pytest.approx(alpha, rel=1e-6)
        assert t > critical_t(count, alpha)


@given(samples)
def test_the_always_valid_interval_leaves_out_what_its_test_rejects(values: list[float]) -> None:
    found = paired_difference(values)
    if found.always_valid_interval is None or found.always_valid_p_value is None:
        assert len(values) < fewest_pairs(ALPHA)
        return
    low, high = found.always_valid_interval.low, found.always_valid_interval.high
    assert (low > 0 or high < 0) == (found.always_valid_p_value < ALPHA)
    assert found.summary.interval is not None
    assert low < found.summary.interval.low and high > found.summary.interval.high


def test_what_so_few_seeds_can_tell() -> None:
    nothing, one = paired_difference([]), paired_difference([0.5])
    assert nothing.summary.mean is None and nothing.p_value is None
    assert one.summary.mean == 0.5 and one.summary.interval is None and one.always_valid_p_value is None
    two = paired_difference([0.5, 0.6])
    assert two.p_value is not None and two.always_valid_interval is None
    assert fewest_pairs(ALPHA) == 4


@pytest.mark.parametrize("size", [1e-300, 1e-160, 1e160, 1e300])
def test_numbers_of_any_size_have_a_deviation(size: float) -> None:
    values = [1.0, 2.0, 4.5, 8.0]
    plain, scaled = summarise(values), summarise([value * size for value in values])
    assert plain.deviation is not None and plain.interval is not None and scaled.interval is not None
    assert scaled.deviation == pytest.approx(plain.deviation * size, rel=1e-12)
    assert scaled.interval.high == pytest.approx(plain.interval.high * size, rel=1e-12)
    assert paired_difference([value * size for value in values]).p_value == pytest.approx(
        paired_difference(values).p_value, rel=1e-9
    )


def test_differences_that_are_all_the_same() -> None:
    same = paired_difference([0.0, 0.0, 0.0])
    assert same.p_value == 1.0 and same.always_valid_p_value == 1.0
    shifted = paired_difference([0.25] * 5)
    assert shifted.p_value == 0.0
    assert shifted.always_valid_p_value == pytest.approx((1 + 5 * EFFECT_SCALE**2) ** -2)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_the_step_down_procedure(p_values: list[float]) -> None:
    corrected = holm(numpy.array(p_values))
    for alpha in (0.01, 0.05, 0.2, 0.5):
        assert set(numpy.flatnonzero(corrected <= alpha)) == _holm_rejects(p_values, alpha)


def _holm_rejects(p_values: Sequence[float], alpha: float) -> set[int]:
    """Holm (1979) as he puts it: from the smallest on, until one is above alpha / (those left)."""
    rejected: set[int] = set()
    for left, place in zip(range(len(p_values), 0, -1), numpy.argsort(p_values, kind="stable"), strict=True):
        # Multiplied, as rounding may differ from that of a division.
        if p_values[place] * left > alpha:
            break
        rejected.add(int(place))
    return rejected
