"""How many seeds count, and what more of them are likely to bring. Pure; arrays have a row an arm, a column a seed."""

from typing import Any

import numpy
from numpy.typing import NDArray

from orchestrator.comparison.judging.running_evidence import RunningEvidence
from orchestrator.comparison.statistics import always_valid_critical_t


def counted_seeds(ended: NDArray[Any]) -> NDArray[Any]:
    """How many first seeds of each row have ended without a gap."""
    return ended.cumprod(axis=-1).sum(axis=-1)  # type: ignore[no-any-return]


def chance_of_verdict(
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
