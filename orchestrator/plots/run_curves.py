"""One curve of a metric for each run, read from the database or from an exported table."""

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from hlbgpt_core.evaluation import known_fingerprint
from hlbgpt_core.points import Split
from hlbgpt_core.settings import specs
from orchestrator.comparison.evaluations import EvaluatedRun, mixed_evaluations
from orchestrator.errors import ExportError
from orchestrator.export.columns import run_columns
from orchestrator.export.csv_table import read_csv_rows
from orchestrator.export.metric_names import Axis, find_metric, parse_metric
from orchestrator.queue.code import joined
from orchestrator.queue.records import RunFilter
from orchestrator.queue.states import TERMINAL, State
from orchestrator.store import Store

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SPLIT_PREFIXES = tuple(f"{split}_" for split in Split)
_HUNDREDTHS = 100
_FASTEST_DECAY = 6.5  # a hundredth; as good as none is left of the past
WITHOUT_CLOCK = "no wall clock, which earlier versions of hlbq did not record"
_ENDED = frozenset(state.value for state in TERMINAL)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunCurve:
    """One run's curve: `x` and `y` have the same length, `x` rises, `y` is finite.

    They are empty if none of the run's points is finite, or if it ended without one: then `recorded` is False; or if
    its points have no x: then it is `unplaced`. Where only the last point was read, it is there even if not finite.
    `diverged` says that the last point is not finite. `state` is empty if a table does not record it.
    `evaluation_fingerprint` is that of the evaluations that measure the metric; `flops` are set by `with_flops`.
    """

    settings: Mapping[str, Any]
    num_params: int
    seed: int
    data_fingerprint: str
    x: "NDArray[Any]"
    y: "NDArray[Any]"
    evaluation_fingerprint: str = ""
    num_non_embedding_params: int = 0
    device_name: str = ""
    state: str = ""
    diverged: bool = False
    recorded: bool = True
    unplaced: bool = False
    code: str = ""
    flops: float = 0.0


def read_curves(
    source: Store | Path, wanted: RunFilter, metric: str, axis: Axis, *, smooth: float = 0.0, last: bool = False
) -> list[RunCurve]:
    """The curves of a store's matching runs, or of all runs of an exported table, if they have the metric. With `last`,
    a store reads only their last points.

    Raises ExportError for a metric that none of them has, naming the nearest, and where none has a wall clock.
    """
    if not isinstance(source, Store):
        return curves_from_csv(source, metric, axis, smooth=smooth)
    found = curves_from_store(source, wanted, metric, axis, smooth=smooth, last=last)
    if any(run.unplaced for run in found) and not any(len(run.x) for run in found):
        raise ExportError(f"the runs have {WITHOUT_CLOCK}", "Draw over the time that training took: --x seconds")
    return found


def curves_from_store(
    store: Store, wanted: RunFilter, metric: str, axis: Axis, *, smooth: float = 0.0, last: bool = False
) -> list[RunCurve]:
    """The curves of the matching runs that have the metric. Raises ExportError for an unknown one."""
    parsed = find_metric(store, wanted, metric)
    found: list[RunCurve] = []
    read = store.runs_with_curves(wanted, parsed.split, (axis.column, parsed.column), last=last)
    for run, curves in ((pair.run, pair.curves) for pair in read):
        curve = curves.get(parsed.split)
        is_there = curve is not None and (parsed.column in curve.columns or parsed.column in curve.extra)
        about = {
            "settings": run.settings,
            "num_params": run.num_params,
            "num_non_embedding_params": run.num_non_embedding_params,
            "seed": run.seed,
            "data_fingerprint": str(run.facts.get("data_fingerprint", "")),
            # Interned, as few runs have one of their own.
            "evaluation_fingerprint": sys.intern(known_fingerprint(parsed.split, run.settings, run.facts)),
            "device_name": str(run.facts.get("device_name") or ""),
            "state": run.state.value,
            "code": sys.intern(joined(part.digest for part in run.code)),
        }
        xs: Sequence[float | None] = ()
        ys: Sequence[float | None] = ()
        if curve is not None and is_there:
            xs = axis.places(curve["step"], curve[axis.column], run.settings, run.started_at)
            ys = curve[parsed.column]
        found += _run_curve(about, xs, ys, smooth, keep_all=last, before=found[-1].x if found else None)
    return found


