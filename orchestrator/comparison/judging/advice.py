"""How many more seeds would decide a contrast, in one case of three and in two of three. Numbers in, numbers out.

The prior is that of the always-valid test: mean / deviation ~ Normal(0, EFFECT_SCALE**2), and the deviation on the
right Haar measure. Given the pairs so far, the mean and the precision have the conjugate normal-gamma distribution
(Raiffa and Schlaifer, 1961). Further pairs are drawn from it many times; the share of draws that end in a verdict is
the predictive probability (Spiegelhalter, Freedman and Blackburn, 1986).
"""

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any

from orchestrator.comparison.statistics import ALPHA, EFFECT_SCALE, Summary, always_valid_critical_t, fewest_pairs

if TYPE_CHECKING:
    from numpy.typing import NDArray

SOON, LIKELY = 1 / 3, 2 / 3
# More further seeds than this are not asked for: an effect so small against its noise needs another approach.
MOST_FURTHER_PAIRS = 100
# The deviation of fewer pairs says next to nothing, so the advice is to begin with some.
FEWEST_PAIRS_ADVISED_ON, PAIRS_TO_BEGIN_WITH = 4, 5

_DRAWS = 256
_FURTHER = (*range(1, 13), 14, 16, 18, 20, 23, 26, 30, 35, 40, 45, 50, 60, 70, 80, 90, MOST_FURTHER_PAIRS)


@dataclass(frozen=True, kw_only=True)
class Advice:
    """The further seeds that decide it in one case of three (`soon`) and in two of three (`likely`).

    None where that is over MOST_FURTHER_PAIRS. Below FEWEST_PAIRS_ADVISED_ON pairs it `is_early`: both numbers are then
    what to begin with.
    """

    soon: int | None
    likely: int | None
    is_early: bool = False


def advise(difference: Summary, alpha: float, margin: float | None = None, *, diverged: int = 0) -> Advice:
    """What to add for a verdict at the level `alpha`; with a `margin`, also for one within it. As many of the further
    seeds give no pair as of the seeds so far, of which `diverged` did not."""
    count = difference.count
    if count < FEWEST_PAIRS_ADVISED_ON or difference.mean is None or difference.deviation is None:
        begin = max(PAIRS_TO_BEGIN_WITH, fewest_pairs(alpha)) - count
        return Advice(soon=begin, likely=begin, is_early=True)
    # Differences that are all the same have no spread to speak of.
    deviation = max(difference.deviation, 1e-12 * abs(difference.mean)) or 1.0
    chances = decided(difference.mean / deviation, count, alpha, None if margin is None else margin / deviation)
    enough = [-(-further * (count + diverged) // count) for further in _FURTHER]
    few = [(seeds, chance) for seeds, chance in zip(enough, chances, strict=True) if seeds <= MOST_FURTHER_PAIRS]
    soon, likely = (next((seeds for seeds, chance in few if chance >= share), None) for share in (SOON, LIKELY))
    return Advice(soon=soon, likely=likely)


def decided(effect: float, count: int, alpha: float, margin: float | None = None) -> "NDArray[Any]":
    """The chance of a verdict after each of the further numbers of pairs, given `count` pairs of mean / deviation
    `effect`; `margin` is in the same deviations."""
    import numpy
    from scipy.special import gammaincinv

    uniform, offsets, sums, squares = _draws()
    further = numpy.array(_FURTHER)
    precision = count + 1 / EFFECT_SCALE**2
    spread = (count - 1 + count * effect**2 / (EFFECT_SCALE**2 * precision)) / 2
    deviation = numpy.sqrt(spread / gammaincinv(count / 2, uniform))[:, None]
    mean = count * effect / precision + deviation * offsets / numpy.sqrt(precision)
    total = count + further
    means = (count * effect + further * mean + deviation * sums) / total
    raw = further * mean**2 + 2 * mean * deviation * sums + deviation**2 * squares
    variance = (count - 1 + count * effect**2 + raw - total * means**2) / (total - 1)
    standard_error = numpy.sqrt(numpy.maximum(variance, 0.0) / total)
    size = numpy.abs(means)
    is_decided = size >= always_valid_critical_t(total, alpha) * standard_error
    if margin is not None:
        is_decided |= size + always_valid_critical_t(total, ALPHA) * standard_error <= margin
    return numpy.asarray(is_decided.mean(axis=0))


@cache
def _draws() -> "tuple[NDArray[Any], ...]":
    """The same draws for all: shares of the deviation's distribution, standard normal offsets of the mean, and the sums
    and the squares' sums of the further pairs' noise, (draws,), (draws, 1), and twice (draws, further)."""
    import numpy
    from scipy.special import ndtri

    generator = numpy.random.default_rng(0)
    uniform = (numpy.arange(_DRAWS) + 0.5) / _DRAWS
    offsets = generator.permutation(ndtri(uniform))[:, None]
    added = numpy.diff(_FURTHER, prepend=0)
    normal = generator.standard_normal((_DRAWS, len(added)))
    rest = generator.chisquare(numpy.maximum(added - 1, 1e-9), normal.shape)
    return uniform, offsets, numpy.cumsum(normal * numpy.sqrt(added), axis=1), numpy.cumsum(normal**2 + rest, axis=1)
