"""The verdicts of a sweep with a policy: those that the policy gave, with intervals by its bound."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from orchestrator.comparison.contrasts import Contrast, Finding, Verdict
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
            found.append(contrast if arm is None else self._judged(contrast, closures.get(arm)))
        return found

    def _judged(self, contrast: Contrast, closure: Closure | None) -> Contrast:
        evidence = self.policy.bound.evidence(1)
        difference = paired_difference(tuple(contrast.pairs.differences.values()), evidence=evidence)
        finding = replace(
            contrast.finding,
            difference=difference,
            verdict=_verdict(closure, contrast.finding),
            is_within_margin=closure is not None and closure.within_margin,
            held_back=None,
            advice=None,
        )
        return replace(contrast, finding=finding, declared=self._told(closure))

    def _told(self, closure: Closure | None) -> str:
        if closure is not None:
            return closure_text(closure, self.policy)
        return f"open after {counted(self.state.round, 'seed')}; the sweep's policy goes on"


def _verdict(closure: Closure | None, finding: Finding) -> Verdict:
    if finding.verdict is Verdict.IDENTICAL:
        return Verdict.IDENTICAL
    if closure is None:
        return Verdict.UNDECIDED
    if closure.reason in REJECTED:
        return Verdict(closure.reason.value)
    return Verdict.NO_DIFFERENCE if closure.reason is Reason.NO_DIFFERENCE else Verdict.UNDECIDED
