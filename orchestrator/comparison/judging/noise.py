"""Whether the noise of pairs is such that the t-test may be wrong about it. Numbers in, numbers out.

Normal noise of equal size trips the skewness or the ratio once in 100 arms (SIGNIFICANCE is for each of the two), and
the outlier less often than that; docs/verdicts.md has the measured rates.
"""

from typing import Any

import numpy
from numpy.typing import NDArray

FEWEST_PAIRS = 8
SIGNIFICANCE = 0.005
OUTLYING = 8.0
# Of normal noise: the standard deviation in median absolute deviations.
_DEVIATION_IN_MADS = 1.4826


def skewness(differences: NDArray[Any]) -> NDArray[Any]:
    """Skewness of at least 8 numbers (the last axis), as a standard normal score where they are normal (D'Agostino,
    1970)."""
    n = differences.shape[-1]
    centred = differences - differences.mean(axis=-1, keepdims=True)
    variance = (centred**2).mean(axis=-1)
    raw = (centred**3).mean(axis=-1) / numpy.where(variance > 0, variance, 1.0) ** 1.5
    scaled = raw * numpy.sqrt((n + 1) * (n + 3) / (6.0 * (n - 2)))
    kurtosis = 3.0 * (n**2 + 27 * n - 70) * (n + 1) * (n + 3) / ((n - 2.0) * (n + 5) * (n + 7) * (n + 9))
    width = -1 + numpy.sqrt(2 * (kurtosis - 1))
    return numpy.asarray(numpy.arcsinh(scaled / numpy.sqrt(2 / (width - 1))) / numpy.sqrt(numpy.log(numpy.sqrt(width))))


def deviations_differ(own: NDArray[Any], baseline: NDArray[Any]) -> NDArray[Any]:
    """p-value of equal deviations of paired numbers (the last axis), also where they are correlated (Pitman and Morgan,
    1939): the sums and the differences are then uncorrelated."""
    from scipy.special import stdtr

    sums, differences = (both - both.mean(axis=-1, keepdims=True) for both in (own + baseline, own - baseline))
    scale = numpy.sqrt((sums**2).sum(axis=-1) * (differences**2).sum(axis=-1))
    correlation = (sums * differences).sum(axis=-1) / numpy.where(scale > 0, scale, 1.0)
    freedom = own.shape[-1] - 2
    t = correlation * numpy.sqrt(freedom / numpy.maximum(1 - correlation**2, 1e-300))
    return numpy.asarray(2 * stdtr(freedom, -numpy.abs(t)))


def outlying(differences: NDArray[Any]) -> NDArray[Any]:
    """How far the farthest of the numbers (the last axis) lies from their median, in deviations of normal noise with
    the same median absolute deviation; 0 where that is 0."""
    distances = numpy.abs(differences - numpy.median(differences, axis=-1, keepdims=True))
    unit = _DEVIATION_IN_MADS * numpy.median(distances, axis=-1)
    return numpy.where(unit > 0, distances.max(axis=-1) / numpy.where(unit > 0, unit, 1.0), 0.0)


def strange(own: NDArray[Any], baseline: NDArray[Any]) -> list[NDArray[Any]]:
    """For paired numbers (the last axis, at least 8), whether they are skewed, of unequal deviations, or outlying."""
    from scipy.special import ndtri

    differences = own - baseline
    return [
        abs(skewness(differences)) > -ndtri(SIGNIFICANCE / 2),
        deviations_differ(own, baseline) < SIGNIFICANCE,
        outlying(differences) > OUTLYING,
    ]
