"""Which points of a curve are drawn, and to how many digits. Pure."""

import itertools
from typing import Any

import numpy
from numpy.typing import NDArray

from orchestrator.plots.curve_sets import by_size

_DIGITS = 6


def thinned(y: NDArray[Any], most: int) -> NDArray[Any]:
    """The places of at most `most` values of `y` that keep its shape, rising; all places if there are no more than
    that.

    Min-max decimation: the least and the greatest value of each of `most // 2 - 1` stretches, and both ends. At a width
    of `most // 2` pixels the line looks the same.
    """
    count = len(y)
    if count <= most:
        return numpy.arange(count)
    edges = numpy.linspace(0, count, max(most // 2 - 1, 1) + 1).astype(int)
    places = {0, count - 1}
    for begin, end in itertools.pairwise(edges.tolist()):
        stretch = y[begin:end]
        places.add(int(begin + stretch.argmin()))
        places.add(int(begin + stretch.argmax()))
    return numpy.array(sorted(places))


def drawn(x: NDArray[Any], y: NDArray[Any], most: int) -> tuple[NDArray[Any], int]:
    """The places of a curve's points, given by step, as they are drawn: thinned, then by rising x, and of those that
    share an x the last; and which of them is the last step (-1 without points). A metric as x may fall and rise.
    """
    kept = thinned(y, most)
    kept = kept[by_size(x[kept])]
    return kept, int(kept.argmax()) if len(kept) else -1


def numbers(values: NDArray[Any]) -> list[float | None]:
    """Numbers for JSON: to six digits, the most that a screen shows; None if not finite."""
    finite = numpy.isfinite(values)
    size = numpy.where(finite & (values != 0), numpy.abs(values), 1.0)
    scale = 10.0 ** (_DIGITS - 1 - numpy.floor(numpy.log10(size)))
    rounded = numpy.round(numpy.where(finite, values, 0.0) * scale) / scale
    return [value if good else None for value, good in zip(rounded.tolist(), finite.tolist(), strict=True)]
