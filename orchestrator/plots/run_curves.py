"""One curve of a metric for each run: its points, how it ended, and its moving average."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

import numpy
from numpy.typing import NDArray

from orchestrator.comparison.measuring.evaluations import EvaluatedRun
from orchestrator.comparison.measuring.groups import preferred
from orchestrator.export.metric_names import Axis, Metric
from orchestrator.queue.states import State
from orchestrator.sweep.options import with_defaults

_HUNDREDTHS = 100
_FASTEST_DECAY = 6.5  # a hundredth; as good as none is left of the past
# What is larger counts as infinite in a figure: sums and the margins of logarithmic axes have to be floats too.
LARGEST_DRAWN = 1e250
WITHOUT_CLOCK = "no wall clock, which earlier versions of hlbq did not record"
# Model sizes in words; a figure may use them as its x, although they are not settings.
SIZES: Mapping[str, str] = {
    "num_params": "parameters",
    "num_non_embedding_params": "parameters without embeddings",
    "flops": "training FLOPs",
}


@dataclass(frozen=True, kw_only=True, slots=True)
class RunCurve(EvaluatedRun):
    """One run's curve: `x` and `y` have the same length, `x` rises, `y` is finite.

    Where x is a metric too, `x` are the steps at which both were recorded, and `over` are its values there.

    They are empty if none of the run's points is finite, or if it ended without one: then `recorded` is False; or if
    its points have no x: then it is `unplaced`. Where only the last point was read, it is there even if not finite.
    `diverged` says that the last point is not finite. `state` is empty if a table does not record it.
    `evaluation_fingerprint` is that of the evaluations that measure the metric, `x_evaluation_fingerprint` of those of
    `over`; `flops` are set by `with_flops`. `without_end`: its table records no states, and no last loss of it. `age`
    rises from older runs to newer ones of a table; those of a database come in that order.
    """

    num_params: int
    seed: int
    x: NDArray[Any]
    y: NDArray[Any]
    over: NDArray[Any] | None = None
    x_evaluation_fingerprint: str = ""
    num_non_embedding_params: int = 0
    device_name: str = ""
    state: str = ""
    diverged: bool = False
    recorded: bool = True
    unplaced: bool = False
    code: str = ""
    flops: float = 0.0
    without_end: bool = False
    age: tuple[float, ...] = ()


def why_unplaced(metric: str, x: Axis | Metric) -> str:
    """What a run lacks whose values have no x."""
    return f"no {x.name} at any step of {metric}" if isinstance(x, Metric) else WITHOUT_CLOCK


def of_x(runs: Sequence[RunCurve]) -> list[RunCurve]:
    """The curves of the metric that is x, over steps."""
    return [
        replace(run, y=run.over, over=None, evaluation_fingerprint=run.x_evaluation_fingerprint)
        for run in runs
        if run.over is not None
    ]


def with_flops(runs: Sequence[RunCurve]) -> list[RunCurve]:
    """The runs, read over Axis.FLOPS, with the mean of their arm's operations at the last point.

    The mean, so that an arm's seeds stand at one place: they took different numbers of microbatches.
    """
    arms: dict[Any, list[float]] = {}
    for run in runs:
        arms.setdefault(tuple(run.settings.items()), []).append(float(run.x[-1]))
    return [replace(run, flops=fmean(arms[tuple(run.settings.items())])) for run in runs]


def place_of(run: RunCurve, name: str) -> Any:
    """The run's value of a setting, or its size, where `name` is one of SIZES."""
    return getattr(run, name) if name in SIZES else run.settings.get(name)


def unfinished(run: RunCurve) -> bool:
    """Whether the run's last point is not its final one."""
    return run.state in (State.PENDING.value, State.RUNNING.value)


def ended_early(run: RunCurve) -> bool:
    """Whether the run failed, was cancelled or was stopped early: its end is from less training than others'. Or that
    is all that its table lets one say."""
    return run.without_end or run.state in (State.FAILED.value, State.CANCELLED.value)


def newest_of_each_seed(runs: Sequence[RunCurve]) -> list[RunCurve]:
    """The runs, in their order; of several with the same settings and seed one, as in a comparison: the newest of those
    that are through."""
    settings = {id(run.settings): run.settings for run in runs}
    arms = {key: frozenset(with_defaults(own).items()) for key, own in settings.items()}
    chosen: dict[tuple[Any, int], RunCurve] = {}
    for run in sorted(runs, key=lambda run: run.age):
        key = arms[id(run.settings)], run.seed
        chosen[key] = preferred(chosen.get(key), run, _is_through)
    kept = {id(run) for run in chosen.values()}
    return [run for run in runs if id(run) in kept]


def _is_through(run: RunCurve) -> bool:
    return run.diverged or not (unfinished(run) or ended_early(run))


def smoothed(x: NDArray[Any], y: NDArray[Any], weight: float) -> NDArray[Any]:
    """The moving average of `y` over rising `x`: over a hundredth of the curve's span, the past keeps `weight` of its
    say (0: the values as they are).

    So it does not depend on how many points there are. Each point counts for the stretch of x that it ends, and the
    average is corrected for its start as in Adam (Kingma and Ba, 2015). It never leaves the range of the values so far.
    """
    if not weight or len(x) < 2 or x[-1] <= x[0]:
        return y
    stretches = numpy.diff(x, prepend=x[0] - (x[-1] - x[0]) / (len(x) - 1)) / (x[-1] - x[0])
    rates = min(-math.log(weight), _FASTEST_DECAY) * _HUNDREDTHS * stretches
    shares = -numpy.expm1(-rates)
    # All is relative to the end: within the limits of a float, since decay is at most _FASTEST_DECAY.
    growth = numpy.exp(numpy.cumsum(rates) - rates[0])
    averaged: NDArray[Any] = numpy.cumsum(shares * growth * y) / numpy.cumsum(shares * growth)
    return averaged
