"""What is declared before anything is looked at, and what a step says. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from orchestrator.comparison.bounds import VILLE, Bound
from orchestrator.comparison.measures import Goal
from orchestrator.queue.records import PolicyRecord

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Reason(StrEnum):
    """Why an arm gets no more seeds."""

    BETTER = "better"
    WORSE = "worse"
    HIGHER = "higher"
    LOWER = "lower"
    NO_DIFFERENCE = "no difference"
    BEST = "best"
    NOT_BEST = "not the best"
    FUTILE = "closed"
    CAP = "cap"
    NO_PAIRS = "no pairs"
    HELD_BACK = "held back"


# Reasons that leave Holm's count: the arm differs from its baseline.
REJECTED = frozenset({Reason.BETTER, Reason.WORSE, Reason.HIGHER, Reason.LOWER})


@dataclass(frozen=True, kw_only=True)
class DecidePolicy:
    """A declaration: which arms (by key) are held against which, by what, and when to stop.

    Each of `arms` has its own of `baselines`, often the same one; with `best_arm` all arms race, and there are none.
    `margin` is in the metric's unit; an arm with less than a chance of `futility` of a verdict by the cap is closed.
    `is_capped` says that no result was there when this was declared, so that the smaller bound of the cap holds.
    """

    metric: str
    goal: Goal | None
    arms: Sequence[str]
    baselines: Sequence[str] = ()
    max_seeds: int = 20
    first_look: int = 3
    margin: float | None = None
    futility: float | None = 0.10
    best_arm: bool = False
    is_capped: bool = True

    @property
    def bound(self) -> Bound:
        """How much evidence decides."""
        return Bound(cap=self.max_seeds, first_look=self.first_look) if self.is_capped and not self.best_arm else VILLE

    @property
    def everyone(self) -> Sequence[str]:
        """The keys of all arms, baselines first, each once."""
        return tuple(dict.fromkeys((*self.baselines, *self.arms)))


@dataclass(frozen=True, kw_only=True)
class Closure:
    """An arm that gets no more seeds: after how many seeds, why, and what its pairs said then."""

    arm: str
    seeds: int
    reason: Reason
    pairs: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    within_margin: bool = False


@dataclass(frozen=True, kw_only=True)
class Results:
    """What became of every arm's seeds: a row for each of `policy.everyone`, a column for each seed up to the cap.

    `values` are NaN where there is no number. A seed has `ended` if its run has ended (with a number or without);
    `diverged` says that it diverged. `paused` arms (a row each) have a seed that waits for a person.
    """

    values: "NDArray[Any]"
    ended: "NDArray[Any]"
    diverged: "NDArray[Any]"
    paused: "NDArray[Any]"


@dataclass(frozen=True, kw_only=True)
class State:
    """What earlier steps wrote: the last round that was judged, and what came of it.

    Round n is seed n of every open arm. A seed that was `skipped` once stays so, whatever a later retry brings.
    """

    round: int = 0
    closures: Sequence[Closure] = ()
    skipped: Mapping[str, Sequence[int]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is to be written: the state after it, and how many seeds each open arm and its baseline should have.

    `ends` says that no arm is open.
    """

    state: State
    seeds: Mapping[str, int]
    ends: bool


def seeds_ahead(policy: DecidePolicy, round: int, arms: Sequence[str], ahead: int) -> dict[str, int]:
    """How many seeds each of these arms should have after this round: `ahead` more, up to the cap."""
    return dict.fromkeys(arms, min(policy.max_seeds, max(policy.first_look, round + max(1, ahead))))


def policy_of(record: PolicyRecord) -> DecidePolicy:
    """The declaration as a value."""
    goal = record.definition["goal"]
    return DecidePolicy(**{**record.definition, "goal": None if goal is None else Goal(goal)})


def state_of(record: PolicyRecord) -> State:
    """What the steps wrote, as a value."""
    written: Mapping[str, Any] = record.state
    closures = tuple(
        Closure(**{**closure, "reason": Reason(closure["reason"])}) for closure in written.get("closures", ())
    )
    return State(round=written.get("round", 0), closures=closures, skipped=written.get("skipped", {}))
