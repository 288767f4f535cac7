"""Results in the order of seeds, and the evidence after each. Pure; arrays have a row an arm, a column a seed."""

from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from orchestrator.comparison.statistics import always_valid_critical_t, log_evidence


@dataclass(frozen=True, kw_only=True)
class RunningEvidence:
    """After each seed: the pairs so far, their mean and deviation, and the log evidence that the mean is not 0."""

    pairs: NDArray[Any]
    mean: NDArray[Any]
    deviation: NDArray[Any]
    log_evidence: NDArray[Any]

    def half_width(self, evidence: float) -> NDArray[Any]:
        """Half the always-valid interval of the mean for this bound; infinite while there are too few pairs."""
        pairs = numpy.maximum(self.pairs, 2)
        limit = always_valid_critical_t(pairs, 1 / evidence)
        with numpy.errstate(invalid="ignore"):
            half = limit * self.deviation / numpy.sqrt(pairs)
        return numpy.where((self.pairs < 2) | numpy.isinf(limit), numpy.inf, half)


def running_evidence(differences: NDArray[Any]) -> RunningEvidence:
    """The evidence of paired differences after each seed; NaN is a seed without a pair. Mean and squares by Welford's
    recurrence (1962), which keeps its digits where the mean is large."""
    shape = differences.shape
    pairs, means, deviations = (numpy.zeros(shape) for _ in range(3))
    count, mean, squares = (numpy.zeros(shape[:-1]) for _ in range(3))
    for seed in range(shape[-1]):
        value = differences[..., seed]
        is_pair = ~numpy.isnan(value)
        count = count + is_pair
        step = numpy.where(is_pair, value - mean, 0.0)
        mean = mean + step / numpy.maximum(count, 1)
        squares = squares + step * numpy.where(is_pair, value - mean, 0.0)
        pairs[..., seed], means[..., seed] = count, mean
        deviations[..., seed] = numpy.sqrt(squares / numpy.maximum(count - 1, 1))
    with numpy.errstate(divide="ignore", invalid="ignore"):
        t = numpy.where(means == 0, 0.0, means * numpy.sqrt(pairs) / deviations)
    known = log_evidence(t, numpy.maximum(pairs, 2))
    return RunningEvidence(
        pairs=pairs, mean=means, deviation=deviations, log_evidence=numpy.where(pairs < 2, -numpy.inf, known)
    )


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