def curves_from_csv(path: Path, metric: str, axis: Axis, *, smooth: float) -> list[RunCurve]:
    """The curves of an exported table with one row per run; tables of the original tool work too.

    Raises ExportError for a file that is not such a table, and for a metric or an x that it lacks.
    """
    if axis is Axis.WALL_CLOCK:
        raise ExportError("a table of runs has no wall clock", "Draw from the database: leave the table out.")
    names = {(column.split, column.metric): column.name for column in run_columns() if column.split}
    found = []
    for row in read_csv_rows(path):
        parsed = parse_metric(metric, [name.partition("_")[2] for name in row if name.startswith(_SPLIT_PREFIXES)])
        y_name = names.get((parsed.split, parsed.column), parsed.name)
        x_name = names[parsed.split, axis.column]
        x, y = (_list_of(path, row, name) for name in (x_name, y_name))
        settings = {name: row[name] for name in specs() if name in row}
        if axis is Axis.FLOPS:
            steps = _list_of(path, row, names[parsed.split, "step"])
            x = axis.places(steps, x, settings)
        about = {
            "settings": settings,
            "num_params": row.get("num_params") or 0,
            "num_non_embedding_params": row.get("num_non_embedding_params") or 0,
            "seed": row.get("seed") or 0,
            "data_fingerprint": str(row.get("data_fingerprint") or ""),
            "evaluation_fingerprint": known_fingerprint(parsed.split, settings, row),
            "device_name": str(row.get("device_name") or ""),
            "state": str(row.get("state") or ""),
            "code": str(row.get("code") or ""),
        }
        xs, ys = (x, y) if x and y else ((), ())
        if len(xs) != len(ys):
            raise ExportError(
                f"'{path}' has {len(ys)} values of '{y_name}' and {len(xs)} of '{x_name}' in a row",
                "Write it again with hlbq export.",
            )
        found += _run_curve(about, xs, ys, smooth)
    return found


def _list_of(path: Path, row: Mapping[str, Any], name: str) -> Sequence[Any]:
    """The list of a row's cell; empty for an empty cell. Raises ExportError if there is no such column or list."""
    if name not in row:
        hint = "Write it again with hlbq export."
        if name.startswith("steps_"):
            hint += " A table of the original tool has no steps: --x tokens, epochs or seconds."
        raise ExportError(f"'{path}' has no column '{name}'", hint)
    values = row[name]
    if not isinstance(values, list | None):
        raise ExportError(
            f"'{path}' has '{values!s:.40}' under '{name}' instead of a list", "Write it again with hlbq export."
        )
    return values or ()


def _run_curve(
    about: Mapping[str, Any],
    x: Sequence[float | None],
    y: Sequence[float | None],
    smooth: float,
    *,
    keep_all: bool = False,
    before: "NDArray[Any] | None" = None,
) -> list[RunCurve]:
    """The run's curve; none for an unfinished run without any record. Most runs have the x of the one `before`, and
    share it."""
    import numpy

    xs, ys = numpy.array(x, dtype=float), numpy.array(y, dtype=float)
    recorded = numpy.isfinite(xs)
    # numpy has nan for what was never recorded, but nan may also be a value.
    has_value = numpy.array([value is not None for value in y], dtype=bool)
    unplaced = bool(has_value.any() and not (recorded & has_value).any())
    xs, ys = xs[recorded & has_value], ys[recorded & has_value]
    if not (len(xs) or unplaced) and about["state"] not in _ENDED:
        return []
    finite = numpy.isfinite(ys)
    x_kept, y_kept = (xs, ys) if keep_all else (xs[finite], ys[finite])
    return [
        RunCurve(
            **about,
            x=x_kept if before is None or not numpy.array_equal(x_kept, before) else before,
            y=y_kept if keep_all else smoothed(x_kept, y_kept, smooth),
            diverged=bool(len(ys)) and not finite[-1],
            recorded=bool(len(ys)),
            unplaced=unplaced,
        )
    ]


