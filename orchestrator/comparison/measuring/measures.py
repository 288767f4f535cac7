"""The one number of a run that is compared, and when a run reached a target."""

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from orchestrator.errors import UsageError
from orchestrator.export.metric_names import Axis, Metric
from orchestrator.queue.runs import RunRecord
from orchestrator.queue.states import OPEN, Reason, State, state_and_reason
from orchestrator.store.reading.curves import Curve


class Goal(StrEnum):
    """Which way a metric is meant to go."""

    LOWER = "lower"
    HIGHER = "higher"


class PointChoice(StrEnum):
    """Which of a run's points the number is of."""

    LAST = "last"
    BEST = "best"
    AT = "at"


class Standing(StrEnum):
    """What became of a run, as far as the comparison goes. Waiting: it may get a number yet. Absent: it completed, and
    has none there."""

    MEASURED = "measured"
    DIVERGED = "diverged"
    WAITING = "waiting"
    MISSING = "missing"
    ABSENT = "absent"


@dataclass(frozen=True, kw_only=True)
class Measure:
    """What is compared: a metric at a moment. `axis` and `place` say where, for PointChoice.AT. `goal` is None for a
    metric of which nobody said which way is better."""

    metric: Metric
    moment: PointChoice = PointChoice.LAST
    axis: Axis | None = None
    place: float | None = None
    goal: Goal | None = None

    @property
    def text(self) -> str:
        """`last val_loss`, `val_loss at 1,000,000 tokens`."""
        if self.axis is None or self.place is None:
            return f"{self.moment} {self.metric.name}"
        return f"{self.metric.name} at {_place_text(self.place, self.axis)}"

    @property
    def counts_seconds(self) -> bool:
        """Whether the number depends on how fast the device was."""
        return self.metric.column == "cumulative_time" or self.axis is Axis.SECONDS


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """A run's number, or why it has none."""

    standing: Standing
    value: float | None = None
    why: str = ""


# A seed that one side lacks.
NO_RUN = Measured(standing=Standing.MISSING, why="no run of this seed")
DIVERGED = Measured(standing=Standing.DIVERGED, why="diverged")


# The side or run that keeps a seed from ever having a number is the one to tell of.
GRAVITY = (Standing.DIVERGED, Standing.ABSENT, Standing.MISSING, Standing.WAITING, Standing.MEASURED)


def mean_or_gravest(found: Sequence[Measured]) -> Measured:
    """The mean of numbers of one seed, or the gravest reason why one is missing, the first of equals."""
    if len(found) == 1:
        return found[0]  # as it is: of a hundred thousand runs, no second object each
    gravest = min(found, key=lambda measured: GRAVITY.index(measured.standing))
    # In order: what is given comes from a set, whose order would show in the last digit.
    values = sorted(measured.value for measured in found if measured.value is not None)
    return gravest if len(values) < len(found) else replace(gravest, value=sum(values) / len(values))


@dataclass(frozen=True, kw_only=True, slots=True)
class Reached:
    """When a run first reached the target: training seconds, tokens and steps, between points by interpolation."""

    seconds: float
    tokens: float
    steps: float


def goal_of(metric: Metric) -> Goal | None:
    """The way that a standard metric, or one of one's own named like it, is meant to go."""
    if metric.column == "acc" or "accuracy" in metric.column or metric.column.endswith("_acc"):
        return Goal.HIGHER
    if metric.column in ("pplx", "bits_per_byte", "cumulative_time") or metric.column.endswith("loss"):
        return Goal.LOWER
    return None


