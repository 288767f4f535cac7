"""The best of many arms: those that are surely not the best get no more seeds. One step, a pure function of results.

An arm is out once another is better with evidence of (k - 1) / ALPHA, where k is the number of arms. The best arm meets
k - 1 others, each of which beats it by chance at most once in (k - 1) / ALPHA cases (Ville, 1939), so it is lost in at
most a share ALPHA of all races, however often one looks. Rounds are those of `decide`.
"""

from collections.abc import Sequence
from typing import Any

import numpy
from numpy.typing import NDArray

from orchestrator.comparison.judging.policy import Closure, ClosureReason, DecidePolicy, PolicyState
from orchestrator.comparison.judging.running_evidence import running_evidence
from orchestrator.comparison.measuring.measures import Goal
from orchestrator.comparison.statistics import ALPHA
from orchestrator.growth.steps import Results, Step, counted_seeds, judge_rounds, seeds_ahead, skip, skipped_seeds


def next_step(policy: DecidePolicy, results: Results, state: PolicyState, *, workers: int = 1) -> Step:
    """Judge the rounds that are complete since `state`. `workers` is how many should find runs to train."""
    sign = -1.0 if policy.goal is Goal.HIGHER else 1.0
    losses, ended, diverged = sign * results.values, results.ended.copy(), results.diverged.copy()
    skip(state, policy.everyone, losses, ended, diverged)
    counted = counted_seeds(ended)
    closures = list(state.closures)

    def racing() -> list[int]:
        closed = {closure.arm for closure in closures}
        return [row for row, arm in enumerate(policy.everyone) if arm not in closed]

    def last_complete() -> int:
        return min((int(counted[row]) for row in racing() if not results.stops[row]), default=0)

    def judge(seeds: int) -> None:
        closures.extend(_round(policy, losses, diverged, counted, racing(), seeds))

    last = judge_rounds(policy, state.round, last_complete, judge)
    after = PolicyState(
        round=last,
        closures=tuple(closures),
        skipped={
            policy.everyone[row]: seeds
            for row in racing()
            if (seeds := skipped_seeds(losses[row], diverged[row], counted[row], last))
        },
    )
    open_arms = [policy.everyone[row] for row in racing() if not results.stops[row]]
    wanted = seeds_ahead(policy, last, open_arms, open_arms=len(open_arms), workers=workers)
    return Step(state=after, seeds=wanted, ends=not racing())


def _round(
    policy: DecidePolicy,
    losses: NDArray[Any],
    diverged: NDArray[Any],
    counted: NDArray[Any],
    racing: Sequence[int],
    seeds: int,
) -> list[Closure]:
    """Who is out after this round; all are where one is left, or all have reached the cap."""
    ready = [row for row in racing if counted[row] >= seeds]
    numbers = {row: int((~numpy.isnan(losses[row, :seeds])).sum()) for row in ready}
    reasons = {row: ClosureReason.NO_PAIRS for row in ready if not numbers[row]}
    runners = [row for row in ready if numbers[row]]
    out = [row for row in runners if _is_beaten(policy, losses[:, :seeds], diverged[:, :seeds], row, runners)]
    reasons |= dict.fromkeys(out, ClosureReason.NOT_BEST)
    left = [row for row in runners if row not in out]
    is_over = (seeds == policy.max_seeds and len(ready) == len(racing)) or len(racing) - len(reasons) == 1
    if left and is_over:
        best = _best_of(policy, losses[:, :seeds], diverged[:, :seeds].sum(axis=1), left)
        reasons |= {row: ClosureReason.BEST if row == best else ClosureReason.CAP for row in left}
    return [
        Closure(arm=policy.everyone[row], seeds=seeds, reason=reason, pairs=numbers[row])
        for row, reason in reasons.items()
    ]


def _best_of(policy: DecidePolicy, losses: NDArray[Any], diverged: NDArray[Any], left: Sequence[int]) -> int:
    """The best mean over the seeds that they share, of the arms that diverged least often: over the seeds that came
    through, the others may look better only for that. Arms with fewer numbers than a first look needs come last."""
    least = [row for row in left if diverged[row] == min(diverged[left])]
    numbers = (~numpy.isnan(losses)).sum(axis=1)
    candidates = [row for row in least if numbers[row] >= policy.first_look] or least
    shared = ~numpy.isnan(losses[candidates]).any(axis=0)
    compared = losses[:, shared] if shared.any() else losses
    return min(candidates, key=lambda row: float(numpy.nanmean(compared[row])))


def _is_beaten(
    policy: DecidePolicy, losses: NDArray[Any], diverged: NDArray[Any], row: int, runners: Sequence[int]
) -> bool:
    """Whether another runner is surely better than `row`, and did not diverge more often where `row` has a number than
    `row` did where it has one."""
    more = (diverged & ~numpy.isnan(losses[row])).sum(axis=1) - (diverged[row] & ~numpy.isnan(losses)).sum(axis=1)
    others = [other for other in runners if other != row and more[other] <= 0]
    if not others:
        return False
    found = running_evidence(losses[row] - losses[others])
    needed = numpy.log((len(policy.everyone) - 1) / ALPHA)
    counts = (found.pairs[:, -1] >= policy.first_look) & (found.mean[:, -1] > 0)
    return bool((counts & (found.log_evidence[:, -1] >= needed)).any())
