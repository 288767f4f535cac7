"""What a step reads and says. Pure."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from orchestrator.comparison.judging.policy import DecidePolicy, PolicyState

if TYPE_CHECKING:
    from numpy.typing import NDArray


class Stop(StrEnum):
    """Why the seeds of an arm wait for a person."""

    PAUSED = "paused"
    HELD = "held for other code"
    CANCELLED = "cancelled"
    FAILED = "failed"
    OTHER_DATA = "trained on other data"
    MIXED_CODE = "computed by more than one code"


@dataclass(frozen=True, kw_only=True)
class Results:
    """What became of every arm's seeds: a row for each of `policy.everyone`, a column for each seed up to the cap.

    `values` are NaN where there is no number. A seed has `ended` if its run has ended (with a number or without);
    `diverged` says that it diverged. `stops` says why a seed of each arm waits for a person (None: none does).
    """

    values: "NDArray[Any]"
    ended: "NDArray[Any]"
    diverged: "NDArray[Any]"
    stops: Sequence[Stop | None]


@dataclass(frozen=True, kw_only=True)
class Step:
    """What is to be written: the state after it, and how many seeds each open arm and its baseline should have. `ends`
    says that no arm is open."""

    state: PolicyState
    seeds: Mapping[str, int]
    ends: bool


def seeds_ahead(
    policy: DecidePolicy, round: int, arms: Sequence[str], *, open_arms: int, workers: int
) -> dict[str, int]:
    """How many seeds each of these arms should have after this round: so many more, up to the cap, that the workers
    find runs of the open arms."""
    ahead = max(1, -(-workers // max(1, open_arms)))
    return dict.fromkeys(arms, min(policy.max_seeds, max(policy.first_look, round + ahead)))


def counted_seeds(ended: "NDArray[Any]") -> "NDArray[Any]":
    """How many first seeds of each arm (a row) have ended without a gap."""
    return ended.cumprod(axis=-1).sum(axis=-1)  # type: ignore[no-any-return]


def judge_rounds(
    policy: DecidePolicy, before: int, last_complete: Callable[[], int], judge: Callable[[int], None]
) -> int:
    """Judge the rounds that are complete, and return the last one; `before` is the last that an earlier step judged. An
    arm that a round closes is not waited for in the next one."""
    last = max(before, min(policy.first_look - 1, last_complete()))
    if last >= policy.first_look:
        judge(last)  # for arms that were paused while the others went on
    while last_complete() > last:
        last += 1
        judge(last)
    return last


def skip(
    state: PolicyState, arms: Sequence[str], numbers: "NDArray[Any]", ended: "NDArray[Any]", diverged: "NDArray[Any]"
) -> None:
    """Write into the arms' rows what an earlier step made of the seeds that it skipped."""
    for row, arm in enumerate(arms):
        for seed, more in state.skipped.get(arm, ()):
            numbers[row, seed], ended[row, seed], diverged[row, seed] = float("nan"), True, more


def skipped_seeds(
    numbers: "NDArray[Any]", diverged: "NDArray[Any]", counted: int, last: int
) -> tuple[tuple[int, int], ...]:
    """The seeds of one arm up to the `last` round that count and have no number, each with what diverged of it."""
    import numpy

    lost = numpy.flatnonzero(numpy.isnan(numbers[: min(last, int(counted))]))
    return tuple((int(seed), int(diverged[seed])) for seed in lost)
