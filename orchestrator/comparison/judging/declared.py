"""The verdicts of a sweep with a policy: those that the policy gave, with intervals by its bound."""

from collections.abc import Container, Sequence
from dataclasses import replace

from orchestrator.comparison.judging.contrasts import Contrast, Finding, Verdict, findings
from orchestrator.comparison.judging.policy import (
    REJECTED,
    Closure,
    ClosureReason,
    DecidePolicy,
    PolicyState,
    closure_text,
)
from orchestrator.comparison.measuring.pairs import Pairs
from orchestrator.comparison.statistics import paired_difference
from orchestrator.wording.numbers import counted


def declared(
    contrasts: Sequence[Contrast], policy: DecidePolicy, state: PolicyState, *, first_seed: int
) -> list[Contrast]:
    """The contrasts of arms with the policy's verdicts, on the seeds that it counts; others stay as they are.
    `first_seed` is the sweep's own."""
    first = first_seed if policy.first_seed is None else policy.first_seed
    seeds = range(first, first + policy.max_seeds)
    keys = {frozenset(pair): pair[0] for pair in zip(policy.arms, policy.baselines, strict=True)}
    arms = [keys.get(frozenset(contrast.arms)) for contrast in contrasts]
    pairs = [
        contrast.pairs if arm is None else _among(contrast.pairs, seeds)
        for contrast, arm in zip(contrasts, arms, strict=True)
    ]
    fresh = findings(pairs, policy.goal, size=len(policy.arms), margin=policy.margin)
    closures = {closure.arm: closure for closure in state.closures}
    still_open = f"open after {counted(state.round, 'seed')}, by the sweep's policy"
    found = []
    for contrast, arm, own, finding in zip(contrasts, arms, pairs, fresh, strict=True):
        if arm is not None:
            closure = closures.get(arm)
            told = still_open if closure is None else closure_text(closure, policy)
            beyond = sum(seed >= seeds.stop for seed in contrast.pairs.differences)
            told += f"; {counted(beyond, 'pair')} beyond the cap not counted" if beyond else ""
            found.append(replace(contrast, pairs=own, finding=_judged(own, finding, closure, policy), declared=told))
        elif policy.first_seed is not None:
            unadvised = replace(finding, advice=None)
            found.append(replace(contrast, finding=unadvised, declared="tried by the search, and not confirmed"))
        else:
            found.append(replace(contrast, finding=finding))
    return found


def _judged(pairs: Pairs, finding: Finding, closure: Closure | None, policy: DecidePolicy) -> Finding:
    evidence = policy.evidence_of_interval(len(pairs.differences))
    return replace(
        finding,
        difference=paired_difference(tuple(pairs.differences.values()), evidence=evidence),
        verdict=_verdict(closure, finding),
        is_within_margin=closure is not None and closure.within_margin,
        held_back=None,
        advice=None,
    )


def _among(pairs: Pairs, seeds: Container[int]) -> Pairs:
    """The pairs of these seeds."""
    return replace(
        pairs,
        differences={seed: value for seed, value in pairs.differences.items() if seed in seeds},
        baseline_values={seed: value for seed, value in pairs.baseline_values.items() if seed in seeds},
        lost=[lost for lost in pairs.lost if lost.seed in seeds],
    )


def _verdict(closure: Closure | None, finding: Finding) -> Verdict:
    if finding.verdict is Verdict.IDENTICAL:
        return Verdict.IDENTICAL
    if closure is None:
        return Verdict.UNDECIDED
    if closure.reason in REJECTED:
        return Verdict(closure.reason.value)
    return Verdict.NO_DIFFERENCE if closure.reason is ClosureReason.NO_DIFFERENCE else Verdict.UNDECIDED
