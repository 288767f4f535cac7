"""A rule that was declared before anything was looked at, and what it has said of each arm. Pure.

`growth` takes its steps; every reader of the sweep takes its verdicts from here.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from orchestrator.comparison.judging.bounds import VILLE, Bound
from orchestrator.comparison.measuring.measures import Goal
from orchestrator.queue.sweeps import PolicyRecord
from orchestrator.wording.numbers import counted


class ClosureReason(StrEnum):
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
REJECTED = frozenset({ClosureReason.BETTER, ClosureReason.WORSE, ClosureReason.HIGHER, ClosureReason.LOWER})


@dataclass(frozen=True, kw_only=True)
class DecidePolicy:
    """A declaration: which arms (by key) are held against which, by what, and when to stop.

    Each of `arms` has its own of `baselines`, often the same one; with `best_arm` all arms race, and there are none.
    `margin` is in the metric's unit; an arm with less than a chance of `futility` of a verdict by the cap is closed.
    `is_capped` says that no result was there when this was declared, so that the smaller bound of the cap holds.
    `baseline` is one that was named instead of the sweep's own (settings by name).
    Seeds count from `first_seed` on (None: the sweep's own first); earlier ones were seen before, and are no evidence.
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
    baseline: Mapping[str, Any] = field(default_factory=dict)
    first_seed: int | None = None

    @property
    def bound(self) -> Bound:
        """How much evidence decides."""
        return Bound(cap=self.max_seeds, first_look=self.first_look) if self.is_capped and not self.best_arm else VILLE

    def evidence_of_interval(self, pairs: int) -> float:
        """The bound of an interval from so many pairs; infinite before the first look, which a smaller bound awaits."""
        return self.bound.evidence(1) if pairs >= self.bound.first_look else math.inf

    def begins_at(self, own_first: int) -> int:
        """The first seed that counts, where the sweep's own first is `own_first`."""
        return own_first if self.first_seed is None else self.first_seed

    @property
    def rule(self) -> str:
        """The bound in words, and which seeds count."""
        bound = self.bound.text
        if self.best_arm:
            bound = f"evidence of {self.bound.evidence(len(self.arms) - 1):.3g} for each pair of arms"
        fresh = "" if self.first_seed is None else f"; on seeds from {self.first_seed} on, which chose no arm"
        return bound + fresh

    @property
    def everyone(self) -> Sequence[str]:
        """The keys of all arms, baselines first, each once."""
        return tuple(dict.fromkeys((*self.baselines, *self.arms)))


@dataclass(frozen=True, kw_only=True)
class Closure:
    """An arm that gets no more seeds: after how many seeds, why, and what its pairs said then."""

    arm: str
    seeds: int
    reason: ClosureReason
    pairs: int
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    within_margin: bool = False


@dataclass(frozen=True, kw_only=True)
class PolicyState:
    """What earlier steps wrote: the last round that was judged, and what came of it.

    Round n is seed n of every open arm. A seed that was `skipped` once stays so, whatever a later retry brings, with
    how much more often the arm diverged at it than its baseline: (seed, 1), (seed, 0) or (seed, -1).
    """

    round: int = 0
    closures: Sequence[Closure] = ()
    skipped: Mapping[str, Sequence[tuple[int, int]]] = field(default_factory=dict)

    @classmethod
    def of(cls, record: PolicyRecord) -> "PolicyState":
        """What the steps of a stored policy wrote."""
        closures = record.state.get("closures", ())
        known = tuple(Closure(**{**closure, "reason": ClosureReason(closure["reason"])}) for closure in closures)
        return cls(**{**record.state, "closures": known})


def policy_of(record: PolicyRecord) -> DecidePolicy:
    """The declaration as a value."""
    goal = record.definition["goal"]
    return DecidePolicy(**{**record.definition, "goal": None if goal is None else Goal(goal)})


def closure_text(closure: Closure, policy: DecidePolicy) -> str:
    """Why an arm is closed: `better by 0.021 after 6 seeds`, `closed: 8 % chance of a verdict by 20 seeds; ...`."""
    lost = f" ({counted(closure.pairs, 'pair')})" if 0 < closure.pairs < closure.seeds else ""
    after = f"after {counted(closure.seeds, 'seed')}{lost}"
    is_finite = closure.low is not None and closure.high is not None
    interval = f"; interval {closure.low:+.4g} to {closure.high:+.4g}" if is_finite else ""
    if closure.reason in REJECTED:
        less = f", by less than {policy.margin:g}" if closure.within_margin else ""
        return f"{closure.reason}{less} {after}: difference {closure.mean:+.4g}{interval}"
    if closure.reason is ClosureReason.NO_DIFFERENCE:
        return f"no difference larger than {policy.margin:g} {after}{interval}"
    if closure.reason is ClosureReason.FUTILE:
        chance = f"{100 * (closure.chance or 0):.0f} % chance of a verdict by {counted(policy.max_seeds, 'seed')}"
        return f"closed {after}: {chance}{interval}"
    if closure.reason is ClosureReason.CAP:
        word = "not surely worse than the best" if policy.best_arm else "undecided"
        return f"{word} at the cap of {counted(policy.max_seeds, 'seed')}{lost}{interval}"
    if closure.reason is ClosureReason.NO_PAIRS:
        return f"closed {after}: none of them gave a pair with a number of {policy.metric}"
    if closure.reason is ClosureReason.HELD_BACK:
        return f"closed {after}: it would look decided, but one side diverged more often{interval}"
    return f"the best {after}" if closure.reason is ClosureReason.BEST else f"surely not the best {after}"
