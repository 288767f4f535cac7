"""Early stopping: rungs of a length, and Optuna's own word at each, whatever the order in which runs reach them."""

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.comparison.measuring.measures import Goal
from orchestrator.growth.early_stopping import goes_on, rungs_of
from tests.unit.growth.test_search_step import policy_of, space_of

optuna = pytest.importorskip("optuna")

SPACE = space_of({"lr_mult": ["0.5..8"]})


def stopping(**changed: Any) -> Any:
    return policy_of(SPACE, stop_early="asha", **changed)


@pytest.mark.parametrize(
    ("first_rung", "reduction", "length", "rungs"),
    [(0.25, 3, 1000, (250, 750)), (0.1, 2, 1000, (100, 200, 400, 800)), (0.5, 2, 1000, (500,)), (0.001, 9, 5, (1,))],
)
def test_rungs_are_shares_of_a_run_and_never_its_end(
    first_rung: float, reduction: int, length: int, rungs: Sequence[int]
) -> None:
    assert rungs_of(stopping(first_rung=first_rung, reduction=reduction), length) == rungs


@settings(max_examples=40, deadline=None)
@given(
    values=st.lists(st.tuples(st.floats(0, 9), st.floats(0, 9)), min_size=1, max_size=12),
    order=st.lists(st.integers(0, 11), max_size=40),
    reduction=st.integers(2, 4),
    goal=st.sampled_from(list(Goal)),
)
def test_the_word_at_each_rung_is_that_of_optuna_used_directly(
    values: list[tuple[float, float]], order: list[int], reduction: int, goal: Goal
) -> None:
    """Trials that report to Optuna at both rungs, in any order, are stopped where ours are."""
    policy = stopping(reduction=reduction, goal=goal, first_rung=0.1)
    places = rungs_of(policy, 1000)[:2]
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=places[0], reduction_factor=reduction)
    direction = "minimize" if goal is Goal.LOWER else "maximize"
    study = optuna.create_study(direction=direction, pruner=pruner)
    trials = [study.ask() for _ in values]
    at_rung: list[dict[int, float]] = [{}, {}]
    left = {number: [0, 1] for number in range(len(values))}
    for turn in [*order, *range(len(values)), *range(len(values))]:
        number = turn % len(values)
        if not left[number]:
            continue
        rung = left[number].pop(0)
        value = values[number][rung]
        trials[number].report(value, places[rung])
        is_kept = goes_on(policy, places[rung], value, list(at_rung[rung].values()))
        assert is_kept != trials[number].should_prune()
        at_rung[rung][number] = value
        if not is_kept:
            left[number] = []
