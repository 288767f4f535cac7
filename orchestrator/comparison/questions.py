"""What is asked of a comparison."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.comparison.measuring.measures import Goal, PointChoice
from orchestrator.export.metric_names import Axis


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked: the number of a run, the groups, and the baseline (None: the sweep's own, if it has one).

    An empty `by` stands for the settings that differ; a `goal` of None for what is usual for the metric. With `arms`
    each arm of a factorial sweep is told too, with `effects` two-way interactions. Of `tune` each group has its best.
    """

    metric: str = "val_loss"
    moment: PointChoice = PointChoice.LAST
    axis: Axis | None = None
    place: float | None = None
    goal: Goal | None = None
    by: Sequence[str] = ()
    baseline: Mapping[str, Any] | None = None
    target: float | None = None
    allow_mixed_data: bool = False
    allow_mixed_evaluation: bool = False
    allow_mixed_code: bool = False
    arms: bool = False
    effects: bool = False
    tune: str = ""
    margin: float | None = None
    robust: bool = False
