"""The verdicts of a sweep with a policy: those that the policy gave, with intervals by its bound."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.comparison.contrasts import Contrast, Finding, Verdict
from orchestrator.comparison.pairs import Pairs
from orchestrator.comparison.policy import REJECTED, Closure, DecidePolicy, Reason, State, closure_text, policy_of
from orchestrator.comparison.statistics import paired_difference
from orchestrator.queue.records import PolicyRecord
from orchestrator.wording.numbers import counted


@dataclass(frozen=True, kw_only=True)
class Declared:
    """A sweep's policy, and what its steps wrote."""

    policy: DecidePolicy
    state: State
    is_open: bool

    @classmethod
    def of(cls, record: PolicyRecord) -> "Declared":
        """The policy of a stored record."""
        return cls(policy=policy_of(record), state=State.of(record), is_open=record.ended_at is None)

    def judged(self, contrasts: Sequence[Contrast]) -> list[Contrast]:
        """The contrasts of arms with the policy's verdicts; others stay as they are."""
        keys = {frozenset(pair): pair[0] for pair in zip(self.policy.arms, self.policy.baselines, strict=True)}
        closures = {closure.arm: closure for closure in self.state.closures}
        found = []
        for contrast in contrasts:
            arm = keys.get(frozenset(contrast.arms))
            if arm is not None:
                found.append(self._judged(contrast, closures.get(arm)))
            elif self.policy.first_seed is not None:
                unadvised = replace(contrast.finding, advice=None)
                found.append(replace(contrast, finding=unadvised, declared="tried by the search, and not confirmed"))
            else:
                found.append(contrast)
        return found

    def _judged(self, contrast: Contrast, closure: Closure | None) -> Contrast:
        pairs = _since(contrast.pairs, self.policy.first_seed)
        evidence = self.policy.bound.evidence(1)
        difference = paired_difference(tuple(pairs.differences.values()), evidence=evidence)
        finding = replace(
            contrast.finding,
            difference=difference,
            verdict=_verdict(closure, contrast.finding),
            is_within_margin=closure is not None and closure.within_margin,
            held_back=None,
            advice=None,
        )
        return replace(contrast, pairs=pairs, finding=finding, declared=self._told(closure))

    def _told(self, closure: Closure | None) -> str:
        if closure is not None:
            return closure_text(closure, self.policy)
        return f"open after {counted(self.state.round, 'seed')}; the sweep's policy goes on"


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
    return Verdict.NO_DIFFERENCE if closure.reason is Reason.NO_DIFFERENCE else Verdict.UNDECIDED
