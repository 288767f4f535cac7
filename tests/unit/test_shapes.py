"""The shapes of a sweep: which combinations each makes, and what does not fit."""

import itertools
import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hlbgpt_core.errors import SettingsError
from hlbgpt_core.settings import specs
from orchestrator.errors import PlanError
from orchestrator.sweep.options import axes_of
from orchestrator.sweep.plan import make_plan
from orchestrator.sweep.shapes import Axes, Range, Shape, combinations, count, parse_axis

SIZES: Axes = {"depth": (4, 8, 16), "width": (192, 384, 768), "num_heads": (1, 3)}


def made(axes: Axes, **shape: Any) -> list[tuple[Any, ...]]:
    """The combinations as tuples in the order of the axes."""
    return [tuple(given.values()) for given in combinations(axes, Shape(**shape))]


def test_without_a_shape_it_is_the_product() -> None:
    assert made(SIZES) == list(itertools.product(*SIZES.values()))


def test_zipped_axes_walk_together_and_cross_the_others() -> None:
    assert made(SIZES, zips=(("depth", "width"),)) == [
        (4, 192, 1), (4, 192, 3), (8, 384, 1), (8, 384, 3), (16, 768, 1), (16, 768, 3)
    ]  # fmt: skip


def test_the_order_of_names_in_a_zip_and_of_axes_does_not_matter() -> None:
    axes = {"depth": (4, 8), "num_heads": (1, 3), "width": (192, 384)}
    shape = Shape(zips=(("width", "depth"),))
    assert [list(given.items()) for given in combinations(axes, shape)][1] == [
        ("depth", 4), ("num_heads", 3), ("width", 192)
    ]  # fmt: skip


def test_two_zips() -> None:
    axes = {"depth": (4, 8), "width": (192, 384), "lr_mult": (1.0, 2.0), "warmup_steps": (10, 20)}
    assert made(axes, zips=(("depth", "width"), ("lr_mult", "warmup_steps"))) == [
        (4, 192, 1.0, 10), (4, 192, 2.0, 20), (8, 384, 1.0, 10), (8, 384, 2.0, 20)
    ]  # fmt: skip


def test_repeated_values_keep_their_place_in_a_zip() -> None:
    axes = axes_of({"depth": ("4", "4", "8"), "width": ("192", "384", "384")}, repeated={"depth", "width"})
    assert made(axes, zips=(("depth", "width"),)) == [(4, 192), (4, 384), (8, 384)]


def test_one_at_a_time_changes_one_axis_of_a_base() -> None:
    assert made(SIZES, one_at_a_time=True) == [
        (4, 192, 1), (8, 192, 1), (16, 192, 1), (4, 384, 1), (4, 768, 1), (4, 192, 3)
    ]  # fmt: skip


def test_one_at_a_time_changes_zipped_axes_as_one() -> None:
    assert made(SIZES, one_at_a_time=True, zips=(("depth", "width"),)) == [
        (4, 192, 1), (8, 384, 1), (16, 768, 1), (4, 192, 3)
    ]  # fmt: skip


AXES = st.fixed_dictionaries(
    {},
    optional={
        "depth": st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True).map(tuple),
        "num_heads": st.lists(st.integers(1, 9), min_size=1, max_size=4, unique=True).map(tuple),
        "lr_mult": st.one_of(
            st.lists(st.floats(0.1, 9), min_size=1, max_size=3, unique=True).map(tuple),
            st.just((Range(low=1e-4, high=1e-1),)),
        ),
        "warmup_steps": st.just((Range(low=3, high=7),)),
    },
)


@settings(max_examples=80, deadline=None)
@given(axes=AXES, draws=st.integers(1, 60), seed=st.integers(0, 99))
def test_draws_are_within_the_axes_all_different_and_the_same_each_time(axes: Axes, draws: int, seed: int) -> None:
    shape = Shape(random_draws=draws, random_seed=seed)
    found = [tuple(given.items()) for given in combinations(axes, shape)]
    assert found == [tuple(given.items()) for given in combinations(axes, shape)]
    assert len(set(found)) == len(found) <= count(axes, shape) <= draws
    if all(not isinstance(values[0], Range) for values in axes.values()):
        assert len(found) == min(draws, math.prod(len(values) for values in axes.values()))
    for name, value in itertools.chain.from_iterable(found):
        first = axes[name][0]
        assert first.low <= value <= first.high if isinstance(first, Range) else value in axes[name]
        assert type(value) is specs()[name].type


def test_another_random_seed_draws_other_arms() -> None:
    axes = {"lr_mult": (Range(low=1e-4, high=1e-1),)}
    assert made(axes, random_draws=5, random_seed=0) != made(axes, random_draws=5, random_seed=1)


def test_the_same_command_draws_the_same_arms_in_every_version() -> None:
    axes = {"lr_mult": (Range(low=1e-4, high=1e-1),), "depth": (4, 8, 16)}
    assert made(axes, random_draws=3) == [(0.0341402, 16), (0.0018269, 4), (0.00341841, 8)]


def test_a_range_is_drawn_on_a_logarithmic_scale() -> None:
    drawn = [value for (value,) in made({"lr_mult": (Range(low=1e-4, high=1e-1),)}, random_draws=3000)]
    for low in (1e-4, 1e-3, 1e-2):
        assert 850 < sum(low <= value < 10 * low for value in drawn) < 1150
    whole = [value for (value,) in made({"depth": (Range(low=1, high=100),)}, random_draws=100)]
    assert sorted(whole) == list(range(1, 101)), "every whole number can be drawn, the ends too"


