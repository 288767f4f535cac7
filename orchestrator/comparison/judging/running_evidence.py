"""The evidence after each pair, in the order of seeds. Pure; arrays have a row an arm, a column a seed."""

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
