"""The table of transitions and the policy of each ending (orchestrator/queue/states.py)."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.queue.states import (
    TERMINAL,
    TRANSITIONS,
    Action,
    Limits,
    Reason,
    Spent,
    State,
    outcome_of_ending,
    sources,
)

LEGAL = {
    ("pending", "claim", "running"),
    ("pending", "cancel", "cancelled"),
    ("running", "finish", "completed"),
    ("running", "fail", "failed"),
    ("running", "give back", "pending"),
    ("running", "cancel", "cancelled"),
    ("running", "prune", "cancelled"),
    ("failed", "retry", "pending"),
    ("cancelled", "retry", "pending"),
}


def test_exactly_the_designed_transitions_are_legal() -> None:
    found = {
        (state.value, action.value, after.value)
        for state, action in itertools.product(State, Action)
        if (after := TRANSITIONS.get((state, action))) is not None
    }
    assert found == LEGAL


def test_only_retry_leaves_a_terminal_state_and_nothing_leaves_completed() -> None:
    assert {action for state, action in TRANSITIONS if state in TERMINAL} == {Action.RETRY}
    assert not [action for state, action in TRANSITIONS if state is State.COMPLETED]


@pytest.mark.parametrize("action", Action)
def test_sources_are_where_the_action_is_legal(action: Action) -> None:
    assert {state.value for state in sources(action)} == {state for state, name, _ in LEGAL if name == action.value}


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        (Reason.FINISHED, State.COMPLETED),
        (Reason.CANCELLED, State.CANCELLED),
        (Reason.PRUNED, State.CANCELLED),
        (Reason.RELEASED, State.PENDING),
        (Reason.OOM, State.FAILED),
        (Reason.DIVERGED, State.FAILED),
    ],
)
def test_endings_that_spend_nothing(reason: Reason, state: State) -> None:
    spent = Spent(errors=1, losses=2)
    outcome = outcome_of_ending(reason, spent, Limits())
    assert (outcome.state, outcome.spent, outcome.backoff_seconds) == (state, spent, 0.0)


@pytest.mark.parametrize("reason", [Reason.ERROR, Reason.TIMEOUT])
def test_errors_and_timeouts_have_one_budget_and_wait_longer_each_time(reason: Reason) -> None:
    limits = Limits(max_attempts=5, backoff_seconds=10, max_backoff_seconds=35)
    spent, waits = Spent(losses=1), []
    while (outcome := outcome_of_ending(reason, spent, limits)).state is State.PENDING:
        waits.append(outcome.backoff_seconds)
        spent = outcome.spent
    assert waits == [10, 20, 35, 35]
    assert (outcome.state, outcome.spent) == (State.FAILED, Spent(errors=5, losses=1))


def test_an_error_that_would_come_again_is_not_tried_again() -> None:
    assert outcome_of_ending(Reason.ERROR, Spent(), Limits(max_attempts=9), permanent=True).state is State.FAILED


def test_losses_have_their_own_budget_and_no_wait() -> None:
    first = outcome_of_ending(Reason.LOST, Spent(errors=1), Limits(max_losses=2))
    assert (first.state, first.spent, first.backoff_seconds) == (State.PENDING, Spent(errors=1, losses=1), 0.0)
    assert outcome_of_ending(Reason.LOST, first.spent, Limits(max_losses=2)).state is State.FAILED


def test_out_of_memory_beside_others_is_tried_again_alone() -> None:
    outcome = outcome_of_ending(Reason.OOM, Spent(), Limits(), shared_device=True)
    assert (outcome.state, outcome.alone) == (State.PENDING, True)


@given(
    reason=st.sampled_from(Reason),
    spent=st.builds(Spent, errors=st.integers(0, 9), losses=st.integers(0, 9)),
    limits=st.builds(Limits, max_attempts=st.integers(1, 5), max_losses=st.integers(1, 5)),
    shared=st.booleans(),
)
def test_whatever_ends_a_run_is_legal_and_never_gives_budget_back(
    reason: Reason, spent: Spent, limits: Limits, shared: bool
) -> None:
    outcome = outcome_of_ending(reason, spent, limits, shared_device=shared)
    assert TRANSITIONS[State.RUNNING, outcome.action] is outcome.state
    assert outcome.spent.errors >= spent.errors and outcome.spent.losses >= spent.losses
    assert 0 <= outcome.backoff_seconds <= limits.max_backoff_seconds
    assert (outcome.state is State.COMPLETED) == (reason is Reason.FINISHED)


def test_a_wait_stays_a_number_after_any_number_of_errors() -> None:
    limits = Limits(max_attempts=10**6)
    outcome = outcome_of_ending(Reason.ERROR, Spent(errors=5000), limits)
    assert outcome.backoff_seconds == limits.max_backoff_seconds
