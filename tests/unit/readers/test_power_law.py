"""The fit of scaling plots, against scipy and by its coverage."""

import math

import numpy
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.plots.drawing.final_values import law_text
from orchestrator.plots.drawing.power_law import PowerLaw, describes, fit_power_law


@given(st.floats(0.1, 50), st.floats(-2, 2))
def test_a_true_power_law_is_found_again(factor: float, exponent: float) -> None:
    x = [1.0, 3.0, 10.0, 40.0]
    law = fit_power_law(x, [factor * one**exponent for one in x])
    assert law is not None
    assert law.exponent == pytest.approx(exponent, abs=1e-9)
    assert law.factor == pytest.approx(factor)
    assert law.half_width == pytest.approx(0, abs=1e-6)
    assert law.at(7.0) == pytest.approx(factor * 7.0**exponent)


def test_the_interval_holds_the_true_exponent_as_often_as_it_says() -> None:
    random = numpy.random.default_rng(1)
    x = [float(one) for one in (1, 2, 4, 8) for _ in range(3)]
    held = 0
    for _ in range(600):
        noise = random.normal(0, 0.1, len(x))
        law = fit_power_law(x, [3 * one**-0.2 * math.exp(error) for one, error in zip(x, noise, strict=True)])
        assert law is not None
        held += abs(law.exponent + 0.2) <= law.half_width
    # 95 % of 600, by more than four standard deviations of a binomial.
    assert scipy.stats.binomtest(held, 600, 0.95).pvalue > 1e-5


@pytest.mark.parametrize(
    ("x", "y"),
    [([1, 2, 2], [3, 2, 1]), ([0, 1, 2], [3, 2, 1]), ([1, 2, 3], [1, -1, 2]), ([1, 2, 3], [1, math.inf, 2]), ([], [])],
)
def test_no_law_where_there_can_be_none(x: list[float], y: list[float]) -> None:
    assert fit_power_law(x, y) is None


def test_the_exponent_is_told_to_the_digits_that_are_known() -> None:
    def text(half_width: float) -> str:
        return law_text(PowerLaw(factor=1, exponent=-0.07612, half_width=half_width), "depth")

    assert text(0.0041) == "∝ depth^(-0.0761 ± 0.0041)"
    assert text(0.2) == "∝ depth^(-0.08 ± 0.20)"
    assert text(0.0) == "∝ depth^(-0.076 ± 0.000)"


def test_a_law_that_explains_little_of_the_means_is_not_one() -> None:
    x = [1.0, 2.0, 4.0, 8.0, 16.0]
    for means, is_one in (([5.0, 4.5, 4.1, 3.6, 3.3], True), ([5.0, 4.0, 3.5, 4.0, 5.0], False), ([3.0] * 5, True)):
        law = fit_power_law(x, means)
        assert law is not None and describes(law, x, means) is is_one
