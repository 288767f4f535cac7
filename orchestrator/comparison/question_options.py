"""The options of `hlbq compare`, which are the arguments of `orchestrator.compare`; light, for the command's help."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UsageError
from orchestrator.sweep.option_spec import check_arguments, option

if TYPE_CHECKING:
    from orchestrator.comparison.questions import Question

# A panel of `--help`.
MEASURE = "Which number of a run"
_SAME = (
    *("metric", "target", "arms", "effects", "margin", "robust"),
    *("allow_mixed_data", "allow_mixed_evaluation", "allow_mixed_code"),
)


@dataclass(frozen=True, kw_only=True)
class QuestionOptions:
    """What to compare with what. At most one of `best` and the places `at_...`."""

    by: Sequence[str] = option(
        (), help="Settings to group by, or code (default: those that differ).", metavar="NAME..."
    )
    baseline: Sequence[str] | Mapping[str, Any] | None = option(
        None,
        help="The group to compare the others with, seed by seed (default: the sweep's baseline).",
        metavar="NAME=VALUE...",
    )
    arms: bool = option(False, help="For a factorial sweep: give every arm's verdict too, not only main effects.")
    effects: bool = option(False, help="For a factorial sweep: give two-way interactions too.")
    tune: str | None = option(None, help="Compare groups, each at its own best value of this setting.", metavar="NAME")
    margin: float | None = option(
        None, help="The largest difference that does not matter. Adds the verdict: no difference larger than this."
    )
    robust: bool = option(
        False, help="Judge only by the number of seeds won, whatever the noise. Choose this before the sweep."
    )
    allow_mixed_data: bool = option(False, help="Compare runs of different data anyway.")
    allow_mixed_evaluation: bool = option(False, help="Compare losses of different evaluations anyway.")
    allow_mixed_code: bool = option(False, help="Include runs that more than one code computed.")
    metric: str = option("val_loss", panel=MEASURE, help="val_loss, train_acc, a metric of your own, ...")
    best: bool = option(False, panel=MEASURE, help="A run's best value instead of its last.")
    at_tokens: float | None = option(None, panel=MEASURE, help="The value after this many tokens, interpolated.")
    at_epoch: float | None = option(None, panel=MEASURE, help="The value at this epoch, interpolated.")
    at_seconds: float | None = option(
        None, panel=MEASURE, help="The value after this many seconds of training, interpolated."
    )
    at_step: float | None = option(None, panel=MEASURE, help="The value at this step, interpolated.")
    at_flops: float | None = option(
        None, panel=MEASURE, help="The value after this many FLOPs of training, interpolated."
    )
    goal: str | None = option(
        None, panel=MEASURE, help="Which way is better, for your own metric.", metavar="lower|higher"
    )
    target: float | None = option(
        None, panel=MEASURE, help="Also show the time, tokens and steps until the metric reaches this value."
    )

    def __post_init__(self) -> None:
        check_arguments(self)

    def question(self) -> "Question":
        """The question. Raises UsageError for an unknown goal, several places, and a place or target that is no
        number or has no effect, SettingsError for a baseline of unknown names or values."""
        from orchestrator.comparison.measuring.groups import read_baseline
        from orchestrator.comparison.measuring.measures import Goal
        from orchestrator.comparison.questions import Question

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
        from orchestrator.comparison.measuring.measures import PointChoice
        from orchestrator.export.metric_names import Axis

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
