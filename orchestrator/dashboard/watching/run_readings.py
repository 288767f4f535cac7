"""What the curves of a sweep are made of: what a page asks, and what was read of each run for that."""

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy
from numpy.typing import NDArray

from orchestrator.export.metric_names import Axis, Metric, axis_of
from orchestrator.plots.run_curves import LARGEST_DRAWN, smoothed
from orchestrator.store import Store

# As a setting to make lines by: arms of several sweeps with the same settings are one.
SAME_SETTINGS = "settings"


@dataclass(frozen=True, kw_only=True)
class CurveQuestion:
    """What a page wants to see: a metric over `x`, smoothed as `hlbq plot --smooth` does.

    Where `x` is a metric too, a point is a step at which both were recorded, and the means are over runs at that step:
    of both, and both smoothed over steps.

    The runs of arms with the same value of the setting `by` (or SAME_SETTINGS) form one line; without it, those of an
    arm do. Only runs of `arms` count, if given.
    """

    metric: Metric
    x: Axis | Metric
    smooth: float = 0.0
    by: str = ""
    arms: tuple[int, ...] | None = None

    @property
    def axis(self) -> Axis:
        """What the means are over."""
        return axis_of(self.x)


class MetricPoint(NamedTuple):
    """One value of one metric of a run. `x` is None where that axis was not recorded, `y` where the metric was not;
    `over` is the value of the metric that is x, if one is."""

    run_id: int
    step: int
    x: float | None
    y: float | None
    over: float | None = None


@dataclass(kw_only=True)
class RunReading:
    """What was read of a run, and at which of its moves. `over` are values of the metric that is x, if one is.
    `diverged`: its last value is not finite. `unplaced`: it has values without an x."""

    question: CurveQuestion
    moved: int
    read_x: Callable[[int, float | None], float | None] = lambda step, x: x
    last_step: int = -1
    x: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)
    over: list[float] = field(default_factory=list)
    diverged: bool = False
    unplaced: bool = False

    def add(self, points: Iterable[MetricPoint]) -> None:
        """Add points past the present ones. What does not rise on the axis is left out."""
        for point in points:
            self.last_step = point.step
            x = self.read_x(point.step, point.x)
            if point.y is None or x is None:
                self.unplaced = self.unplaced or point.y is not None
                continue
            self.diverged = not abs(point.y) <= LARGEST_DRAWN  # nan too
            is_drawn = point.over is None or abs(point.over) <= LARGEST_DRAWN
            if is_drawn and not self.diverged and math.isfinite(x) and (not self.x or x > self.x[-1]):
                self.x.append(x)
                self.y.append(point.y)
                if point.over is not None:
                    self.over.append(point.over)

    def curves(self) -> Sequence[NDArray[Any]]:
        """The curve so far, smoothed: its places on the axis, the metric, and what is x if that is a metric."""
        columns = [self.y] if isinstance(self.question.x, Axis) else [self.y, self.over]
        x, *curves = (numpy.array(values, dtype=float) for values in (self.x, *columns))
        return [x, *(smoothed(x, y, self.question.smooth) for y in curves)]

    def drawn(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """x and y of the curve so far, by step."""
        x, y, *over = self.curves()
        return (*over, x)[0], y


def read_points(
    store: Store, question: CurveQuestion, run_ids: Sequence[int], *, after_step: int = -1
) -> Iterable[MetricPoint]:
    """The metric's points; where x is a metric, those at whose step it was recorded too, with its value."""

    def read(metric: Metric) -> Iterator[MetricPoint]:
        axis = question.axis.column
        for curve in store.curves(run_ids, metric.split, (axis, metric.column), after_step=after_step):
            values = curve[metric.column] if metric.column in curve else itertools.repeat(None)
            yield from map(MetricPoint, itertools.repeat(curve.run_id), curve["step"], curve[axis], values)

    if isinstance(question.x, Axis):
        return read(question.metric)
    over = {(point.run_id, point.step): point.y for point in read(question.x) if point.y is not None}
    points = read(question.metric)
    return (point._replace(over=over[key]) for point in points if (key := (point.run_id, point.step)) in over)
