"""Mean and band of an arm's runs, kept up to date while runs go on and end. Pure.

Ended runs are summed up once, on the arm's grid of x. Running ones are added at every refresh, so a refresh costs only
as much as the runs that are running.
"""

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.plots.curve_sets import CONFIDENCE, LEAST_SEEDS_FOR_INTERVAL

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A grid that has grown to twice this many places is thinned to this many.
GRID_PLACES = 250
_NEAR_THE_END = 0.9


@dataclass(frozen=True, kw_only=True)
class MeanCurve:
    """An arm's curve: at each `x` the mean over the `runs` that got there, and the band's edges (nan: none).

    `seeds` is the number of runs; `places` counts the points of the longest run, `uneven` the places left out at the
    end, where some runs stop just short.
    """

    x: "NDArray[Any]"
    mean: "NDArray[Any]"
    low: "NDArray[Any]"
    high: "NDArray[Any]"
    runs: "NDArray[Any]"
    seeds: int
    places: int
    is_interval: bool
    uneven: int


class ArmMeans:
    """One arm's sums. Curves are given as arrays of rising, finite x and finite y."""

    def __init__(self) -> None:
        import numpy

        self._grid = numpy.empty(0)
        self._sums = numpy.zeros((3, 0))  # count, sum and sum of squares of what is past `_shift`
        self._least = numpy.empty(0)
        self._greatest = numpy.empty(0)
        self._shift: float | None = None  # near the values, so that their squares keep their digits
        self._live: dict[int, tuple[NDArray[Any], NDArray[Any]]] = {}
        self._settled = 0
        self.places = 0

    def settle(self, run_id: int, x: "NDArray[Any]", y: "NDArray[Any]") -> None:
        """Add a run whose curve is final."""
        import numpy

        self._live.pop(run_id, None)
        if not len(x):
            return
        row = self._row(x, y)
        there = ~numpy.isnan(row)
        past = numpy.where(there, row - (self._shift or 0.0), 0.0)
        self._sums += numpy.stack([there, past, past**2])
        self._least = numpy.fmin(self._least, row)
        self._greatest = numpy.fmax(self._greatest, row)
        self._settled += 1

    def update(self, run_id: int, x: "NDArray[Any]", y: "NDArray[Any]") -> None:
        """Replace the curve of a run that goes on."""
        if len(x):
            self._live[run_id] = (x, y)
            self._row(x, y)  # this makes the grid grow
        else:
            self._live.pop(run_id, None)

    def curve(self) -> MeanCurve | None:
        """The arm's curve so far; None before the first point."""
        import numpy

        rows = [self._row(x, y) for x, y in self._live.values()]
        count, past, squares = self._sums.copy()
        least, greatest, shift = self._least, self._greatest, self._shift or 0.0
        for row in rows:
            there = ~numpy.isnan(row)
            moved = numpy.where(there, row - shift, 0.0)
            count, past, squares = count + there, past + moved, squares + moved**2
            least, greatest = numpy.fmin(least, row), numpy.fmax(greatest, row)
        seeds = self._settled + len(rows)
        kept = count > 0
        if not kept.any():
            return None
        uneven = _uneven_end(self._grid, count)
        kept[len(kept) - uneven :] = False
        count, past, squares = count[kept], past[kept], squares[kept]
        mean = past / count
        is_interval = seeds >= LEAST_SEEDS_FOR_INTERVAL
        if is_interval:
            half = _half_width(count, squares - count * mean**2)
            low, high = mean + shift - half, mean + shift + half
        else:
            alone = count < 2
            low, high = (numpy.where(alone, math.nan, edge[kept]) for edge in (least, greatest))
        return MeanCurve(
            x=self._grid[kept],
            mean=mean + shift,
            low=low,
            high=high,
            runs=count.astype(int),
            seeds=seeds,
            places=self.places,
            is_interval=is_interval,
            uneven=uneven,
        )

    def _row(self, x: "NDArray[Any]", y: "NDArray[Any]") -> "NDArray[Any]":
        """The curve on the grid, nan outside the curve's span. Extends the grid first if needed."""
        import numpy

        self.places = max(self.places, len(x))
        if self._shift is None:
            self._shift = float(y[0])
        self._grow(x)
        row: NDArray[Any] = numpy.interp(self._grid, x, y, left=math.nan, right=math.nan)
        return row

    def _grow(self, x: "NDArray[Any]") -> None:
        import numpy

        if not len(self._grid):
            before, after = x[:0], x
        else:
            before, after = x[x < self._grid[0]], x[x > self._grid[-1]]
        if not len(before) and not len(after):
            return
        self._grid = numpy.concatenate([before, self._grid, after])
        nothing = [(len(before), len(after))]
        self._sums = numpy.pad(self._sums, [(0, 0), *nothing])
        self._least = numpy.pad(self._least, nothing, constant_values=math.nan)
        self._greatest = numpy.pad(self._greatest, nothing, constant_values=math.nan)
        while len(self._grid) > 2 * GRID_PLACES:
            # Keep both ends: where curves begin, and where they are now.
            kept = numpy.unique(numpy.append(numpy.arange(0, len(self._grid), 2), len(self._grid) - 1))
            self._grid, self._sums = self._grid[kept], self._sums[:, kept]
            self._least, self._greatest = self._least[kept], self._greatest[kept]


def _uneven_end(grid: "NDArray[Any]", count: "NDArray[Any]") -> int:
    """How many places at the end are reached by only some of the runs that come near the end.

    Over tokens and seconds no two seeds end at the same x: there the mean would jump to the longest run.
    """
    near = min(int(grid.searchsorted(grid[0] + _NEAR_THE_END * (grid[-1] - grid[0]))), len(grid) - 1)
    reached_by_all = (count >= count[near]).nonzero()[0]
    return int(len(grid) - 1 - reached_by_all[-1]) if len(reached_by_all) else 0


def _half_width(count: "NDArray[Any]", squares: "NDArray[Any]") -> "NDArray[Any]":
    """Half of the t-interval of the mean, from the number of runs and their summed squared deviations."""
    import numpy
    from scipy.special import stdtrit

    degrees = numpy.maximum(count - 1, 1)
    deviation = numpy.sqrt(numpy.maximum(squares, 0.0) / degrees)
    half: NDArray[Any] = numpy.asarray(stdtrit(degrees, (1 + CONFIDENCE) / 2)) * deviation / numpy.sqrt(count)
    half[count < 2] = math.nan
    return half
