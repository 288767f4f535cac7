"""Which points of a curve are drawn, and in which order. Pure."""

import itertools
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from numpy.typing import NDArray


def thinned(y: "NDArray[Any]", most: int) -> "NDArray[Any]":
    """The places of at most `most` values of `y` that keep its shape, rising; all places if there are no more than
    that.

    Min-max decimation: the least and the greatest value of each of `most // 2 - 1` stretches, and both ends. At a width
    of `most // 2` pixels the line looks the same.
    """
    import numpy

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


def by_size(x: "NDArray[Any]") -> "NDArray[Any]":
    """The places of `x` by rising value; of those that share one, the last. A metric as x may fall and rise."""
    import numpy

    order = numpy.argsort(x, kind="stable")
    kept: NDArray[Any] = order[numpy.append(numpy.diff(x[order]) > 0, True)[: len(x)]]
    return kept
