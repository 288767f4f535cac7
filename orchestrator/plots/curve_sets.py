"""The curves of a figure joined by arm: their mean on a common x, and the band around it."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy
from numpy.typing import NDArray

from orchestrator.comparison.measuring.groups import sortable
from orchestrator.comparison.statistics import CONFIDENCE
from orchestrator.plots.run_curves import RunCurve, of_x, place_of, unfinished
from orchestrator.sweep.arm_labels import differing_settings

# Below this many seeds a t-interval of the mean is too wide to conclude anything.
LEAST_SEEDS_FOR_INTERVAL = 5


class Band(StrEnum):
    """What is shown around an arm's mean."""

    AUTO = "auto"
    INTERVAL = "interval"
    RANGE = "range"
    SEEDS = "seeds"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class ArmCurve:
    """The runs of an arm on a common x: their mean, and the band's edges (both None without a band).

    Where x is a metric too, each place is a step with the means of both at it. By size of x: of steps that share one,
    the last.
    """

    settings: Mapping[str, Any]
    num_params: int
    runs: Sequence[RunCurve]
    x: NDArray[Any]
    mean: NDArray[Any]
    low: NDArray[Any] | None
    high: NDArray[Any] | None


def arm_curves(runs: Sequence[RunCurve], band: Band, *, past_shortest: bool) -> list[ArmCurve]:
    """The runs joined by arm, in the order of the settings in which they differ. An arm whose runs do not meet has no
    curve."""
    return [_arm_curve(own, band, past_shortest=past_shortest) for own in of_arms(runs) if do_meet(own)]


def of_arms(runs: Sequence[RunCurve]) -> list[list[RunCurve]]:
    """The runs by arm, in the order of the settings in which they differ."""
    return list(grouped(runs, differing_settings(run.settings for run in runs)).values())


def do_meet(runs: Sequence[RunCurve]) -> bool:
    """Whether there is an x at which each of the runs has a number; of those that go on, those that got that far."""
    return spans_meet([Span(begin=run.x[0], end=run.x[-1], goes_on=unfinished(run)) for run in runs])


def grouped(runs: Iterable[RunCurve], names: Sequence[str]) -> dict[tuple[Any, ...], list[RunCurve]]:
    """The runs by their values of the settings and sizes `names`, in the order of the values."""
    found: dict[tuple[Any, ...], list[RunCurve]] = {}
    for run in runs:
        found.setdefault(tuple(place_of(run, name) for name in names), []).append(run)
    return dict(sorted(found.items(), key=lambda item: tuple(map(sortable, item[0]))))


def by_size(x: NDArray[Any]) -> NDArray[Any]:
    """The places of `x` by rising value; of those that share one, the last. A metric as x may fall and rise."""
    order = numpy.argsort(x, kind="stable")
    kept: NDArray[Any] = order[numpy.append(numpy.diff(x[order]) > 0, True)[: len(x)]]
    return kept


@dataclass(frozen=True, kw_only=True)
class Averaged:
    """One curve for each seed of each group, the settings that each is a mean `over`, and how many runs it leaves
    out: those whose group lacks others, and those `apart`, which share no x with the others of their seed."""

    curves: Sequence[RunCurve]
    over: Sequence[str]
    left_out: int
    apart: int = 0


def averaged(runs: Sequence[RunCurve], by: Sequence[str]) -> Averaged:
    """The runs grouped `by` settings: within each group and seed, the mean over the settings that vary in a group.

    Only what all groups have in common counts, and of a seed all of it: groups must differ by nothing but `by`.
    """
    differing = differing_settings(run.settings for run in runs)
    others = [name for name in differing if name not in by]
    groups = grouped(runs, by)
    over = [name for name in others if any(len({run.settings.get(name) for run in own}) > 1 for own in groups.values())]
    rests = {key: grouped(own, over) for key, own in groups.items()}
    common = set.intersection(*(set(own) for own in rests.values())) if rests else set()
    found, kept, apart = [], 0, 0
    for own in rests.values():
        seeds: dict[int, list[RunCurve]] = {}
        for run in (run for rest in common for run in own[rest]):
            seeds.setdefault(run.seed, []).append(run)
        for inside in seeds.values():
            if {tuple(run.settings.get(name) for name in over) for run in inside} != common:
                continue
            kept += len(inside)
            if (mean := _mean_curve(inside, others)) is None:
                apart += len(inside)
            else:
                found.append(mean)
    return Averaged(curves=found, over=over, left_out=len(runs) - kept, apart=apart)


