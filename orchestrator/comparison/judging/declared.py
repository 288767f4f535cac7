"""The verdicts of a sweep with a policy: those that the policy gave, with intervals by its bound."""

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.comparison.judging.contrasts import Contrast, Finding, Verdict
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


def declared(contrasts: Sequence[Contrast], policy: DecidePolicy, state: PolicyState) -> list[Contrast]:
    """The contrasts of arms with the policy's verdicts; others stay as they are."""
    keys = {frozenset(pair): pair[0] for pair in zip(policy.arms, policy.baselines, strict=True)}
    closures = {closure.arm: closure for closure in state.closures}
    still_open = f"open after {counted(state.round, 'seed')}; the sweep's policy goes on"
    found = []
    for contrast in contrasts:
        arm = keys.get(frozenset(contrast.arms))
        if arm is not None:
            closure = closures.get(arm)
            told = still_open if closure is None else closure_text(closure, policy)
            found.append(replace(_judged(contrast, closure, policy), declared=told))
        elif policy.first_seed is not None:
            unadvised = replace(contrast.finding, advice=None)
            found.append(replace(contrast, finding=unadvised, declared="tried by the search, and not confirmed"))
        else:
            found.append(contrast)
    return found


def _judged(contrast: Contrast, closure: Closure | None, policy: DecidePolicy) -> Contrast:
    pairs = _since(contrast.pairs, policy.first_seed)
    finding = replace(
        contrast.finding,
        difference=paired_difference(tuple(pairs.differences.values()), evidence=policy.bound.evidence(1)),
        verdict=_verdict(closure, contrast.finding),
        is_within_margin=closure is not None and closure.within_margin,
        held_back=None,
        advice=None,
    )
    return replace(contrast, pairs=pairs, finding=finding)


def _since(pairs: Pairs, first_seed: int | None) -> Pairs:
    """The pairs without those of earlier seeds."""
    if first_seed is None:
        return pairs
    return replace(
        pairs,
        differences={seed: value for seed, value in pairs.differences.items() if seed >= first_seed},
        baseline_values={seed: value for seed, value in pairs.baseline_values.items() if seed >= first_seed},
        lost=[lost for lost in pairs.lost if lost.seed >= first_seed],
    )


def _verdict(closure: Closure | None, finding: Finding) -> Verdict:
    if finding.verdict is Verdict.IDENTICAL:
        return Verdict.IDENTICAL
    if closure is None:
        return Verdict.UNDECIDED
    if closure.reason in REJECTED:
        return Verdict(closure.reason.value)
    return Verdict.NO_DIFFERENCE if closure.reason is ClosureReason.NO_DIFFERENCE else Verdict.UNDECIDED
