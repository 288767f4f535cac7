"""Which side wins more seeds: a test of signs that holds for any distribution of independent pairs. Pure.

If either side wins a seed as often as the other, the wins among n decided seeds are binomial with probability 1/2.
Under the alternative the probability is uniform (Bayes and Laplace's beta-binomial mixture, with Beta(1, 1)), so the
likelihood ratio of w wins is 2**n w! (n - w)! / (n + 1)!. It is a nonnegative martingale that starts at 1 (Robbins,
1970), and by Ville's inequality it ever reaches 1 / alpha with probability at most alpha.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from orchestrator.comparison.measuring.measures import Goal
from orchestrator.comparison.measuring.pairs import Pairs
from orchestrator.comparison.statistics import ALPHA, holm
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Fewer cannot decide: seven wins of seven have the evidence 16.
FEWEST_SEEDS = 8


class WinVerdict(StrEnum):
    """What can be said by signs alone."""

    MORE = "wins more often"
    LESS = "wins less often"
    UNDECIDED = "undecided"


@dataclass(frozen=True, kw_only=True)
class Wins:
    """Seeds won and lost. A diverged run loses its seed; `left_out` are ties, and seeds at which both diverged."""

    won: int
    lost: int
    left_out: int
    p_value: float
    verdict: WinVerdict

    @property
    def seeds(self) -> int:
        """The seeds that one side won."""
        return self.won + self.lost


def log_evidence_of_wins(won: "NDArray[Any]", lost: "NDArray[Any]") -> "NDArray[Any]":
    """Log of the likelihood ratio of so many seeds won and lost, as above."""
    import numpy
    from scipy.special import betaln

    return numpy.asarray((won + lost) * numpy.log(2) + betaln(won + 1, lost + 1))


def judge_wins(family: Sequence[Pairs], goal: Goal | None, *, size: int) -> Sequence[Wins]:
    """The wins of each contrast, p-values Holm-corrected over a family of `size`. Raises UsageError without a goal."""
    import numpy

    if goal is None:
        raise UsageError("is higher or lower better? --robust must know", "Add --goal higher or --goal lower.")
    sign = -1 if goal is Goal.LOWER else 1
    won = [sum(sign * one > 0 for one in p.differences.values()) + p.baseline_diverged_alone for p in family]
    lost = [sum(sign * one < 0 for one in p.differences.values()) + p.diverged_alone for p in family]
    evidence = log_evidence_of_wins(numpy.array(won), numpy.array(lost))
    p_values = numpy.concatenate([numpy.exp(-numpy.maximum(evidence, 0)), numpy.ones(max(0, size - len(family)))])
    found = []
    for pairs, own, other, p_value in zip(family, won, lost, holm(p_values), strict=False):
        is_sure = p_value <= ALPHA and own + other >= FEWEST_SEEDS
        left_out = pairs.both_diverged + sum(one == 0 for one in pairs.differences.values())
        verdict = (WinVerdict.MORE if own > other else WinVerdict.LESS) if is_sure else WinVerdict.UNDECIDED
        found.append(Wins(won=own, lost=other, left_out=left_out, p_value=float(p_value), verdict=verdict))
    return found
