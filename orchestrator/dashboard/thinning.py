"""Which points of a curve are drawn. Pure."""

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
