"""A power law through measured points."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy

from orchestrator.comparison.statistics import CONFIDENCE

# Two values of x always fit a power law.
LEAST_PLACES = 3
# Of the variance of the logarithms of the means.
LEAST_EXPLAINED = 0.5


@dataclass(frozen=True, kw_only=True)
class PowerLaw:
    """y = factor * x ** exponent. `half_width` is that of the exponent's 95 % t-interval."""

    factor: float
    exponent: float
    half_width: float

    @property
    def is_sure(self) -> bool:
        """Whether the exponent's interval leaves out 0, which would be no law."""
        return abs(self.exponent) > self.half_width

    def at(self, x: float) -> float:
        """The law's y at `x`."""
        return float(self.factor * x**self.exponent)


def fit_power_law(x: Sequence[float], y: Sequence[float]) -> PowerLaw | None:
    """The least-squares line through log y over log x; each point counts as one independent measurement.

    None for fewer than three different x, or if anything is not positive and finite.
    """
    if len(set(x)) < LEAST_PLACES or not all(0 < value < math.inf for value in (*x, *y)):
        return None
    from scipy.special import stdtrit
    from scipy.stats import linregress

    line = linregress(numpy.log(x), numpy.log(y))
    # scipy returns nan if all y are equal: a law without error.
    error = line.stderr if math.isfinite(line.stderr) else 0.0
    half_width = float(stdtrit(len(x) - 2, (1 + CONFIDENCE) / 2) * error)
    return PowerLaw(factor=math.exp(line.intercept), exponent=float(line.slope), half_width=half_width)


def describes(law: PowerLaw, x: Sequence[float], means: Sequence[float]) -> bool:
    """Whether the law explains most of the means' variance: a valley or a jump is not a power law and must not be drawn
    as one. `x` and the means have the same length and are positive."""
    logs = numpy.log(means)
    spread = float(numpy.square(logs - logs.mean()).sum())
    rest = float(numpy.square(logs - numpy.log([law.at(one) for one in x])).sum())
    return rest <= (1 - LEAST_EXPLAINED) * spread + 1e-12
