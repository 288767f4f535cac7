"""Means, bands, smoothing and what may be drawn together."""

from typing import Any

import numpy
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from hlbgpt_core.points import Split
from orchestrator.errors import ExportError
from orchestrator.export.metric_names import parse_metric
from orchestrator.plots.curve_sets import Band, arm_curves, common_x
from orchestrator.plots.run_curves import RunCurve, check_comparable, smoothed


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
    averaged = smoothed(numpy.array(values), weight)
    assert averaged[0] == pytest.approx(values[0])
    assert min(values) - 1e-9 <= averaged.min() and averaged.max() <= max(values) + 1e-9


def test_curves_that_do_not_overlap_give_a_single_x() -> None:
    assert len(common_x([numpy.array([1.0, 2.0]), numpy.array([5.0, 6.0])], past_shortest=False)) == 1


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
        check_comparable(mixed, "val_loss", allow_mixed_data=False)
    assert "val_bits_per_byte" in error.value.hint
    check_comparable(mixed, "val_bits_per_byte", allow_mixed_data=False)
    changed = [curve([1], [1]), curve([1], [1], fingerprint="g")]
    with pytest.raises(ExportError, match="2 different versions"):
        check_comparable(changed, "val_loss", allow_mixed_data=False)
    check_comparable(changed, "val_loss", allow_mixed_data=True)