def measure_run(run: RunRecord, curve: Curve | None, measure: Measure) -> Measured:
    """The number of `run`. Last and best are of completed runs alone: the others would be told by less training."""
    diverged = run.state is State.FAILED and run.reason is Reason.DIVERGED
    xs, ys = _points_of(curve, measure, run)
    if measure.place is not None and xs and measure.place <= xs[-1]:
        return value_at(xs, ys, measure.place)
    if diverged or (run.state is State.COMPLETED and ys and not math.isfinite(ys[-1])):
        return DIVERGED
    if run.state in OPEN:
        return Measured(standing=Standing.WAITING, why=run.state.value)
    if run.state is not State.COMPLETED:
        return Measured(standing=Standing.MISSING, why=state_and_reason(run.state.value, run.reason))
    if not ys:
        return Measured(standing=Standing.ABSENT, why=f"has no {measure.metric.name}")
    if measure.place is not None:
        return Measured(standing=Standing.ABSENT, why=f"ended at {_place_text(xs[-1], measure.axis)}")
    if measure.moment is PointChoice.LAST:
        return Measured(standing=Standing.MEASURED, value=ys[-1])
    return _best(ys, measure)


def _points_of(curve: Curve | None, measure: Measure, run: RunRecord) -> tuple[list[float], list[float]]:
    """x (the axis, or the steps) and the metric, of the points that have it; both empty where there are none."""
    name, axis = measure.metric.column, measure.axis or Axis.STEPS
    if curve is None or name not in curve:
        return [], []
    places = axis.places(curve["step"], curve[axis.column], run.settings, run.started_at)
    pairs = zip(places, curve[name], strict=True)
    found = [(float(x), float(y)) for x, y in pairs if y is not None and x is not None]
    return [x for x, _ in found], [y for _, y in found]


def _best(ys: Sequence[float], measure: Measure) -> Measured:
    if measure.goal is None:
        what = measure.metric.name
        raise UsageError(f"is higher or lower better for '{what}'?", "Add --goal higher or --goal lower.")
    finite = [y for y in ys if math.isfinite(y)]
    return Measured(standing=Standing.MEASURED, value=min(finite) if measure.goal is Goal.LOWER else max(finite))


def value_at(xs: Sequence[float], ys: Sequence[float], place: float) -> Measured:
    """The metric at `place`, no further than the last x, on the line between the points around it."""
    after = bisect.bisect_left(xs, place)
    if after == 0 and place < xs[0]:
        return Measured(standing=Standing.ABSENT, why=f"its first point is at {number_text(xs[0])}")
    before = after if xs[after] == place else after - 1
    if not (math.isfinite(ys[before]) and math.isfinite(ys[after])):
        return DIVERGED
    share = (place - xs[before]) / (xs[after] - xs[before]) if before < after else 0.0
    return Measured(standing=Standing.MEASURED, value=ys[before] + share * (ys[after] - ys[before]))


def reached(curve: Curve | None, measure: Measure, target: float) -> Reached | None:
    """When the curve first got to `target`, or None if it never did."""
    name = measure.metric.column
    if curve is None or name not in curve:
        return None
    columns = [curve[axis.column] for axis in (Axis.SECONDS, Axis.TOKENS, Axis.STEPS)]
    sign = -1.0 if measure.goal is Goal.HIGHER else 1.0
    before: tuple[float, Sequence[float]] | None = None
    for y, *xs in zip(curve[name], *columns, strict=True):
        if y is None or not math.isfinite(y):
            continue
        if sign * y <= sign * target:
            share = 1.0 if before is None else (before[0] - target) / (before[0] - y)
            start = xs if before is None else before[1]
            seconds, tokens, steps = (a + share * (b - a) for a, b in zip(start, xs, strict=True))
            return Reached(seconds=seconds, tokens=tokens, steps=steps)
        before = (y, xs)
    return None


def _place_text(place: float, axis: Axis | None) -> str:
    """`1,000 tokens`, `1 step`."""
    number = number_text(place)
    return f"{number} {str(axis).removesuffix('s') if number == '1' else axis}"


def number_text(number: float) -> str:
    """`1,000,000`, `0.25`, `3e+15`."""
    if number >= 1e12:
        return f"{number:g}"
    return f"{number:,.0f}" if number == int(number) else f"{number:,g}"
