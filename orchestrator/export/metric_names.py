"""Metrics and axes of curves, by name."""

import difflib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from hlbgpt_core.flops import TrainingFlops
from hlbgpt_core.points import Split
from hlbgpt_core.settings import Settings
from orchestrator.errors import UnknownMetricError, UsageError
from orchestrator.queue.runs import RunFilter
from orchestrator.store import Store
from orchestrator.store.reading.curves import CURVE_COLUMNS, RECORDED_AT


class Axis(StrEnum):
    """A figure's x axis. The wall clock runs from the run's first claim, and stops for nothing."""

    STEPS = "steps"
    EPOCHS = "epochs"
    TOKENS = "tokens"
    SECONDS = "seconds"
    FLOPS = "flops"
    WALL_CLOCK = "wall_clock"

    @property
    def column(self) -> str:
        """The column of a curve that it is read from."""
        own = {"steps": "step", "epochs": "epoch", "seconds": "cumulative_time", "wall_clock": RECORDED_AT}
        return own.get(self.value, "tokens_seen")

    def reader(
        self, settings: Mapping[str, Any], started_at: float | None
    ) -> Callable[[int, float | None], float | None]:
        """What makes x of a step and its value of `column`; `started_at` is the run's first claim.

        Call it on all points of a split, by rising step."""
        if self is Axis.FLOPS:
            return TrainingFlops(settings=Settings.from_dict(settings)).at
        if self is not Axis.WALL_CLOCK:
            return lambda step, value: value
        reached = 0.0

        def since_the_start(step: int, value: float | None) -> float | None:
            nonlocal reached
            if value is None or started_at is None:
                return None
            reached = max(reached, value - started_at)  # a clock may have been set back, and x must rise
            return reached

        return since_the_start

    def places(
        self,
        steps: Sequence[int],
        values: Sequence[float | None],
        settings: Mapping[str, Any],
        started_at: float | None = None,
    ) -> Sequence[float | None]:
        """x of all points of a split, from their steps and their values of `column`."""
        if self in (Axis.FLOPS, Axis.WALL_CLOCK):
            return list(map(self.reader(settings, started_at), steps, values))
        return values


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric of one split, by its name: `val_loss`, `grad_norm`, `train_my_metric`."""

    name: str
    split: Split
    column: str


def axis_of(x: Axis | Metric) -> Axis:
    """What means over runs are over: where x is a metric, the steps at which both metrics were recorded."""
    return x if isinstance(x, Axis) else Axis.STEPS


def parse_x(name: str, find: Callable[[str], Metric]) -> Axis | Metric:
    """The axis of that name, or the metric that `find` finds. Raises UsageError for neither, with the nearest."""
    wanted = name.replace("-", "_")
    if wanted in list(Axis):
        return Axis(wanted)
    try:
        return find(name)
    except UnknownMetricError as error:
        raise no_axis(name, error.hint) from None


def no_axis(name: str, hint: str = "") -> UsageError:
    """What is wrong with an x that is none."""
    return UsageError(
        f"there is no axis or metric '{name}'", f"There are {', '.join(Axis)}, and metrics. {hint}".strip()
    )


def find_metric(store: Store, wanted: RunFilter, name: str) -> Metric:
    """The metric of that name, users' own of the runs that match included. Raises UnknownMetricError with the nearest
    for another one."""
    try:
        return parse_metric(name)  # most are standard ones, which need no reading
    except UnknownMetricError:
        return parse_metric(name, sorted({own for _, own in store.metrics_without_column(wanted)}))


def parse_metric(name: str, extra: Sequence[str] = ()) -> Metric:
    """The metric of that name; `extra` are users' own. Raises UnknownMetricError with the nearest for another one."""
    columns = [column for column in CURVE_COLUMNS if column != "step"]
    wanted = name.replace("-", "_")
    # First exactly as typed: users' own metrics may have dashes in their names.
    for typed in (name, wanted):
        for split in Split:
            bare = typed.removeprefix(f"{split.value}_")
            if bare != typed and bare in (*columns, *extra):
                return Metric(name=typed, split=split, column=bare)
        if typed in (*columns, *extra):
            split = Split.VAL if typed == "bits_per_byte" else Split.TRAIN
            return Metric(name=f"{split.value}_{typed}", split=split, column=typed)
    known = [f"{split.value}_{column}" for column in (*columns, *extra) for split in Split] + [*columns, *extra]
    nearest = difflib.get_close_matches(wanted, known, n=1)
    hint = f"Did you mean '{nearest[0]}'?" if nearest else f"For instance: {', '.join(known[:6])}."
    raise UnknownMetricError(f"there is no metric '{name}'", hint)
