"""How many seeds a verdict needs: bounds that hold, the power that is promised, and noise learned from runs."""

import math

import numpy
import pytest

from orchestrator.comparison.planning import contrasts_in, learned_noise, seed_plan, seeds_needed
from orchestrator.comparison.statistics import ALPHA, always_valid_critical_t, always_valid_p_value, fewest_pairs
from orchestrator.sweep.options import axes_of
from orchestrator.sweep.plan import make_plan
from orchestrator.sweep.shapes import Shape


@pytest.mark.parametrize("contrasts", [1, 2, 3, 8, 30, 1000])
def test_below_the_fewest_pairs_not_even_differences_without_spread_decide(contrasts: int) -> None:
    fewest = fewest_pairs(ALPHA / contrasts)
    assert float(always_valid_p_value(math.inf, fewest)) <= ALPHA / contrasts
    assert fewest == 2 or float(always_valid_p_value(math.inf, fewest - 1)) > ALPHA / contrasts
    assert math.isfinite(always_valid_critical_t(fewest, ALPHA / contrasts))


def test_one_arm_against_a_baseline_takes_four_seeds() -> None:
    assert (seed_plan(1).fewest, seed_plan(30).fewest) == (4, 6)


@pytest.mark.parametrize(("effect", "contrasts"), [(1.0, 1), (2.0, 3), (0.7, 8)])
def test_the_seeds_needed_find_the_effect_in_four_of_five_cases(effect: float, contrasts: int) -> None:
    level = ALPHA / contrasts
    needed = seeds_needed(effect, 1.0, level)
    assert needed is not None
    draws = numpy.random.default_rng(5).normal(effect, 1.0, size=(20_000, needed))
    t = draws.mean(axis=1) / draws.std(axis=1, ddof=1) * math.sqrt(needed)
    found = float(numpy.mean(always_valid_p_value(t, needed) <= level))
    assert found >= 0.79
    # One seed fewer would not do.
    fewer = draws[:, : needed - 1]
    t = fewer.mean(axis=1) / fewer.std(axis=1, ddof=1) * math.sqrt(needed - 1)
    assert float(numpy.mean(always_valid_p_value(t, needed - 1) <= level)) < 0.81


def test_small_effects_need_more_than_anybody_trains() -> None:
    assert seeds_needed(0.001, 1.0, ALPHA) is None
    assert seeds_needed(0.01, 0.0, ALPHA) == seeds_needed(0.01, 1e-14, ALPHA) == 4


@pytest.mark.parametrize("arms", [2, 12])
def test_learned_noise_is_an_upper_limit_of_the_deviation_of_differences(arms: int) -> None:
    generator = numpy.random.default_rng(3)
    above = 0
    for _ in range(400):
        table = generator.normal(0, 0.1, (arms, 4)) + generator.normal(0, 1, 4) + numpy.arange(arms)[:, None]
        cells = {f"arm {arm}": dict(enumerate(row.tolist())) for arm, row in enumerate(table)}
        del cells["arm 1"][0]  # a run that failed
        noise = learned_noise([cells])
        assert noise is not None and noise.degrees == 3 * (arms - 1) - 1
        above += noise.deviation > 0.1 * math.sqrt(2)
    assert 300 <= above <= 340  # four of five
    assert learned_noise([{"a": {1: 2.0}}, {"a": {1: 2.0}, "b": {1: 3.0}}]) is None


def test_seeds_that_change_nothing_leave_no_noise_that_counts() -> None:
    alike = {name: dict.fromkeys(range(5), 3.0 + effect) for name, effect in (("a", 0.0), ("b", 0.1), ("c", 0.3))}
    noise = learned_noise([alike])
    assert noise is not None and seeds_needed(0.01, noise.deviation, ALPHA) == 4


def test_arms_are_compared_with_the_base_arm_or_each_with_its_counterpart() -> None:
    product = make_plan(axes_of({"num_heads": [1, 3], "lr_mult": [1, 2, 3]}))
    assert contrasts_in(product, {}) == 5
    assert contrasts_in(product, {"num_heads": 1}) == 3
    assert contrasts_in(product, {"lr_mult": 1.0}) == 4
    sized = make_plan(axes_of({"depth": [4, 8, 16], "width": [192, 384]}))
    assert contrasts_in(sized, {"depth": 4}) == 4, "the true model_scale differs with the depth"
    drawn = make_plan(axes_of({"num_heads": [1, 3, 6]}), shape=Shape(random_draws=2))
    assert contrasts_in(drawn, {}) == 0
    assert contrasts_in(make_plan(axes_of({"num_heads": [1]})), {}) == 0
