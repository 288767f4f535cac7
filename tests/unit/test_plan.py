"""Planning: the product of axes and seeds, what is left out and why."""

import ast
import inspect
import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hlbgpt_core import scale
from hlbgpt_core.errors import SettingsError
from hlbgpt_core.scale import token_limit
from hlbgpt_core.settings import Settings
from orchestrator.errors import PlanError
from orchestrator.sweep.plan import MAX_RUNS, SIZED_BY, make_plan
from orchestrator.sweep.shapes import Shape

AXES = st.fixed_dictionaries(
    {},
    optional={
        "num_heads": st.lists(st.integers(1, 9), min_size=1, max_size=3, unique=True).map(tuple),
        "qk_dim_div": st.lists(st.sampled_from((2, 4, 8, 500)), min_size=1, max_size=2, unique=True).map(tuple),
        "model_scale": st.lists(st.sampled_from((0.01, 0.5, 1.0, 2.0)), min_size=1, max_size=2, unique=True).map(tuple),
        "recipe": st.sampled_from((("0.4.1",), ("0.3.0",), ("0.3.0", "0.4.1"))),
        "gpu_capacity_scalar": st.lists(st.sampled_from((0.01, 1.0)), min_size=1, max_size=2, unique=True).map(tuple),
        "lr_mult": st.sampled_from(((1.0,), (1.0, 2.0))),
        "linear_value": st.sampled_from(((False,), (True,), (False, True))),
    },
)


def test_the_line_of_the_older_script() -> None:
    plan = make_plan(
        {"max_epochs": (5.0,), "depth": (4, 8, 16, 32), "width": (192, 384), "num_heads": (1, 3, 6)},
        num_runs=5,
        first_seed=1000,
    )
    assert len(plan.arms) == 24
    assert plan.total_runs == 120
    assert plan.left_out == ()
    assert {arm.settings.max_epochs for arm in plan.arms} == {5.0}


def test_every_arm_gets_its_first_seed_before_any_its_second() -> None:
    plan = make_plan({"num_heads": (1, 2, 3)}, num_runs=3, first_seed=7)
    runs = plan.new_runs()
    assert [(run.seed, run.run_num, run.arm) for run in runs] == [
        (6 + run_num, run_num, arm) for run_num in (1, 2, 3) for arm in (0, 1, 2)
    ]


def test_one_drawn_combination_is_one() -> None:
    plan = make_plan({"depth": (4,), "width": (128,)}, shape=Shape(random_draws=9), num_runs=1, first_seed=1)
    assert plan.warnings == ("--random 9 draws more than there is: 1 different combination",)


@pytest.mark.parametrize("scalar", [1e13, 1e300, 1.7e308])
def test_a_capacity_that_no_device_has_is_left_out(scalar: float) -> None:
    with pytest.raises(PlanError, match=r"gpu_capacity_scalar .* is too large: use at most 1e\+12"):
        make_plan({"gpu_capacity_scalar": (scalar,)}, num_runs=1, first_seed=1)


@pytest.mark.parametrize(("first", "runs", "named"), [(2**63 - 1, 2, 2**63), (-1, 5, -1), (2**63 - 3, 9, 2**63 + 5)])
def test_the_seed_that_is_out_of_range_is_named(first: int, runs: int, named: int) -> None:
    with pytest.raises(PlanError, match=rf"^seed {named} is out of range\n"):
        make_plan({"num_heads": (1,)}, num_runs=runs, first_seed=first)


@settings(max_examples=60, deadline=None)
@given(axes=AXES, num_runs=st.integers(1, 4), seed=st.integers(0, 10**6))
def test_every_combination_is_an_arm_a_duplicate_or_left_out(axes: dict[str, tuple], num_runs: int, seed: int) -> None:
    combinations = [dict(zip(axes, values, strict=True)) for values in itertools.product(*axes.values())]
    try:
        plan = make_plan(axes, num_runs=num_runs, first_seed=seed)
    except PlanError as error:
        assert "no combination" in error.message
        assert all(_trained(given) is None for given in combinations)
        return
    assert len(plan.arms) + plan.duplicates + len(plan.left_out) == len(combinations)
    assert {arm.key for arm in plan.arms} == {key for given in combinations if (key := _trained(given))}
    assert len({arm.key for arm in plan.arms}) == len(plan.arms)
    assert all(_trained(left.given) is None and left.reason for left in plan.left_out)
    seeds_of = {arm: [run.seed for run in plan.new_runs() if run.arm == arm] for arm in range(len(plan.arms))}
    assert all(seeds == list(range(seed, seed + num_runs)) for seeds in seeds_of.values())


def _trained(given: dict[str, object]) -> str | None:
    """The key of one combination worked out on its own; None where it can't be trained."""
    recipe = given.get("recipe", "0.4.1")
    if recipe == "0.3.0" and {"linear_value", "qk_dim_div", "lr_mult"} & set(given):
        return None
    try:
        resolved = scale.resolve(Settings.from_dict(given))
        scale.check(resolved)
    except SettingsError:
        return None
    return resolved.key()


def test_arms_are_resolved_and_carry_their_sizes() -> None:
    (arm,) = make_plan({}).arms
    assert (arm.settings.depth, arm.settings.width) == (8, 384)
    assert arm.sizes.num_params == 46_009_736
    assert arm.key == arm.settings.key()


