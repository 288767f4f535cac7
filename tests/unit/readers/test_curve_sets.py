"""Means, bands, smoothing and what may be drawn together."""

from dataclasses import replace
from typing import Any

import numpy
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from hlbgpt_core.points import Split
from orchestrator.errors import ExportError, UsageError
from orchestrator.export.metric_names import Axis, parse_metric, parse_x
from orchestrator.plots.cautions import check_comparable
from orchestrator.plots.curve_sets import Band, Span, arm_curves, averaged, common_span
from orchestrator.plots.drawing.options import MetricOptions
from orchestrator.plots.run_curves import RunCurve, smoothed


def curve(x: list[float], y: list[float], *, seed: int = 1, fingerprint: str = "f", **settings: Any) -> RunCurve:
    return RunCurve(
        settings={"tokenizer": "bytes", "dataset": "pystdlib", **settings},
        num_params=1000,
        seed=seed,
        data_fingerprint=fingerprint,
        x=numpy.array(x, dtype=float),
        y=numpy.array(y, dtype=float),
    )


def test_curves_of_different_x_are_interpolated_and_end_with_the_shortest() -> None:
    runs = [curve([0, 10, 20, 30], [3, 2, 1, 0]), curve([0, 15, 25], [4, 1, 1], seed=2)]
    (arm,) = arm_curves(runs, Band.RANGE, past_shortest=False)
    assert list(arm.x) == [0, 10, 15, 20, 25]
    assert arm.mean == pytest.approx([3.5, 2.0, 1.25, 1.0, 0.75])
    assert arm.low is not None and arm.high is not None
    assert arm.low[0] == 3 and arm.high[0] == 4
    (longer,) = arm_curves(runs, Band.RANGE, past_shortest=True)
    assert list(longer.x) == [0, 10, 15, 20, 25, 30] and longer.mean[-1] == 0


def test_the_interval_is_student_s() -> None:
    values = [3.0, 3.2, 2.9, 3.4, 3.1]
    runs = [curve([1, 2], [value, value], seed=seed) for seed, value in enumerate(values)]
    (arm,) = arm_curves(runs, Band.AUTO, past_shortest=False)
    expected = scipy.stats.t.interval(0.95, 4, loc=numpy.mean(values), scale=scipy.stats.sem(values))
    assert arm.low is not None and arm.high is not None
    assert (arm.low[0], arm.high[0]) == pytest.approx(expected)


def test_one_seed_has_no_band_and_few_have_the_range() -> None:
    (one,) = arm_curves([curve([1, 2], [3, 2])], Band.AUTO, past_shortest=False)
    assert one.low is None
    (two,) = arm_curves([curve([1], [3]), curve([1], [5], seed=2)], Band.AUTO, past_shortest=False)
    assert two.low is not None and two.high is not None and (two.low[0], two.high[0]) == (3, 5)


def test_arms_are_what_differs_in_settings_not_in_seeds() -> None:
    runs = [curve([1], [seed], seed=seed, depth=depth) for depth in (16, 4) for seed in (1, 2)]
    assert [arm.settings["depth"] for arm in arm_curves(runs, Band.AUTO, past_shortest=False)] == [4, 16]


@given(st.lists(st.floats(-100, 100), min_size=1, max_size=30), st.floats(0, 0.99))
def test_smoothing_stays_within_the_values(values: list[float], weight: float) -> None:
    averaged = smoothed(numpy.arange(len(values)) * 10.0, numpy.array(values), weight)
    assert averaged[0] == pytest.approx(values[0])
    assert min(values) - 1e-9 <= averaged.min() and averaged.max() <= max(values) + 1e-9


def test_smoothing_at_even_places_is_the_corrected_moving_average() -> None:
    x, y, weight = numpy.arange(101.0), numpy.random.default_rng(1).standard_normal(101), 0.6
    average, expected = 0.0, []
    for place, value in enumerate(y, start=1):
        average = weight * average + (1 - weight) * value
        expected.append(average / (1 - weight**place))
    numpy.testing.assert_allclose(smoothed(x, y, weight), expected)


@pytest.mark.parametrize("weight", [1e-300, 0.6, 0.9, 0.9999])
def test_smoothing_goes_by_x_not_by_the_number_of_points(weight: float) -> None:
    few, many = numpy.linspace(0, 1000, 201), numpy.linspace(0, 1000, 4001)
    rough, fine = (smoothed(x, 3 + numpy.exp(-x / 300), weight) for x in (few, many))
    numpy.testing.assert_allclose(rough[10:], fine[200::20], atol=0.01)


def test_smoothed_means_stay_within_their_own_seeds() -> None:
    rng = numpy.random.default_rng(2)
    xs = [numpy.sort(rng.uniform(0, 100, places)) for places in (30, 300, 3000)]
    runs = [curve(x, smoothed(x, 5 * numpy.exp(-x / 20), 0.9), seed=seed) for seed, x in enumerate(xs)]
    (arm,) = arm_curves(runs, Band.RANGE, past_shortest=False)
    assert arm.low is not None and arm.high is not None
    assert (arm.low <= arm.mean).all() and (arm.mean <= arm.high).all()


