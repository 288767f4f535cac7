"""The statistics of comparisons: numbers in, numbers out. docs/verdicts.md explains them and cites the sources.

Differences between two arms are taken seed by seed. They are modelled as independent normal draws with unknown
mean and unknown variance, so everything here is a form of the t-test.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray

CONFIDENCE = 0.95
ALPHA = 1 - CONFIDENCE

# The always-valid test looks for effects of about this many standard deviations of a paired difference: the
# standard deviation of its normal prior on mean / deviation. Any value is valid; this one decides effects of 3
# deviations at 5 seeds, and costs small effects hardly anything (docs/verdicts.md has the table).
EFFECT_SCALE = 2.0


@dataclass(frozen=True, kw_only=True)
class Interval:
    """From `low` to `high`, in the metric's unit."""

    low: float
    high: float


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Finite numbers in short. `deviation` (with n - 1) and the 95 % t-interval of the mean need two of them."""

    count: int
    mean: float | None = None
    deviation: float | None = None
    interval: Interval | None = None


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """Paired differences in short, with the two-sided tests of a mean of 0.

    `p_value` and `summary.interval` are right for whoever looks once; the always-valid ones however often one
    looks and adds seeds. `always_valid_interval` is None while there are too few pairs for it to be finite.
    """

    summary: Summary
    p_value: float | None = None
    always_valid_p_value: float | None = None
    always_valid_interval: Interval | None = None


def summarise(values: Sequence[float]) -> Summary:
    """Count, mean, standard deviation and the 95 % t-interval of the mean (Student, 1908)."""
    count = len(values)
    if not count:
        return Summary(count=0)
    # Squares of very large and very small numbers are none that a float holds; a power of two changes no digit.
    unit = 2.0 ** (math.frexp(max(map(abs, values)))[1] - 1)
    scaled = [value / unit for value in values]
    middle = math.fsum(scaled) / count
    mean = middle * unit
    if count < 2:
        return Summary(count=count, mean=mean)
    deviation = unit * math.sqrt(math.fsum((value - middle) ** 2 for value in scaled) / (count - 1))
    interval = _around(mean, deviation, count, critical_t(count))
    return Summary(count=count, mean=mean, deviation=deviation, interval=interval)


def paired_difference(differences: Sequence[float], *, evidence: float = 1 / ALPHA) -> PairedDifference:
    """The plain and the always-valid t-test of the mean of `differences`, one for each seed. `evidence` is what
    decides: the always-valid interval holds the means against which there is less (infinite: there is none)."""
    from scipy.special import stdtr

    summary = summarise(differences)
    count, mean, deviation = summary.count, summary.mean, summary.deviation
    if mean is None or deviation is None:
        return PairedDifference(summary=summary)
    # Of differences that are all the same, 0 where they are 0, else infinite.
    t = mean * math.sqrt(count) / deviation if deviation else math.copysign(math.inf, mean) if mean else 0.0
    limit = float(always_valid_critical_t(count, 1 / evidence)) if math.isfinite(evidence) else math.inf
    return PairedDifference(
        summary=summary,
        p_value=float(2 * stdtr(count - 1, -abs(t))),
        always_valid_p_value=float(always_valid_p_value(t, count)),
        always_valid_interval=_around(mean, deviation, count, limit) if math.isfinite(limit) else None,
    )


def critical_t(count: int, alpha: float = ALPHA) -> float:
    """The |t| from which on the plain two-sided test of level `alpha` rejects."""
    from scipy.special import stdtrit

    return float(stdtrit(count - 1, 1 - alpha / 2))


def log_evidence(t: "float | NDArray[Any]", count: "int | NDArray[Any]") -> "NDArray[Any]":
    """Log of the Bayes factor of the t-test for mean / deviation ~ Normal(0, EFFECT_SCALE**2) against 0.

    With n = count, v = n - 1 and g = 1 + n EFFECT_SCALE**2 it is g**(-1/2) ((1 + t**2/(g v)) / (1 + t**2/v))**(-n/2)
    (Gönen, Johnson, Lu and Westfall, 2005). As n grows this is a nonnegative martingale that starts at 1 whenever
    the mean is 0 (Wang and Ramdas, 2023, after Lai, 1976), so by Ville's inequality it ever reaches 1 / alpha with
    probability at most alpha. Takes arrays too; `count` at least 2.
    """
    import numpy

    growth = 1 + numpy.asarray(count, dtype=float) * EFFECT_SCALE**2
    # With u = v / t**2 the inner fraction is (1/g + u) / (1 + u), and an infinite t an ordinary number.
    with numpy.errstate(divide="ignore"):
        inverse = (numpy.asarray(count) - 1) / numpy.square(t)
    ratio = numpy.log1p((1 - 1 / growth) / (1 / growth + inverse))
    return numpy.asarray(numpy.asarray(count) / 2 * ratio - numpy.log(growth) / 2)


def always_valid_p_value(t: "float | NDArray[Any]", count: "int | NDArray[Any]") -> "NDArray[Any]":
    """min(1, 1 / evidence): at most alpha, at any of ever so many looks, with probability at most alpha."""
    import numpy

    return numpy.asarray(numpy.exp(-numpy.maximum(log_evidence(t, count), 0.0)))


def always_valid_critical_t(count: "int | NDArray[Any]", alpha: float) -> "NDArray[Any]":
    """The |t| at which the always-valid p-value falls to `alpha`; infinite while `count` is too small for that. The
    inverse of `log_evidence`. Takes arrays too; `count` at least 2."""
    import numpy

    number = numpy.asarray(count, dtype=float)
    growth = 1 + number * EFFECT_SCALE**2
    ratio = numpy.exp(2 / number * (numpy.log(growth) / 2 - math.log(alpha)))
    is_finite = ratio < growth
    share = numpy.where(is_finite, 1 - ratio / growth, 1.0)
    return numpy.where(is_finite, numpy.sqrt((number - 1) * (ratio - 1) / share), math.inf)


def holm(p_values: "NDArray[Any]") -> "NDArray[Any]":
    """The p-values of a family (the last axis), corrected for its size (Holm, 1979)."""
    import numpy

    size = p_values.shape[-1]
    order = numpy.argsort(p_values, axis=-1)
    scaled = numpy.take_along_axis(p_values, order, axis=-1) * numpy.arange(size, 0, -1)
    corrected = numpy.minimum(numpy.maximum.accumulate(scaled, axis=-1), 1.0)
    return numpy.take_along_axis(corrected, numpy.argsort(order, axis=-1), axis=-1)


def fewest_pairs(alpha: float) -> int:
    """The smallest number of pairs at which the always-valid test of level `alpha` can reject at all. The evidence of n
    pairs is at most (1 + n EFFECT_SCALE**2)**((n - 1) / 2), that of differences without any spread."""
    count = 2
    while (count - 1) / 2 * math.log(1 + count * EFFECT_SCALE**2) <= -math.log(alpha):
        count += 1
    return count


def _around(mean: float, deviation: float, count: int, limit: float) -> Interval:
    half = limit * deviation / math.sqrt(count)
    return Interval(low=mean - half, high=mean + half)
