"""What a step reads and says. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.comparison.policy import DecidePolicy, State

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