@pytest.mark.parametrize(
    ("axes", "words"),
    [
        ({"num_heads": (1, 5)}, "num_heads 5 does not divide width 384"),
        ({"num_heads": (1, 32)}, "does not divide the query-key width 48"),
        ({"model_scale": (1.0, 0.01)}, "model_scale 0.01 is too small"),
        ({"gpu_capacity_scalar": (1.0, 0.001)}, "holds no more than one sequence"),
        ({"depth": (4,), "width": (384, 20)}, "width 20 rounds to 0"),
        ({"recipe": ("0.4.1", "0.3.0"), "lr_mult": (2.0,)}, "lr_mult is not a setting of recipe 0.3.0"),
        ({"initial_sequence_length": (32, 2048)}, "initial_sequence_length 2048 is above"),
    ],
)
def test_what_cannot_be_trained_is_left_out_with_the_reason(axes: dict[str, tuple], words: str) -> None:
    plan = make_plan(axes)
    assert len(plan.arms) == 1
    (left,) = plan.left_out
    assert words in left.reason
    assert left.given == {name: values[-1] for name, values in axes.items()}


def test_a_setting_that_a_recipe_does_not_use_counts_only_where_it_was_given() -> None:
    plan = make_plan({"recipe": ("0.4.1", "0.3.0")})
    assert [arm.settings.recipe for arm in plan.arms] == ["0.4.1", "0.3.0"]
    assert [arm.settings.num_heads for arm in plan.arms] == [1, 3]


@pytest.mark.parametrize(
    "axes",
    [
        {"depth": (4,)},
        {"width": (64,)},
        {"width": (0, 64)},
        {"depth": (4, -1), "width": (384,)},
        {"depth": (4, 8), "width": (384, 0)},
    ],
)
def test_depth_without_width_in_any_combination_is_an_error(axes: dict[str, tuple]) -> None:
    with pytest.raises(PlanError, match="set both or neither"):
        make_plan(axes)


def test_an_empty_expansion_lists_the_reasons() -> None:
    with pytest.raises(PlanError) as caught:
        make_plan({"num_heads": tuple(range(101, 111))})
    assert "10 left out" in caught.value.message
    assert "num_heads 101 does not divide width 384" in caught.value.hint
    assert "and 5 other reasons" in caught.value.hint


def test_duplicates_are_merged_and_said() -> None:
    plan = make_plan({"width": (370, 384, 390), "depth": (8,), "model_scale": (0.5, 1.0)})
    assert len(plan.arms) == 1
    assert plan.duplicates == 5
    assert plan.warnings == (
        "width 370 becomes 384: widths are multiples of 64",
        "width 390 becomes 384: widths are multiples of 64",
        "model_scale has no effect when depth and width are set",
        "5 combinations come to the same settings as another, and count once",
    )


def test_explicit_sizes_and_a_scale_that_comes_to_them_are_one_arm() -> None:
    assert make_plan({"depth": (8,), "width": (384,)}).arms[0].key == make_plan({}).arms[0].key


def test_an_unknown_tokenizer_is_an_error_even_beside_a_known_one() -> None:
    with pytest.raises(SettingsError, match="'gpt9' is not known"):
        make_plan({"tokenizer": ("gpt2", "gpt9")})


@pytest.mark.parametrize("seeds", [{"num_runs": 0}, {"first_seed": -1}, {"first_seed": 2**63}, {"num_runs": 2**63}])
def test_seeds_out_of_range(seeds: dict[str, int]) -> None:
    with pytest.raises(PlanError):
        make_plan({}, **seeds)


def test_too_many_runs_are_refused_before_they_are_made() -> None:
    with pytest.raises(PlanError, match="at most"):
        make_plan({"lr_mult": tuple(float(value) for value in range(1, 1002))}, num_runs=MAX_RUNS // 1000)


def test_varying_names_the_settings_that_differ() -> None:
    assert make_plan({"num_heads": (1, 3), "max_epochs": (2.0,)}).varying() == ("num_heads",)


def test_the_settings_that_size_a_model_are_those_that_scale_reads() -> None:
    tree = ast.parse(inspect.getsource(scale))
    sizing = [part for part in tree.body if getattr(part, "name", "") != "token_limit"]
    read = {
        node.attr
        for part in sizing
        for node in ast.walk(part)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "settings"
    }
    assert read == SIZED_BY


def test_token_limits() -> None:
    (arm,) = make_plan({"max_tokens": (1000,), "max_steps": (10,), "max_microbatches": (2,)}).arms
    assert token_limit(arm.settings) == 1000
    (arm,) = make_plan({"max_steps": (10,), "max_microbatches": (2,)}).arms
    assert token_limit(arm.settings) == 20 * arm.sizes.microbatch_tokens
    (arm,) = make_plan({"max_steps": (10,)}).arms
    assert token_limit(arm.settings) is None
    assert token_limit(arm.settings, train_tokens=7) == 7


def test_the_first_batches_of_0_3_0_bound_its_tokens_and_not_the_capacity_of_0_4_1() -> None:
    named = {"recipe": ("0.3.0",), "max_steps": (100,), "max_microbatches": (1,)}
    (arm,) = make_plan(named).arms
    assert token_limit(arm.settings) == 100 * 64 * 512
    short = {"max_sequence_length": (256,), "initial_sequence_length": (16,), "gpu_capacity_scalar": (0.001,)}
    (arm,) = make_plan({**named, **short, "num_eval_tokens": (2048,)}).arms
    assert token_limit(arm.settings) == 100 * 16 * 16
