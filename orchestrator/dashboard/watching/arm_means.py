"""Mean and band of an arm's runs, kept up to date while runs go on and end. Pure.

The first runs that end are kept as they are; from HELD_RUNS on, ended runs are summed up, on the arm's grid of x.
Running ones are added at every refresh, so a refresh costs only as much as the runs that are running.
"""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from orchestrator.plots.curve_sets import LEAST_SEEDS_FOR_INTERVAL, Span, common_span, deviation, half_width, spans_meet

# A grid that has grown to twice this many places is thinned to this many.
GRID_PLACES = 250
HELD_RUNS = 8


@dataclass(frozen=True, kw_only=True)
class MeanCurve:
    """An arm's curve: at each `x` the mean over the `runs` that got there, and the band's edges (nan: none).

    `seeds` is the number of runs; `places` counts the points of the longest run. `is_cut`: some runs go on past its
    end, which is where the first one ends (`common_span`).
    """

    x: NDArray[Any]
    mean: NDArray[Any]
    low: NDArray[Any]
    high: NDArray[Any]
    runs: NDArray[Any]
    seeds: int
    places: int
    is_interval: bool
    is_cut: bool


class _Sums:
    """Count, sum and sum of squares of values past `shift`, their least and greatest, at each place of a grid."""

    def __init__(self, grid: NDArray[Any], shift: float) -> None:
        self.grid, self.shift = grid, shift  # near the values, so that their squares keep their digits
        self.sums = numpy.zeros((3, len(grid)))
        self.least = numpy.full(len(grid), math.nan)
        self.greatest = numpy.full(len(grid), math.nan)

    def add(self, x: NDArray[Any], y: NDArray[Any]) -> None:
        """Add a curve, where it has points."""
        row = numpy.interp(self.grid, x, y, left=math.nan, right=math.nan)
        there = ~numpy.isnan(row)
        past = numpy.where(there, row - self.shift, 0.0)
        self.sums += numpy.stack([there, past, past**2])
        self.least, self.greatest = numpy.fmin(self.least, row), numpy.fmax(self.greatest, row)

    def on(self, grid: NDArray[Any]) -> "_Sums":
        """The sums on another grid, whose places within the present one are among its own."""
        found = _Sums(grid, self.shift)
        if len(self.grid):
            at = numpy.searchsorted(self.grid, grid).clip(0, len(self.grid) - 1)
            known = self.grid[at] == grid
            found.sums[:, known] = self.sums[:, at[known]]
            found.least[known], found.greatest[known] = self.least[at[known]], self.greatest[at[known]]
        return found


class ArmMeans:
    """One arm's sums. Curves are given as arrays of rising, finite x and finite y."""

    def __init__(self) -> None:
        self._held: list[tuple[NDArray[Any], NDArray[Any]]] = []
        self._summed: _Sums | None = None
        self._live: dict[int, tuple[NDArray[Any], NDArray[Any]]] = {}
        self._spans: list[Span] = []  # of runs that are over
        self._places = 0

    def settle(self, run_id: int, x: NDArray[Any], y: NDArray[Any]) -> None:
        """Add a run whose curve is final."""
        self._live.pop(run_id, None)
        if not len(x):
            return
        self._places = max(self._places, len(x))
        self._spans.append(Span(begin=x[0], end=x[-1]))
        self._held.append((x, y))
        if self._summed is not None or len(self._held) >= HELD_RUNS:
            self._summed = self._with(self._held)
            self._held = []

    def update(self, run_id: int, x: NDArray[Any], y: NDArray[Any]) -> None:
        """Replace the curve of a run that goes on."""
        if len(x):
            self._live[run_id] = (x, y)
            self._places = max(self._places, len(x))
        else:
            self._live.pop(run_id, None)

    def curve(self) -> MeanCurve | None:
        """The arm's curve so far; None before the first point, and where its runs share no x."""
        live = [Span(begin=x[0], end=x[-1], goes_on=True) for x, _ in self._live.values()]
        spans = [*self._spans, *live]
        if not spans or not spans_meet(spans):
            return None
        begin, end = common_span(spans)
        every = self._with([*self._held, *self._live.values()], ends=(begin, end))
        kept = (every.grid >= begin) & (every.grid <= end) & (every.sums[0] > 0)
        if not kept.any():  # they share less than lies between two places of the grid
            return None
        count, past, squares = every.sums[:, kept]
        mean = past / count
        is_interval = len(spans) >= LEAST_SEEDS_FOR_INTERVAL
        if is_interval:
            half = half_width(count, deviation(count, squares - count * mean**2))
            low, high = mean + every.shift - half, mean + every.shift + half
        else:
            low, high = (numpy.where(count < 2, math.nan, edge[kept]) for edge in (every.least, every.greatest))
        return MeanCurve(
            x=every.grid[kept],
            mean=mean + every.shift,
            low=low,
            high=high,
            runs=count.astype(int),
            seeds=len(spans),
            places=self._places,
            is_interval=is_interval,
            is_cut=any(span.end > end for span in spans),
        )

    def _with(self, curves: Iterable[tuple[NDArray[Any], NDArray[Any]]], ends: tuple[float, ...] = ()) -> _Sums:
        """The sums with these curves added, on a grid that reaches as far as they do.

        Sums stay on the places of their grid. Before there are any, all places of all curves are the grid, `ends` too.
        """
        curves = list(curves)
        if self._summed is None:
            found = _Sums(_thinned(numpy.concatenate([x for x, _ in curves]), *ends), float(curves[0][1][0]))
        else:
            grid = self._summed.grid
            parts = [part for x, _ in curves for part in (x[x < grid[0]], x[x > grid[-1]])]
            beyond = numpy.concatenate([*parts, grid])
            found = self._summed.on(_thinned(beyond))
        for x, y in curves:
            found.add(x, y)
        return found


def _thinned(places: NDArray[Any], *ends: float) -> NDArray[Any]:
    """A grid of these places, halved until it is small enough. Both its ends stay, and `ends`."""
    grid = numpy.unique(places)
    while len(grid) > 2 * GRID_PLACES:
        grid = numpy.append(grid[:-1:2], grid[-1])
    return numpy.union1d(grid, ends) if ends else grid
