"""`decide`: seeds for undecided arms and their baseline until the verdict is in. One step, a pure function of results.

Seeds count in the order of their numbers, and all arms are judged together, round by round: round n is seed n of every
open arm, and it is judged once all of these have ended. So it does not matter which run ended first.
"""

from dataclasses import dataclass, field
from typing import Any

import numpy
from numpy.typing import NDArray

from orchestrator.comparison.judging.contrasts import Verdict, is_forbidden, leaning_of
from orchestrator.comparison.judging.policy import REJECTED, Closure, ClosureReason, DecidePolicy, PolicyState
from orchestrator.comparison.judging.running_evidence import RunningEvidence, running_evidence
from orchestrator.comparison.statistics import always_valid_critical_t
from orchestrator.growth.steps import Results, Step, counted_seeds, judge_rounds, seeds_ahead, skip, skipped_seeds


def next_step(policy: DecidePolicy, results: Results, state: PolicyState, *, workers: int = 1) -> Step:
    """Judge the rounds that are complete since `state`. `workers` is how many should find runs to train."""
    places = {arm: row for row, arm in enumerate(policy.everyone)}
    own, others = [places[arm] for arm in policy.arms], [places[arm] for arm in policy.baselines]
    differences = results.values[own] - results.values[others]
    ended = results.ended[own] & results.ended[others]
    diverged = _alone(results, own, others).astype(int) - _alone(results, others, own)
    waits = numpy.array([stop is not None for stop in results.stops], bool)
    skip(state, policy.arms, differences, ended, diverged)
    evidence, closed = running_evidence(differences), {closure.arm for closure in state.closures}
    # What counts begins with the first look: the bound is simulated so.
    looked_at = numpy.where(evidence.pairs >= policy.first_look, evidence.log_evidence, -numpy.inf)
    rounds = _Rounds(
        policy=policy,
        evidence=evidence,
        largest=numpy.maximum.accumulate(looked_at, axis=1),
        half=numpy.where(
            evidence.pairs < policy.bound.first_look, numpy.inf, evidence.half_width(policy.bound.evidence(1))
        ),
        diverged=diverged.cumsum(axis=1),
        counted=counted_seeds(ended),
        paused=waits[own] | waits[others],
        is_open=numpy.array([arm not in closed for arm in policy.arms], bool),
        rejected=sum(closure.reason in REJECTED for closure in state.closures),
    )
    last = judge_rounds(policy, state.round, rounds.last_complete, rounds.judge)
    ends = {closure.arm: closure.seeds for closure in rounds.new}
    skipped = {
        arm: skipped_seeds(differences[row], diverged[row], rounds.counted[row], ends.get(arm, last))
        for row, arm in enumerate(policy.arms)
        if arm not in closed
    }
    after = PolicyState(
        round=last,
        closures=(*state.closures, *rounds.new),
        skipped={arm: seeds for arm, seeds in {**state.skipped, **skipped}.items() if seeds},
    )
    open_rows = numpy.flatnonzero(rounds.is_open & ~rounds.paused)
    growing = [pair[row] for pair in (policy.baselines, policy.arms) for row in map(int, open_rows)]
    wanted = seeds_ahead(policy, last, list(dict.fromkeys(growing)), open_arms=len(open_rows), workers=workers)
    return Step(state=after, seeds=wanted, ends=not rounds.is_open.any())


def _alone(results: Results, own: list[int], others: list[int]) -> NDArray[Any]:
    """The seeds at which a side diverged and the other has a number, as `compare` counts them."""
    return numpy.asarray(results.diverged[own] & ~numpy.isnan(results.values[others]))


