"""What is asked of a comparison, also by the options of `hlbq compare`, which are the arguments of
`orchestrator.compare`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.comparison.measuring.groups import read_baseline
from orchestrator.comparison.measuring.measures import Goal, PointChoice
from orchestrator.errors import UsageError
from orchestrator.export.metric_names import Axis
from orchestrator.sweep.option_spec import check_arguments

_SAME = (
    *("metric", "target", "arms", "effects", "margin", "robust"),
    *("allow_mixed_data", "allow_mixed_evaluation", "allow_mixed_code"),
)


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


@dataclass(frozen=True, kw_only=True)
class QuestionOptions:
    """What to compare with what. At most one of `best` and the places `at_...`."""

    metric: str = "val_loss"
    best: bool = False
    at_tokens: float | None = None
    at_epoch: float | None = None
    at_seconds: float | None = None
    at_step: float | None = None
    at_flops: float | None = None
    goal: str | None = None
    target: float | None = None
    by: Sequence[str] = ()
    baseline: Mapping[str, Any] | Sequence[str] | None = None
    arms: bool = False
    effects: bool = False
    tune: str | None = None
    margin: float | None = None
    robust: bool = False
    allow_mixed_data: bool = False
    allow_mixed_evaluation: bool = False
    allow_mixed_code: bool = False

    def __post_init__(self) -> None:
        check_arguments(self)

    def question(self) -> Question:
        """The question. Raises UsageError for an unknown goal, several places, and a place or target that is no
        number or has no effect, SettingsError for a baseline of unknown names or values."""
        if self.target is not None and not math.isfinite(self.target):
            raise UsageError(f"--target {self.target}: not a number", "For instance: --target 3.8")
        if self.robust and self.margin is not None:
            raise UsageError("--margin has no effect with --robust, which counts seeds won", "Leave one of them out.")
        if self.goal is not None and self.goal not in list(Goal):
            raise UsageError(f"--goal {self.goal}: no such choice", "Use lower or higher.")
        return Question(
            **self._place(),
            goal=None if self.goal is None else Goal(self.goal),
            by=(self.by,) if isinstance(self.by, str) else tuple(self.by),
            baseline=read_baseline(self.baseline),
            tune=self.tune or "",
            **{name: getattr(self, name) for name in _SAME},
        )

    def _place(self) -> Mapping[str, Any]:
        """At which point: the best, at one of the places, or else the last."""
        places = {
            Axis.TOKENS: self.at_tokens,
            Axis.EPOCHS: self.at_epoch,
            Axis.SECONDS: self.at_seconds,
            Axis.STEPS: self.at_step,
            Axis.FLOPS: self.at_flops,
        }
        given = [(axis, float(place)) for axis, place in places.items() if place is not None]
        if any(math.isnan(place) for _, place in given):
            raise UsageError("an --at_... value is not a number", "For instance: at_tokens=5e6")
        if len(given) + self.best > 1:
            raise UsageError("several of --best and the --at_... options were given", "Keep one of them.")
        if given:
            return {"moment": PointChoice.AT, "axis": given[0][0], "place": given[0][1]}
        return {"moment": PointChoice.BEST if self.best else PointChoice.LAST}
