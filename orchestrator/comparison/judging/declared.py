"""The verdicts of a sweep with a policy: those that the policy gave, with intervals and p by its bound."""

from collections.abc import Mapping, Sequence
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
from orchestrator.comparison.measuring.measures import Standing
from orchestrator.comparison.measuring.pairs import LostPair, Pairs
from orchestrator.comparison.statistics import holm, paired_difference
from orchestrator.wording.numbers import counted

_SKIPPED = "it had no number when the policy reached it, so it stays out"
# By how much more often the arm diverged there than its baseline.
_SIDES = {
    1: (Standing.DIVERGED, Standing.MEASURED),
    0: (Standing.MISSING, Standing.MISSING),
    -1: (Standing.MEASURED, Standing.DIVERGED),
}


def declared(
    contrasts: Sequence[Contrast], policy: DecidePolicy, state: PolicyState, *, first_seed: int
) -> list[Contrast]:
    """The contrasts of arms with the policy's verdicts, on the seeds that it counts; others stay as they are.
    `first_seed` is the sweep's own."""
    first = policy.begins_at(first_seed)
    seeds = range(first, first + policy.max_seeds)
    keys = {frozenset(pair): pair[0] for pair in zip(policy.arms, policy.baselines, strict=True)}
    arms = [keys.get(frozenset(contrast.arms)) for contrast in contrasts]
    own = {
        arm: contrast.pairs.among(seeds, _skipped(state.skipped.get(arm, ()), first))
        for contrast, arm in zip(contrasts, arms, strict=True)
        if arm is not None
    }
    fresh = findings(list(own.values()), policy.goal, size=len(policy.arms)) if own else ()
    judged = dict(zip(own, fresh, strict=True))
    always = _p_values(policy, state, own, first)
    closures = {closure.arm: closure for closure in state.closures}
    still_open = f"open after {counted(state.round, 'seed')}, by the sweep's policy"
    found = []
    for contrast, arm in zip(contrasts, arms, strict=True):
        if arm is not None:
            closure = closures.get(arm)
            told = still_open if closure is None else closure_text(closure, policy)
            beyond = sum(seed >= seeds.stop for seed in contrast.pairs.differences)
            told += f"; {counted(beyond, 'pair')} beyond the cap not counted" if beyond else ""
            finding = replace(_judged(own[arm], judged[arm], closure, policy), always_valid_p_value=always[arm])
            found.append(replace(contrast, pairs=own[arm], finding=finding, declared=told))
        elif policy.first_seed is not None:
            unadvised = replace(contrast.finding, advice=None)
            found.append(replace(contrast, finding=unadvised, declared="tried by the search, and not confirmed"))
        else:
            found.append(contrast)
    return found


def _p_values(
    policy: DecidePolicy, state: PolicyState, pairs: Mapping[str, Pairs], first: int
) -> Mapping[str, float | None]:
    """Each arm's p by the policy's bound: of its largest evidence from the first look to the round that closed it, or
    to the last one. It is corrected as the policy corrects (Holm; an arm that is closed otherwise stays in the count),
    and at most ALPHA exactly where the evidence decides. None before the first look."""
    import numpy

    ends = {closure.arm: closure.seeds for closure in state.closures}
    alone = {arm: _p_value(policy, own, first + ends.get(arm, state.round)) for arm, own in pairs.items()}
    rejected = [closure.arm for closure in state.closures if closure.reason in REJECTED]
    known = {arm: own for arm, own in alone.items() if own is not None and arm in rejected}
    corrected = holm(numpy.array([known.get(arm, 1.0) for arm in policy.arms]))
    found: dict[str, float | None] = dict(zip(policy.arms, map(float, corrected), strict=True))
    closed = [closure.arm for closure in state.closures]
    for arm, own in alone.items():
        if arm not in rejected:
            before = closed[: closed.index(arm)] if arm in closed else closed
            left = len(policy.arms) - len({*before} & {*rejected})
            found[arm] = None if own is None else min(1.0, left * own)
    return found


def _p_value(policy: DecidePolicy, pairs: Pairs, end: int) -> float | None:
    import numpy

    from orchestrator.comparison.judging.running_evidence import running_evidence

    values = [value for seed, value in sorted(pairs.differences.items()) if seed < end]
    if len(values) < max(2, policy.first_look):
        return None
    evidence = running_evidence(numpy.array([values])).log_evidence[0, policy.first_look - 1 :]
    return policy.bound.p_value(float(evidence.max()))


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


def _skipped(skipped: Sequence[tuple[int, int]], first: int) -> list[LostPair]:
    """The seeds that the policy skipped: no pair, whatever a retry brought later, and what diverged counts."""
    found = []
    for place, more in skipped:
        standing = Standing.DIVERGED if more else Standing.MISSING
        found.append(LostPair(seed=first + place, standing=standing, why=_SKIPPED, sides=_SIDES[more]))
    return found


def _verdict(closure: Closure | None, finding: Finding) -> Verdict:
    if finding.verdict is Verdict.IDENTICAL:
        return Verdict.IDENTICAL
    if closure is None:
        return Verdict.UNDECIDED
    if closure.reason in REJECTED:
        return Verdict(closure.reason.value)
    return Verdict.NO_DIFFERENCE if closure.reason is ClosureReason.NO_DIFFERENCE else Verdict.UNDECIDED