def _mean_curve(runs: Sequence[RunCurve], without: Sequence[str]) -> RunCurve | None:
    """The mean of the curves, None where they share no x; of curves of one point each, that of the points."""
    first = runs[0]
    if all(len(run.x) == 1 for run in runs):
        x = numpy.array([numpy.mean([run.x[0] for run in runs])])
        y = numpy.array([numpy.mean([run.y[0] for run in runs])])
    else:
        x = common_x([run.x for run in runs], past_shortest=False)
        if not len(x):
            return None
        y = numpy.mean([numpy.interp(x, run.x, run.y) for run in runs], axis=0)
    sizes = {(run.num_params, run.num_non_embedding_params) for run in runs}
    params, others = sizes.pop() if len(sizes) == 1 else (0, 0)
    settings = {name: value for name, value in first.settings.items() if name not in without}
    diverged = any(run.diverged for run in runs)
    over = None if first.over is None else _mean_curve(of_x(runs), without)
    return replace(
        first,
        settings=settings,
        num_params=params,
        num_non_embedding_params=others,
        x=x,
        y=y,
        over=None if over is None else over.y,
        diverged=diverged,
        flops=float(numpy.mean([run.flops for run in runs])),
    )


def _arm_curve(runs: Sequence[RunCurve], band: Band, *, past_shortest: bool) -> ArmCurve:
    x = common_x([run.x for run in runs], past_shortest=past_shortest, going_on=[unfinished(run) for run in runs])
    # Outside a run's span its values are nan, and left out of the mean.
    rows = [numpy.interp(x, run.x, run.y, left=math.nan, right=math.nan) for run in runs]
    values = numpy.array(rows)
    mean = numpy.nanmean(values, axis=0)
    low, high = _edges(values, mean, resolve_band(band, len(runs)))
    curve = ArmCurve(
        settings=runs[0].settings, num_params=runs[0].num_params, runs=runs, x=x, mean=mean, low=low, high=high
    )
    if runs[0].over is None:
        return curve
    # No band, as both vary.
    over = _arm_curve(of_x(runs), Band.NONE, past_shortest=past_shortest).mean
    kept = by_size(over)
    return replace(curve, x=over[kept], mean=mean[kept], low=None, high=None)


@dataclass(frozen=True, kw_only=True)
class Span:
    """Where a run's curve begins and ends, and whether it may still go on."""

    begin: float
    end: float
    goes_on: bool = False


def common_span(spans: Sequence[Span], *, past_shortest: bool = False) -> tuple[float, float]:
    """From where all curves have begun to where the first one ends that is over.

    One that goes on counts as far as it has got, and holds back no other. With `past_shortest`, and where none is over,
    the span goes to where the last one ends.
    """
    over = [] if past_shortest else [span.end for span in spans if not span.goes_on]
    return max(span.begin for span in spans), min(over, default=max(span.end for span in spans))


def spans_meet(spans: Sequence[Span]) -> bool:
    """Whether all curves that are over have a number where the last one begins, and two of several have."""
    begin = max(span.begin for span in spans)
    there = [span for span in spans if span.end >= begin]
    return len(there) >= min(2, len(spans)) and all(span.goes_on for span in spans if span.end < begin)


def common_x(several: Sequence[NDArray[Any]], *, past_shortest: bool, going_on: Sequence[bool] = ()) -> NDArray[Any]:
    """Every x of the common span at which a curve has a point, maybe none; `going_on` says which may still go on
    (none)."""
    marks = going_on or [False] * len(several)
    spans = [Span(begin=x[0], end=x[-1], goes_on=mark) for x, mark in zip(several, marks, strict=True)]
    joined = numpy.unique(numpy.concatenate(several))
    begin, end = common_span(spans, past_shortest=past_shortest)
    return joined[(joined >= begin) & (joined <= end)]


def resolve_band(band: Band, seeds: int) -> Band:
    """The band for an arm of this many seeds; AUTO is the range for few seeds, else the interval."""
    if seeds < 2:
        return Band.NONE
    if band is Band.AUTO:
        return Band.INTERVAL if seeds >= LEAST_SEEDS_FOR_INTERVAL else Band.RANGE
    return band


def _edges(values: NDArray[Any], mean: NDArray[Any], band: Band) -> tuple[NDArray[Any] | None, NDArray[Any] | None]:
    if band is Band.RANGE:
        return numpy.nanmin(values, axis=0), numpy.nanmax(values, axis=0)
    if band is not Band.INTERVAL:
        return None, None
    count = numpy.sum(~numpy.isnan(values), axis=0)
    with numpy.errstate(over="ignore"):  # a perplexity that diverged
        squares = numpy.nansum((values - mean) ** 2, axis=0)
    half = half_width(count, deviation(count, squares))
    return mean - half, mean + half


def deviation(count: NDArray[Any], squares: NDArray[Any]) -> NDArray[Any]:
    """The standard deviation of so many runs, from their summed squared deviations from the mean."""
    found: NDArray[Any] = numpy.sqrt(numpy.maximum(squares, 0.0) / numpy.maximum(count - 1, 1))
    return found


def half_width(count: NDArray[Any], deviations: NDArray[Any]) -> NDArray[Any]:
    """Half of the t-interval of the mean, from the number of runs and their standard deviation; nan below two runs."""
    from scipy.special import stdtrit

    quantile = numpy.asarray(stdtrit(numpy.maximum(count - 1, 1), (1 + CONFIDENCE) / 2))
    half: NDArray[Any] = quantile * deviations / numpy.sqrt(count)
    half[(count < 2) | ~numpy.isfinite(half)] = math.nan
    return half