def test_a_mean_ends_where_the_first_run_ends_and_waits_for_none_that_goes_on() -> None:
    over = [Span(begin=1, end=2.55), Span(begin=2, end=5.66)]
    assert common_span(over) == (2, 2.55) and common_span(over, past_shortest=True) == (2, 5.66)
    going_on = Span(begin=1, end=1.5, goes_on=True)
    assert common_span([*over, going_on]) == (2, 2.55)
    assert common_span([going_on, Span(begin=1, end=9, goes_on=True)]) == (1, 9)


@pytest.mark.parametrize("past_shortest", [False, True])
def test_seeds_that_share_no_x_have_no_mean(past_shortest: bool) -> None:
    apart = [curve([1, 2, 3], [5, 4, 3]), curve([10, 20, 30], [9, 8, 7], seed=2)]
    assert arm_curves(apart, Band.AUTO, past_shortest=past_shortest) == []
    touching = [*apart[:1], curve([3, 4], [9, 8], seed=2)]
    (arm,) = arm_curves(touching, Band.AUTO, past_shortest=False)
    assert (list(arm.x), list(arm.mean)) == ([3], [6])
    # A mean waits for no run that goes on, but is of two seeds where it begins.
    behind = replace(curve([1], [2], seed=3), state="running")
    (arm,) = arm_curves([*touching, behind], Band.AUTO, past_shortest=past_shortest)
    assert (arm.x[0], arm.mean[0]) == (3, 6)
    assert arm_curves([behind, apart[1]], Band.AUTO, past_shortest=past_shortest) == []


def test_runs_of_a_seed_that_share_no_x_are_not_averaged() -> None:
    runs = [curve([1, 2, 3], [5, 4, 3], depth=1), curve([10, 20, 30], [9, 8, 7], depth=2)]
    found = averaged(runs, ["lr_mult"])
    assert (list(found.curves), found.left_out, found.apart) == ([], 0, 2)


def test_over_a_metric_a_place_is_a_step_with_the_means_of_both_by_size_of_x() -> None:
    first = replace(curve([10, 20, 30, 40], [4, 3, 2, 1]), over=numpy.array([1.0, 3.0, 2.0, 3.0]))
    second = replace(curve([10, 20, 30], [6, 5, 4], seed=2), over=numpy.array([2.0, 6.0, 4.0]))
    (arm,) = arm_curves([first, second], Band.RANGE, past_shortest=False)
    assert (list(arm.x), list(arm.mean)) == ([1.5, 3.0, 4.5], [5.0, 3.0, 4.0])
    assert arm.low is None and arm.high is None
    (longer,) = arm_curves([first, second], Band.RANGE, past_shortest=True)
    assert (list(longer.x), list(longer.mean)) == ([1.5, 3.0, 4.5], [5.0, 1.0, 4.0])  # at 3 the last step counts
    (joined,) = averaged(
        [replace(run, settings={"depth": seed}) for seed, run in enumerate((first, replace(second, seed=1)))], []
    ).curves
    assert joined.over is not None and list(joined.over) == [1.5, 4.5, 3.0] and list(joined.y) == [5, 4, 3]


def test_x_is_an_axis_or_a_metric() -> None:
    assert parse_x("wall-clock", parse_metric) is Axis.WALL_CLOCK
    assert parse_x("grad_norm", parse_metric) == parse_metric("train_grad_norm")
    with pytest.raises(UsageError, match="there is no axis or metric 'val_los'") as refused:
        parse_x("val_los", parse_metric)
    assert "There are steps, " in refused.value.hint and "Did you mean 'val_loss'?" in refused.value.hint


def test_metrics_by_name() -> None:
    assert parse_metric("val_loss").column == "loss" and parse_metric("val_loss").split is Split.VAL
    assert parse_metric("grad_norm").split is Split.TRAIN
    assert parse_metric("val-bits-per-byte").column == "bits_per_byte"
    assert parse_metric("train_z_loss", ["z_loss"]).column == "z_loss"
    assert parse_metric("val_top-5", ["top-5"]).column == parse_metric("top-5", ["top-5"]).column == "top-5"
    with pytest.raises(ExportError) as error:
        parse_metric("val_los")
    assert "val_loss" in error.value.hint


def test_what_does_not_compare_is_refused() -> None:
    mixed = [curve([1], [1]), curve([1], [1], tokenizer="gpt2")]
    with pytest.raises(ExportError) as error:
        check_comparable(mixed, "val_loss", MetricOptions())
    assert "val_bits_per_byte" in error.value.hint
    check_comparable(mixed, "val_bits_per_byte", MetricOptions())
    changed = [curve([1], [1]), curve([1], [1], fingerprint="g")]
    with pytest.raises(ExportError, match="2 versions"):
        check_comparable(changed, "val_loss", MetricOptions())
    check_comparable(changed, "val_loss", MetricOptions(allow_mixed_data=True))
    unknown = curve([1], [1], tokenizer="gpt2", fingerprint="")
    with pytest.raises(ExportError, match="2 versions of their data, with the fingerprints f, g"):
        check_comparable([*changed, unknown], "val_bits_per_byte", MetricOptions())