@pytest.mark.parametrize(
    ("axes", "shape", "words"),
    [
        ({"depth": (4, 8), "width": (64,)}, {"zips": (("depth", "width"),)}, "depth has 2 values and width has 1"),
        ({"depth": (4, 8)}, {"zips": (("depth", "width"),)}, "no values of width"),
        ({"depth": (4, 8)}, {"zips": (("depth", "widht"),)}, "Did you mean 'width'?"),
        ({"depth": (4, 8)}, {"zips": (("depth",),)}, "alone cannot be paired"),
        ({"depth": (4, 8)}, {"zips": (("depth", "depth"),)}, "names depth twice"),
        (SIZES, {"zips": (("depth", "width"), ("width", "num_heads"))}, "names width twice"),
        (
            {"depth": (4,), "lr_mult": (Range(low=1.0, high=2.0),)},
            {"zips": (("depth", "lr_mult"),), "random_draws": 2},
            "no list of values to pair",
        ),
        ({"lr_mult": (Range(low=1.0, high=2.0),)}, {}, "Add --random N"),
        ({"lr_mult": (Range(low=1.0, high=2.0),)}, {"one_at_a_time": True}, "1.0..2.0 is a range"),
        (SIZES, {"one_at_a_time": True, "random_draws": 3}, "given together"),
    ],
)
def test_what_does_not_fit(axes: Axes, shape: dict[str, Any], words: str) -> None:
    with pytest.raises((PlanError, SettingsError)) as caught:
        make_plan(axes, shape=Shape(**shape))
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("name", "texts", "words"),
    [
        ("lr_mult", ["0..1"], "too small"),
        ("weight_decay", ["0..1"], "above 0"),
        ("lr_mult", ["2..1"], "must rise"),
        ("lr_mult", ["1..1"], "must rise"),
        ("lr_mult", ["1.."], "'' is not a number"),
        ("lr_mult", ["1..x"], "'x' is not a number"),
        ("depth", ["-4..4"], "above 0"),
        ("depth", ["1.5..4"], "not a whole number"),
        ("lr_mult", ["1..2", "3"], "with other values"),
    ],
)
def test_ranges_that_are_refused(name: str, texts: list[str], words: str) -> None:
    with pytest.raises((PlanError, SettingsError)) as caught:
        parse_axis(specs()[name], texts)
    assert words in str(caught.value)


@pytest.mark.parametrize("name", [name for name, spec in specs().items() if spec.type in (int, float)])
def test_the_ranges_that_a_refusal_offers_are_ranges(name: str) -> None:
    spec = specs()[name]
    with pytest.raises(PlanError) as caught:
        parse_axis(spec, ["7..7"])
    offered = caught.value.hint.partition(f"--{name} ")[2].split(", or ")
    assert len(offered) == 2 and all(isinstance(parse_axis(spec, [text])[0], Range) for text in offered)


def test_a_range_wider_than_the_largest_number_is_drawn_too() -> None:
    wide = Range(low=1e-300, high=1e300)
    assert wide.at(0.5) == pytest.approx(1.0) and wide.at(0.25) == pytest.approx(1e-150)


def test_a_path_with_two_dots_is_no_range() -> None:
    assert parse_axis(specs()["dataset"], ["text:../notes..txt"]) == ("text:../notes..txt",)


@pytest.mark.parametrize(
    "shape",
    [
        Shape(),
        Shape(zips=(("depth", "width"), ("lr_mult", "weight_decay")), where=("depth > 4",)),
        Shape(one_at_a_time=True),
        Shape(random_draws=7, random_seed=3),
    ],
)
def test_a_shape_survives_its_record(shape: Shape) -> None:
    assert Shape.from_dict(shape.to_dict()) == shape


def test_where_leaves_arms_out_by_their_resolved_settings() -> None:
    plan = make_plan({"model_scale": (0.5, 1.0), "num_heads": (1, 6)}, shape=Shape(where=("width / num_heads >= 64",)))
    assert [(arm.settings.width, arm.settings.num_heads) for arm in plan.arms] == [(256, 1), (384, 1), (384, 6)]
    (left,) = plan.left_out
    assert left.given == {"model_scale": 0.5, "num_heads": 6}


def test_where_names_itself_as_the_reason() -> None:
    plan = make_plan({"num_heads": (1, 3)}, shape=Shape(where=("num_heads > 1", "depth > 1")))
    assert plan.left_out[0].reason == "--where 'num_heads > 1' is not true"
    with pytest.raises(PlanError, match="no combination"):
        make_plan({"num_heads": (1, 3)}, shape=Shape(where=("num_heads > 3",)))


def test_zipped_depth_and_width_are_checked_pair_by_pair() -> None:
    axes = {"depth": (-1, 8), "width": (-1, 384), "lr_mult": (1.0, 2.0)}
    plan = make_plan(axes, shape=Shape(zips=(("depth", "width"),)))
    assert (len(plan.arms), plan.duplicates) == (2, 2)
    with pytest.raises(PlanError, match="set both or neither"):
        make_plan(axes)