def with_flops(runs: Sequence[RunCurve]) -> list[RunCurve]:
    """The runs, read over Axis.FLOPS, with the mean of their arm's operations at the last point.

    The mean, so that an arm's seeds stand at one place: they took different numbers of microbatches.
    """
    arms: dict[Any, list[float]] = {}
    for run in runs:
        arms.setdefault(tuple(run.settings.items()), []).append(float(run.x[-1]))
    return [replace(run, flops=fmean(arms[tuple(run.settings.items())])) for run in runs]


def unfinished(run: RunCurve) -> bool:
    """Whether the run's last point is not its final one."""
    return run.state in (State.PENDING.value, State.RUNNING.value)


def ended_early(run: RunCurve) -> bool:
    """Whether the run failed, was cancelled or was stopped early: its end is from less training than others'."""
    return run.state in (State.FAILED.value, State.CANCELLED.value)


def smoothed(x: "NDArray[Any]", y: "NDArray[Any]", weight: float) -> "NDArray[Any]":
    """The moving average of `y` over rising `x`: over a hundredth of the curve's span, the past keeps `weight` of its
    say (0: the values as they are).

    So it does not depend on how many points there are. Each point counts for the stretch of x that it ends, and the
    average is corrected for its start as in Adam (Kingma and Ba, 2015). It never leaves the range of the values so far.
    """
    import numpy

    if not weight or len(x) < 2 or x[-1] <= x[0]:
        return y
    stretches = numpy.diff(x, prepend=x[0] - (x[-1] - x[0]) / (len(x) - 1)) / (x[-1] - x[0])
    rates = min(-math.log(weight), _FASTEST_DECAY) * _HUNDREDTHS * stretches
    shares = -numpy.expm1(-rates)
    # All is relative to the end: within the limits of a float, since decay is at most _FASTEST_DECAY.
    growth = numpy.exp(numpy.cumsum(rates) - rates[0])
    averaged: NDArray[Any] = numpy.cumsum(shares * growth * y) / numpy.cumsum(shares * growth)
    return averaged


def check_comparable(
    runs: Sequence[RunCurve], metric: str, *, allow_mixed_data: bool, allow_mixed_evaluation: bool = False
) -> list[str]:
    """Raise ExportError if the runs' numbers mean different things: other tokens, data, or evaluations. Returns the
    cautions about those that are allowed."""
    tokenizers = sorted(set(_texts(runs, "tokenizer")))
    if len(tokenizers) > 1 and metric.endswith(("loss", "pplx", "acc")):
        raise ExportError(
            f"'{metric}' cannot be compared across tokenizers: {', '.join(tokenizers)}",
            "Use --metric val_bits_per_byte, or choose one: --where tokenizer=" + tokenizers[0],
        )
    evaluated = (
        EvaluatedRun(
            settings=run.settings,
            data_fingerprint=run.data_fingerprint,
            evaluation_fingerprint=run.evaluation_fingerprint,
        )
        for run in runs
    )
    mixed = mixed_evaluations(evaluated, metric)
    if mixed is not None and not allow_mixed_evaluation:
        raise ExportError(mixed.refusal, mixed.hint)
    cautions = [] if mixed is None else [mixed.caution]
    if allow_mixed_data:
        return cautions
    datasets = sorted(set(_texts(runs, "dataset")))
    if len(datasets) > 1:
        raise ExportError(
            f"the runs were trained on different data: {', '.join(datasets)}",
            f"Choose one: --where dataset={datasets[0]}   Or add --allow_mixed_data.",
        )
    fingerprints = {(run.settings.get("tokenizer"), run.data_fingerprint) for run in runs if run.data_fingerprint}
    if len(fingerprints) > len(tokenizers):
        raise ExportError(
            f"the runs were trained on {len(fingerprints)} different versions of their data",
            "Choose runs with filters, or add --allow_mixed_data.",
        )
    return cautions


def _texts(runs: Sequence[RunCurve], name: str) -> Iterator[str]:
    return (str(run.settings.get(name) or "") for run in runs)