@dataclass(kw_only=True)
class _Rounds:
    """The arms (rows) as they are judged, round by round. `largest` is the largest log evidence so far."""

    policy: DecidePolicy
    evidence: RunningEvidence
    largest: NDArray[Any]
    half: NDArray[Any]
    diverged: NDArray[Any]
    counted: NDArray[Any]
    paused: NDArray[Any]
    is_open: NDArray[Any]
    rejected: int
    new: list[Closure] = field(default_factory=list)

    def last_complete(self) -> int:
        """The last round that all open arms have ended; 0 if none is open. One that somebody paused is not awaited."""
        awaited = self.counted[self.is_open & ~self.paused]
        return int(awaited.min()) if len(awaited) else 0

    def judge(self, seeds: int) -> None:
        """One round: rejections until there are no more, then margin, the cap, and arms with too little chance."""
        ready = self.counted >= seeds
        place, margin = seeds - 1, self.policy.margin
        reach = abs(self.evidence.mean[:, place]) + self.half[:, place]
        enough = self.evidence.pairs[:, place] >= self.policy.first_look
        within = ready & enough & (reach <= (-1.0 if margin is None else margin))  # a reach is never below 0
        more, goal = self.diverged[:, place], self.policy.goal
        unlike = numpy.array([is_forbidden(Verdict.NO_DIFFERENCE, int(one), goal) for one in more], bool)
        rejecting = True
        while rejecting:
            # Each rejection leaves a lower bound for the others (Holm, 1979).
            needed = numpy.log(self._evidence_needed())
            hits = numpy.flatnonzero(ready & self.is_open & (self.largest[:, place] >= needed))
            for row in hits:
                crossing = 1 + int(numpy.argmax(self.largest[row] >= needed))
                self._reject(int(row), crossing, within_margin=bool(within[row] and not unlike[row]))
            rejecting = bool(len(hits))
        self._close_all(within & unlike, seeds, ClosureReason.HELD_BACK)
        self._close_all(within, seeds, ClosureReason.NO_DIFFERENCE)
        self._close_all(ready & (self.evidence.pairs[:, place] == 0), seeds, ClosureReason.NO_PAIRS)
        if seeds == self.policy.max_seeds:
            self._close_all(ready, seeds, ClosureReason.CAP)
        elif self.policy.futility is not None:
            self._close_futile(ready, seeds)

    def _evidence_needed(self) -> float:
        """At Holm's level: closed arms stay in the count, only rejected ones leave it."""
        return self.policy.bound.evidence(max(1, len(self.policy.arms) - self.rejected))

    def _close_futile(self, ready: NDArray[Any], seeds: int) -> None:
        chances = _chance_of_verdict(
            self.evidence,
            seeds - 1,
            remaining=self.policy.max_seeds - seeds,
            evidence=self._evidence_needed(),
            margin=self.policy.margin,
            margin_evidence=self.policy.bound.evidence(1),
        )
        for row in (ready & self.is_open & (chances < self.policy.futility)).nonzero()[0]:
            self._close(int(row), seeds, ClosureReason.FUTILE, chance=float(chances[row]))

    def _reject(self, row: int, seeds: int, *, within_margin: bool) -> None:
        """The verdict of the first crossing; held back where the side that looks better diverged more often."""
        leaning = leaning_of(float(self.evidence.mean[row, seeds - 1]), self.policy.goal)
        is_held_back = is_forbidden(leaning, int(self.diverged[row, seeds - 1]), self.policy.goal)
        self.rejected += not is_held_back
        reason = ClosureReason.HELD_BACK if is_held_back else ClosureReason(leaning.value)
        self._close(row, seeds, reason, within_margin=within_margin)

    def _close_all(self, rows: NDArray[Any], seeds: int, reason: ClosureReason) -> None:
        for row in (rows & self.is_open).nonzero()[0]:
            self._close(int(row), seeds, reason)

    def _close(
        self, row: int, seeds: int, reason: ClosureReason, *, chance: float | None = None, within_margin: bool = False
    ) -> None:
        place, half = seeds - 1, float(self.half[row, seeds - 1])
        mean, pairs = float(self.evidence.mean[row, place]), int(self.evidence.pairs[row, place])
        is_finite = half < float("inf")
        self.is_open[row] = False
        self.new.append(
            Closure(
                arm=self.policy.arms[row],
                seeds=seeds,
                reason=reason,
                pairs=pairs,
                mean=mean if pairs else None,
                low=mean - half if is_finite else None,
                high=mean + half if is_finite else None,
                chance=chance,
                within_margin=within_margin,
            )
        )


def _chance_of_verdict(
    now: RunningEvidence, seed: int, *, remaining: int, evidence: float, margin: float | None, margin_evidence: float
) -> NDArray[Any]:
    """For each row after column `seed`: the chance that `remaining` more pairs end in a verdict.

    The predictive probability (Spiegelhalter, Freedman and Blackburn, 1986): given n pairs of mean m and deviation s,
    the mean of n + k is m + s sqrt(k / (n (n + k))) T with T from Student's distribution of n - 1 degrees; s is taken
    as it is. A verdict is a mean past the bound of `evidence`, or an interval within the margin. Verdicts on the way
    are left out, so the chance is a little larger. 1 where there are fewer than two pairs.
    """
    from scipy.special import stdtr

    count = numpy.maximum(now.pairs[..., seed], 2)
    mean = abs(now.mean[..., seed])
    deviation = numpy.maximum(now.deviation[..., seed], 1e-12 * mean + 1e-300)
    total = count + remaining
    with numpy.errstate(divide="ignore", invalid="ignore"):
        spread = deviation * numpy.sqrt(remaining / (count * total))
        limit = always_valid_critical_t(total, 1 / evidence) * deviation / numpy.sqrt(total)
        past = stdtr(count - 1, (mean - limit) / spread) + stdtr(count - 1, (-mean - limit) / spread)
        if margin is not None:
            room = margin - always_valid_critical_t(total, 1 / margin_evidence) * deviation / numpy.sqrt(total)
            inside = stdtr(count - 1, (room - mean) / spread) - stdtr(count - 1, (-room - mean) / spread)
            past = past + numpy.where(room > 0, inside, 0.0)
    return numpy.where(now.pairs[..., seed] < 2, 1.0, past)
