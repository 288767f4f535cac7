"""Means and bands that are kept up to date are those that all runs at once would give; thinning keeps the extremes."""

import math
import random
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.dashboard.watching.arm_means import GRID_PLACES, HELD_RUNS, ArmMeans, MeanCurve
from orchestrator.dashboard.watching.thinning import numbers, thinned
from orchestrator.plots.curve_sets import Band, arm_curves
from orchestrator.plots.run_curves import RunCurve

Arrays = tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]


def made_up_curves(seeds: int, points: int = 40) -> list[Arrays]:
    """Falling curves with noise, at the same steps."""
    rng = np.random.default_rng(seeds)
    steps = np.arange(1, points + 1) * 10.0
    return [(steps, 3 + 5 / steps + 0.1 * rng.standard_normal(points)) for _ in range(seeds)]


def curve_of(means: ArmMeans) -> MeanCurve:
    curve = means.curve()
    assert curve is not None
    return curve


@pytest.mark.parametrize("seeds", [2, 4, 5, 12])
def test_mean_and_band_are_those_of_the_plots(seeds: int) -> None:
    curves = made_up_curves(seeds)
    means = ArmMeans()
    for run, (x, y) in enumerate(curves):
        means.update(run, x[: len(x) // 2], y[: len(y) // 2])  # each was seen half-way first
        if run % 2:
            means.settle(run, x, y)
        else:
            means.update(run, x, y)
    runs = [
        RunCurve(settings={}, num_params=1, seed=seed, data_fingerprint="", x=x, y=y)
        for seed, (x, y) in enumerate(curves)
    ]
    (expected,) = arm_curves(runs, Band.AUTO, past_shortest=False)
    found = curve_of(means)
    assert expected.low is not None and expected.high is not None
    np.testing.assert_allclose(found.x, expected.x)
    np.testing.assert_allclose(found.mean, expected.mean)
    np.testing.assert_allclose(found.low, expected.low)
    np.testing.assert_allclose(found.high, expected.high)
    assert found.seeds == seeds and found.is_interval is (seeds >= 5) and set(found.runs) == {seeds}


def test_each_place_is_the_mean_of_those_that_got_there() -> None:
    (x, first), (_, second) = made_up_curves(2)
    means = ArmMeans()
    means.settle(1, x, first)
    means.update(2, x[:10], second[:10])
    found = curve_of(means)
    np.testing.assert_allclose(found.mean[:10], (first[:10] + second[:10]) / 2)
    np.testing.assert_allclose(found.mean[10:], first[10:])
    assert list(found.runs) == [2] * 10 + [1] * 30 and not found.is_cut
    assert np.isnan(found.low[10:]).all()  # one run has no band


@pytest.mark.parametrize("seeds", [2, 3, 12])
def test_over_seconds_the_mean_is_that_of_the_plots_and_ends_with_the_first_seed(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    curves = [(np.sort([0.5, *rng.uniform(1, 5 + run, 5)]), rng.standard_normal(6)) for run in range(seeds)]
    means = ArmMeans()
    for run, (x, y) in enumerate(curves):
        means.settle(run, x, y)
    runs = [
        RunCurve(settings={}, num_params=1, seed=seed, data_fingerprint="", x=x, y=y)
        for seed, (x, y) in enumerate(curves)
    ]
    (expected,) = arm_curves(runs, Band.AUTO, past_shortest=False)
    found = curve_of(means)
    assert found.is_cut and set(found.runs) == {seeds}
    if seeds < HELD_RUNS:
        np.testing.assert_allclose(found.x, expected.x)
        np.testing.assert_allclose(found.mean, expected.mean)
    assert found.x[-1] == pytest.approx(expected.x[-1], abs=1.0)


def test_a_run_that_lags_is_not_waited_for() -> None:
    means = ArmMeans()
    for run, end in enumerate((100, 98, 95)):  # three that are over, and end unevenly
        x = np.arange(1.0, end + 1)
        means.settle(run, x, np.full(end, float(run)))
    found = curve_of(means)
    assert (found.x[-1], found.runs[-1], found.is_cut) == (95, 3, True)
    means.update(3, np.arange(1.0, 31), np.zeros(30))  # one that has only begun
    found = curve_of(means)
    assert (found.x[-1], found.runs[-1], found.runs[0]) == (95, 3, 4)


def test_a_curve_that_grows_past_the_grid_thins_it_and_keeps_both_ends() -> None:
    x = np.arange(1, 5001, dtype=float)
    y = 1 / x
    means = ArmMeans()
    for end in range(100, 5001, 100):
        means.update(1, x[:end], y[:end])
    found = curve_of(means)
    assert len(found.x) <= 2 * GRID_PLACES and found.places == 5000
    assert found.x[0] == 1 and found.x[-1] == 5000
    np.testing.assert_allclose(found.mean, 1 / found.x)


def test_without_points_there_is_no_curve() -> None:
    means = ArmMeans()
    means.settle(1, np.empty(0), np.empty(0))
    means.update(2, np.empty(0), np.empty(0))
    assert means.curve() is None


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=300), st.integers(4, 60))
def test_thinning_keeps_the_ends_and_the_extremes(values: list[float], most: int) -> None:
    y = np.array(values)
    places = thinned(y, most)
    assert len(places) <= max(most, 4) and (np.diff(places) > 0).all()
    assert places[0] == 0 and places[-1] == len(values) - 1
    assert y[places].min() == y.min() and y[places].max() == y.max()


def test_a_curve_that_is_short_enough_is_whole() -> None:
    assert list(thinned(np.array([3.0, 1.0, 2.0]), 3)) == [0, 1, 2]


def test_numbers_have_six_digits_and_none_for_what_json_has_not() -> None:
    values = np.array([3.14159265, 0.0, -123456.789, 1.23456789e-12, math.nan, math.inf])
    assert numbers(values) == [3.14159, 0.0, -123457.0, pytest.approx(1.23457e-12), None, None]
    rng = random.Random(1)
    many = [rng.uniform(-1, 1) * 10 ** rng.randint(-9, 9) for _ in range(200)]
    assert numbers(np.array(many)) == pytest.approx(many, rel=1e-5)
