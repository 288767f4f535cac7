"""The step of `search`: no arm twice, none that can't be trained, never past its number, and Optuna's own proposals."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.decide import results_of
from orchestrator.comparison.judging.policy import REJECTED, PolicyState
from orchestrator.comparison.measuring.measures import Goal
from orchestrator.growth import decide
from orchestrator.growth.search import (
    OPEN,
    ArmOutcome,
    Result,
    SearchPolicy,
    SearchState,
    SearchStep,
    confirmation_of,
    next_step,
    sampler_of,
)
from orchestrator.growth.search_space import Space
from orchestrator.sweep.expressions import Expression
from orchestrator.sweep.options import axes_of
from orchestrator.sweep.shapes import Shape, tracks_of

optuna = pytest.importorskip("optuna")

SIZES = {"depth": [2], "width": [192]}
WIDE = {"lr_mult": ["0.5..8"], "warmup_steps": ["20..400"], "num_heads": [1, 2, 3]}


def space_of(axes: Mapping[str, Sequence[Any]], *, where: Sequence[str] = (), zips: Sequence[Any] = ()) -> Space:
    shape = Shape(where=tuple(where), zips=tuple(map(tuple, zips)))
    given = axes_of({**SIZES, **axes}, repeated=shape.zipped())
    return Space(tracks=tracks_of(given, shape), wheres=[Expression(text) for text in where])


def policy_of(space: Space, trials: int = 12, **changed: Any) -> SearchPolicy:
    first = {", ".join(track.names): track.range.low if track.range else 0 for track in space.tracks}
    varying = set(space.distributions())
    values: dict[str, Any] = {
        "metric": "val_loss",
        "goal": Goal.LOWER,
        "trials": trials,
        "sampler": "tpe",
        "seed": 0,
        "num_runs": 1,
        "first": {name: value for name, value in first.items() if name in varying},
    }
    return SearchPolicy(**(values | changed))


def loss_of(values: Mapping[str, Any]) -> float:
    """A bowl over the learning rate and the warm-up."""
    lr, warmup = float(values.get("lr_mult", 1)), float(values.get("warmup_steps", 100))
    return (math.log(lr) - 1) ** 2 + 0.1 * (math.log(warmup) - 4) ** 2 + 0.1 * values.get("num_heads", 1)


def searched(
    policy: SearchPolicy, space: Space, *, workers: int = 1, order: Sequence[int] = (0,), faults: Sequence[int] = ()
) -> tuple[SearchStep, dict[str, Result], list[dict[str, Any]]]:
    """Search to the end: of the open arms the next in `order` ends, and the due step is taken after each."""
    results: dict[str, Result] = {}
    settings_of: dict[str, dict[str, Any]] = {}
    state, given = SearchState(), []
    for turn in range(10 * policy.trials):
        step = next_step(policy, space, results, state, workers=workers)
        assert step.state.trials[: len(state.trials)] == state.trials
        state = step.state
        for trial in state.trials:
            if trial.arm and trial.arm not in settings_of:
                settings_of[trial.arm] = space.given(trial.choices)
                given.append(settings_of[trial.arm])
        open_arms = [arm for arm in state.arms if results.get(arm, OPEN).outcome is ArmOutcome.OPEN]
        assert len(open_arms) <= max(1, workers)
        if step.ends:
            assert not open_arms
            return step, results, given
        assert open_arms, "the search is open, and nothing is under way"
        arm = open_arms[order[turn % len(order)] % len(open_arms)]
        kind = faults[turn % len(faults)] if faults else 0
        outcome = (ArmOutcome.MEASURED, ArmOutcome.DIVERGED, ArmOutcome.FAILED, ArmOutcome.PRUNED)[kind]
        value = loss_of(settings_of[arm]) if kind in (0, 3) else None
        results[arm] = Result(outcome=outcome, value=value, rung=1000 if kind == 3 else None)
    raise AssertionError("the search never ends")


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**40),
    workers=st.integers(1, 4),
    order=st.lists(st.integers(0, 9), min_size=1, max_size=6),
    faults=st.lists(st.integers(0, 3), max_size=5),
    sampler=st.sampled_from(["tpe", "random"]),
    trials=st.integers(2, 16),
    goal=st.sampled_from(list(Goal)),
)
def test_no_arm_twice_none_invalid_and_never_too_many(
    seed: int, workers: int, order: list[int], faults: list[int], sampler: str, trials: int, goal: Goal
) -> None:
    space = space_of(WIDE, where=["num_heads != 2", "lr_mult < 6"])
    policy = policy_of(space, trials, seed=seed, sampler=sampler, goal=goal)
    step, results, given = searched(policy, space, workers=workers, order=order, faults=faults)
    arms = step.state.arms
    assert len(arms) == len(set(arms)) == trials and set(arms) == set(results)
    for values in given:
        assert values["num_heads"] != 2 and 0.5 <= values["lr_mult"] < 6 and 20 <= values["warmup_steps"] <= 400
        assert isinstance(values["warmup_steps"], int)
    invalid = [trial for trial in step.state.trials if not trial.arm]
    assert sum(step.state.left_out.values()) == len(invalid)


@pytest.mark.parametrize("sampler", ["tpe", "random"])
@pytest.mark.parametrize("goal", list(Goal))
@pytest.mark.parametrize("faults", [(), (0, 3, 3)], ids=["all to the end", "two of three stopped early"])
def test_the_proposals_are_those_of_optuna_used_directly(sampler: str, goal: Goal, faults: Sequence[int]) -> None:
    space = space_of({"lr_mult": ["0.5..8"], "warmup_steps": ["20..400:linear"], "num_heads": [1, 3]})
    policy = policy_of(space, 25, sampler=sampler, goal=goal, seed=7)
    step, results, _ = searched(policy, space, faults=faults)
    distributions = {
        "num_heads": optuna.distributions.CategoricalDistribution((0, 1)),
        "lr_mult": optuna.distributions.FloatDistribution(0.5, 8, log=True),
        "warmup_steps": optuna.distributions.IntDistribution(20, 400),
    }
    study = optuna.create_study(direction="minimize" if goal is Goal.LOWER else "maximize")
    for number, trial in enumerate(step.state.trials):
        choices = dict(trial.choices)
        if number:
            study.sampler = sampler_of(policy, number)
            asked = study.ask({name: distributions[name] for name in space.distributions()})
            assert choices == {**asked.params, "lr_mult": pytest.approx(asked.params["lr_mult"], rel=1e-5)}
            study.tell(asked, state=optuna.trial.TrialState.FAIL)
        result = results[trial.arm]
        kind: dict[str, Any] = {"value": result.value}
        if result.rung is not None:
            kind = {"intermediate_values": {result.rung: result.value}, "state": optuna.trial.TrialState.PRUNED}
        study.add_trial(optuna.create_trial(params=choices, distributions=distributions, **kind))


def test_a_batch_is_what_single_steps_would_propose() -> None:
    """A step for four workers is four steps for one more each: who asks does not matter."""
    space = space_of(WIDE)
    policy = policy_of(space, 20)
    _, results, _ = searched(replace(policy, trials=12), space)
    state = next_step(replace(policy, trials=12), space, {}, SearchState(), workers=1).state
    at_once = next_step(policy, space, {}, state, workers=4).state
    for workers in (2, 3, 4):
        state = next_step(policy, space, {}, state, workers=workers).state
    assert state == at_once and len(state.arms) == 4 and results


def test_the_same_seed_and_results_give_the_same_arms_and_another_seed_gives_others() -> None:
    space = space_of(WIDE)
    policy = policy_of(space)
    arms = searched(policy, space)[0].state.arms
    assert searched(policy, space)[0].state.arms == arms
    assert searched(replace(policy, seed=1), space)[0].state.arms != arms


@pytest.mark.parametrize("sampler", ["tpe", "random"])
def test_a_finite_space_that_is_used_up_ends_the_search(sampler: str) -> None:
    """Zipped settings count as one; the combination that `where` forbids costs nothing."""
    axes = {"num_heads": [1, 2, 3], "depth": [2, 4], "width": [192, 384], "warmup_steps": ["20..22"]}
    space = space_of(axes, zips=[("depth", "width")], where=["num_heads != 2 or depth == 2"])
    step, _, given = searched(policy_of(space, 100, sampler=sampler), space)
    assert len(given) == (3 * 2 - 1) * 3 and step.ends == "no further arm can be trained: 15 arms were tried"
    assert {(one["depth"], one["width"]) for one in given} == {(2, 192), (4, 384)}


def test_an_infinite_space_without_a_valid_arm_ends_the_search() -> None:
    space = space_of({"lr_mult": ["0.5..8"]}, where=["lr_mult == 0.5"])
    step, _, given = searched(policy_of(space, 5), space)
    assert len(given) == 1 and step.ends.startswith("no further arm") and step.state.left_out


def test_widths_that_round_to_the_same_are_one_arm() -> None:
    space = space_of({"width": ["64..256"]})
    step, _, _ = searched(policy_of(space, 100, first={"width": 64}), space)
    assert len(step.state.arms) == 4


def test_a_search_that_is_held_proposes_nothing() -> None:
    space = space_of(WIDE)
    policy = policy_of(space)
    first = next_step(policy, space, {}, SearchState()).state
    done = {first.arms[0]: Result(outcome=ArmOutcome.MEASURED, value=1.0)}
    assert not next_step(policy, space, done, first, workers=0).arms
    assert len(next_step(policy, space, done, first, workers=2).arms) == 2


def test_seeds_of_an_arm_keep_workers_busy() -> None:
    """Four workers and arms of two seeds: two arms."""
    space = space_of(WIDE)
    step = next_step(policy_of(space, num_runs=2), space, {}, SearchState(), workers=4)
    assert len(step.state.arms) == 2


def test_the_best_are_confirmed_on_seeds_of_their_own() -> None:
    space = space_of(WIDE)
    policy = policy_of(space, confirm=2, confirmation={"max_seeds": 8, "first_look": 3})
    step, results, _ = searched(policy, space)
    baseline, *others = step.state.arms
    ranked = sorted(others, key=lambda arm: results[arm].value or 0.0)
    found = confirmation_of(policy, results, step.state.arms, first_seed=103)
    assert found is not None and list(found.arms) == ranked[:2] and set(found.baselines) == {baseline}
    assert (found.first_seed, found.max_seeds, found.is_capped) == (103, 8, True)
    assert step.state.best == min(step.state.arms, key=lambda arm: results[arm].value or 0.0)
    nothing = {baseline: results[baseline]}
    assert confirmation_of(policy, nothing, step.state.arms, first_seed=103) is None


def test_the_luckiest_of_equal_arms_is_not_confirmed() -> None:
    """Its number is too good; on fresh seeds at most one search of twenty has any verdict."""
    generator = numpy.random.default_rng(0)
    space = space_of(WIDE)
    policy = policy_of(space, 30, confirm=3, confirmation={"max_seeds": 20, "first_look": 3})
    arms = [str(number) for number in range(30)]
    luck, verdicts, searches = [], 0, 400
    for _ in range(searches):
        values = dict(zip(arms, generator.standard_normal(30), strict=True))
        results = {arm: Result(outcome=ArmOutcome.MEASURED, value=value) for arm, value in values.items()}
        luck.append(min(values.values()) - values["0"])
        chosen = confirmation_of(policy, results, arms, first_seed=101)
        assert chosen is not None
        fresh = generator.standard_normal((len(chosen.everyone), 20))
        seen = results_of(chosen, fresh, dict.fromkeys(chosen.everyone, 20))
        closures = decide.next_step(chosen, seen, PolicyState()).state.closures
        verdicts += any(closure.reason in REJECTED for closure in closures)
    assert numpy.mean(luck) < -1.5
    assert verdicts <= 0.05 * searches + 3 * math.sqrt(0.05 * 0.95 * searches)
