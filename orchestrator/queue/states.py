"""States of a run, the legal transitions, and what each ending leads to. Pure.

docs/state_machine.md draws this table, and a test compares the two.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class State(StrEnum):
    """Where a run stands."""

    PENDING = "pending"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"
    CANCELLED = "cancelled"


class Reason(StrEnum):
    """Why an attempt, and perhaps with it the run, ended."""

    FINISHED = "finished"
    ERROR = "error"
    OOM = "oom"
    DIVERGED = "diverged"
    TIMEOUT = "timeout"
    LOST = "lost"
    RELEASED = "released"
    CANCELLED = "cancelled"
    PRUNED = "pruned"


class Action(StrEnum):
    """What moves a run from state to state."""

    CLAIM = "claim"
    FINISH = "finish"
    FAIL = "fail"
    GIVE_BACK = "give back"
    CANCEL = "cancel"
    PRUNE = "prune"
    RETRY = "retry"


class Retry(StrEnum):
    """How a run that is put back into the queue goes on."""

    AS_BEFORE = ""
    FROM_START = "from step 0"
    ACROSS_CODE = "by any code"


TRANSITIONS: Mapping[tuple[State, Action], State] = {
    (State.PENDING, Action.CLAIM): State.RUNNING,
    (State.PENDING, Action.CANCEL): State.CANCELLED,
    (State.RUNNING, Action.FINISH): State.COMPLETED,
    (State.RUNNING, Action.FAIL): State.FAILED,
    (State.RUNNING, Action.GIVE_BACK): State.PENDING,
    (State.RUNNING, Action.CANCEL): State.CANCELLED,
    (State.RUNNING, Action.PRUNE): State.CANCELLED,
    (State.FAILED, Action.RETRY): State.PENDING,
    (State.CANCELLED, Action.RETRY): State.PENDING,
}

# Doublings past this change nothing: the longest wait is reached. The limit keeps the power finite.
LONGEST_DOUBLING = 30

TERMINAL = frozenset({State.COMPLETED, State.FAILED, State.CANCELLED})
OPEN = tuple(state for state in State if state not in TERMINAL)

_SPENDS_NOTHING: Mapping[Reason, Action] = {
    Reason.FINISHED: Action.FINISH,
    Reason.CANCELLED: Action.CANCEL,
    Reason.PRUNED: Action.PRUNE,
    Reason.RELEASED: Action.GIVE_BACK,
}


def state_and_reason(state: str, reason: str | None) -> str:
    """`failed: oom`, `cancelled: pruned`; the state alone where the reason says no more."""
    says_more = state in (State.FAILED, State.CANCELLED) and reason not in (None, state)
    return f"{state}: {reason}" if says_more else state


def sources(action: Action) -> tuple[State, ...]:
    """The states from which `action` is legal."""
    return tuple(state for state, possible in TRANSITIONS if possible is action)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How often a run may end badly before it counts as failed; fixed at submit.

    `max_attempts` counts errors and timeouts; `max_losses` counts losses in a row without a newer
    checkpoint. Waits before the next try double from `backoff_seconds` up to `max_backoff_seconds`.
    """

    max_attempts: int = 2
    max_losses: int = 3
    backoff_seconds: float = 10.0
    max_backoff_seconds: float = 600.0


@dataclass(frozen=True, kw_only=True)
class Spent:
    """How much of its limits a run has used up, not counting the present ending."""

    errors: int = 0
    losses: int = 0


@dataclass(frozen=True, kw_only=True)
class EndingOutcome:
    """What an ending leads to: the run's next state, what it has spent, and how long it waits."""

    action: Action
    spent: Spent
    backoff_seconds: float = 0.0
    alone: bool = False

    @property
    def state(self) -> State:
        """The state that the run takes."""
        return TRANSITIONS[State.RUNNING, self.action]


def outcome_of_ending(
    reason: Reason, spent: Spent, limits: Limits, *, permanent: bool = False, shared_device: bool = False
) -> EndingOutcome:
    """What becomes of a running run whose attempt ended for `reason`.

    `permanent` says that the error would come again (missing data): it is not retried. `shared_device` says that other
    slots trained on the device: after running out of memory there, the run is tried once more alone.
    """
    if reason in _SPENDS_NOTHING:
        return EndingOutcome(action=_SPENDS_NOTHING[reason], spent=spent)
    if reason is Reason.LOST:
        after = Spent(errors=spent.errors, losses=spent.losses + 1)
        return EndingOutcome(action=Action.FAIL if after.losses >= limits.max_losses else Action.GIVE_BACK, spent=after)
    if reason is Reason.OOM and shared_device:
        return EndingOutcome(action=Action.GIVE_BACK, spent=spent, alone=True)
    if reason in (Reason.OOM, Reason.DIVERGED):
        return EndingOutcome(action=Action.FAIL, spent=spent)
    after = Spent(errors=spent.errors + 1, losses=spent.losses)
    if permanent or after.errors >= limits.max_attempts:
        return EndingOutcome(action=Action.FAIL, spent=after)
    wait = min(limits.backoff_seconds * 2.0 ** min(after.errors - 1, LONGEST_DOUBLING), limits.max_backoff_seconds)
    return EndingOutcome(action=Action.GIVE_BACK, spent=after, backoff_seconds=wait)
