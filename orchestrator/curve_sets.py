"""The curves of a figure: one of a metric for each run, and their mean and band for each arm."""

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hlbgpt_core.points import Split
from hlbgpt_core.settings import specs
from orchestrator.arms import differing_settings
from orchestrator.blocks import runs_with_curves
from orchestrator.columns import run_columns
from orchestrator.csv_table import read_csv_rows
from orchestrator.errors import ExportError
from orchestrator.records import RunFilter
from orchestrator.store import Store
from orchestrator.store.curves import CURVE_COLUMNS

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Below so many seeds a t-interval of the mean is wider than anything one would conclude from it.
LEAST_SEEDS_FOR_INTERVAL = 5
CONFIDENCE = 0.95


class Axis(StrEnum):
    """What a figure's x is."""

    STEPS = "steps"
    EPOCHS = "epochs"
    TOKENS = "tokens"
    SECONDS = "seconds"

    @property
    def column(self) -> str:
        """The column of a curve that holds it."""
        return {"steps": "step", "epochs": "epoch", "tokens": "tokens_seen", "seconds": "cumulative_time"}[self.value]


class Band(StrEnum):
    """What is shown around an arm's mean."""

    AUTO = "auto"
    INTERVAL = "interval"
    RANGE = "range"
    SEEDS = "seeds"
    NONE = "none"


@dataclass(frozen=True, kw_only=True)
class Metric:
    """A metric of one split, by the name that people type: `val_loss`, `grad_norm`, `train_my_metric`."""

    name: str
    split: Split
    column: str


@dataclass(frozen=True, kw_only=True)
class RunCurve:
    """One run's curve: `x` rises, `y` is finite. `x` and `y` have the same length, at least 1."""

    settings: Mapping[str, Any]
    num_params: int
    seed: int
    data_fingerprint: str
    x: "NDArray[Any]"
    y: "NDArray[Any]"


@dataclass(frozen=True, kw_only=True)
class ArmCurve:
    """The runs of an arm on a common x: their mean, and the band's edges (both None where there is no band)."""

    settings: Mapping[str, Any]
    num_params: int
    runs: Sequence[RunCurve]
    x: "NDArray[Any]"
    mean: "NDArray[Any]"
    low: "NDArray[Any] | None"
    high: "NDArray[Any] | None"


def parse_metric(name: str, extra: Sequence[str] = ()) -> Metric:
    """The metric of that name; `extra` are users' own. Raises ExportError with the nearest for an unknown one."""
    columns = [column for column in CURVE_COLUMNS if column != "step"]
    wanted = name.replace("-", "_")
    for split in Split:
        bare = wanted.removeprefix(f"{split.value}_")
        if bare != wanted and bare in (*columns, *extra):
            return Metric(name=wanted, split=split, column=bare)
    if wanted in (*columns, *extra):
        split = Split.VAL if wanted == "bits_per_byte" else Split.TRAIN
        return Metric(name=f"{split.value}_{wanted}", split=split, column=wanted)
    known = [f"{split.value}_{column}" for column in (*columns, *extra) for split in Split] + columns
    nearest = difflib.get_close_matches(wanted, known, n=1)
    hint = f"Did you mean '{nearest[0]}'?" if nearest else f"For instance: {', '.join(known[:6])}."
    raise ExportError(f"there is no metric '{name}'", hint)


def curves_from_store(store: Store, wanted: RunFilter, metric: str, axis: Axis, *, smooth: float) -> list[RunCurve]:
    """The curves of the runs that match, of those that have the metric. Raises ExportError for an unknown one."""
    extra = _extra_names(store, wanted)
    parsed = parse_metric(metric, extra)
    found = []
    for run, curves in ((pair.run, pair.curves) for pair in runs_with_curves(store, wanted, parsed.split)):
        curve = curves.get(parsed.split)
        if curve is None or (parsed.column not in curve.columns and parsed.column not in curve.extra):
            continue
        fingerprint = str(run.facts.get("data_fingerprint", ""))
        made = _run_curve(
            run.settings, run.num_params, run.seed, fingerprint, curve[axis.column], curve[parsed.column], smooth
        )
        found += [made] if made else []
    return found


def _extra_names(store: Store, wanted: RunFilter) -> Sequence[str]:
    for found in runs_with_curves(store, wanted):
        if found.curves:
            return sorted({name for curve in found.curves.values() for name in curve.extra})
    return ()


def curves_from_csv(path: Path, metric: str, axis: Axis, *, smooth: float) -> list[RunCurve]:
    """The curves of an exported table with a row a run; tables of the original tool will do.

    Raises ExportError for a file that is no such table, and for a metric or an x that it does not have.
    """
    names = {(column.split, column.metric): column.name for column in run_columns() if column.split}
    found = []
    for row in read_csv_rows(path):
        parsed = parse_metric(metric, [name.partition("_")[2] for name in row if name.startswith(("train_", "val_"))])
        y_name = names.get((parsed.split, parsed.column), parsed.name)
        x_name = names[parsed.split, axis.column]
        for name in (y_name, x_name):
            if name not in row:
                raise ExportError(f"'{path}' has no column '{name}'", "Write it anew with hlbq export.")
        x, y = row[x_name], row[y_name]
        if isinstance(x, list) and isinstance(y, list):
            settings = {name: row[name] for name in specs() if name in row}
            fingerprint = str(row.get("data_fingerprint") or "")
            made = _run_curve(settings, row.get("num_params") or 0, row.get("seed") or 0, fingerprint, x, y, smooth)
            found += [made] if made else []
    return found


def _run_curve(
    settings: Mapping[str, Any],
    num_params: int,
    seed: int,
    fingerprint: str,
    x: Sequence[float],
    y: Sequence[float | None],
    smooth: float,
) -> RunCurve | None:
    import numpy

    pairs = [(a, b) for a, b in zip(x, y, strict=True) if b is not None and math.isfinite(a) and math.isfinite(b)]
    if not pairs:
        return None
    values = numpy.array(pairs, dtype=float)
    return RunCurve(
        settings=settings,
        num_params=num_params,
        seed=seed,
        data_fingerprint=fingerprint,
        x=values[:, 0],
        y=smoothed(values[:, 1], smooth),
    )


def smoothed(values: "NDArray[Any]", weight: float) -> "NDArray[Any]":
    """The exponential moving average with `weight` on the past (0: the values), corrected for its start.

    Correction as in Adam (Kingma and Ba, 2015): divided by 1 - weight**t.
    """
    import numpy

    if not weight:
        return values
    averaged = numpy.empty_like(values)
    average = 0.0
    for place, value in enumerate(values):
        average = weight * average + (1 - weight) * value
        averaged[place] = average / (1 - weight ** (place + 1))
    return averaged


def arm_curves(runs: Sequence[RunCurve], band: Band, *, past_shortest: bool) -> list[ArmCurve]:
    """The runs joined by arm, in the order of the settings in which they differ."""
    names = differing_settings(run.settings for run in runs)
    arms: dict[tuple[Any, ...], list[RunCurve]] = {}
    for run in runs:
        arms.setdefault(tuple(run.settings.get(name) for name in names), []).append(run)
    ordered = sorted(arms.items(), key=lambda item: tuple(_sortable(value) for value in item[0]))
    return [_arm_curve(own, band, past_shortest=past_shortest) for _, own in ordered]


def _sortable(value: Any) -> tuple[int, float, str]:
    return (0, float(value), "") if isinstance(value, (int, float)) else (1, 0.0, str(value))


def _arm_curve(runs: Sequence[RunCurve], band: Band, *, past_shortest: bool) -> ArmCurve:
    import numpy

    x = common_x([run.x for run in runs], past_shortest=past_shortest)
    # Outside a run's own span there is nothing of it: nan there, and left out of the mean.
    rows = [numpy.interp(x, run.x, run.y, left=math.nan, right=math.nan) for run in runs]
    values = numpy.array(rows)
    mean = numpy.nanmean(values, axis=0)
    low, high = _edges(values, mean, resolve_band(band, len(runs)))
    return ArmCurve(
        settings=runs[0].settings, num_params=runs[0].num_params, runs=runs, x=x, mean=mean, low=low, high=high
    )


def common_x(several: Sequence["NDArray[Any]"], *, past_shortest: bool) -> "NDArray[Any]":
    """The x at which any of the curves has a point, from where all have begun to where the first one ends.

    With `past_shortest`, to where the last one ends.
    """
    import numpy

    begin = max(x[0] for x in several)
    end = (max if past_shortest else min)(x[-1] for x in several)
    joined = numpy.unique(numpy.concatenate(several))
    inside = joined[(joined >= begin) & (joined <= end)]
    return inside if len(inside) else joined[:1]


def resolve_band(band: Band, seeds: int) -> Band:
    """What is drawn for an arm of so many seeds; AUTO is the range for few seeds, else the interval."""
    if seeds < 2:
        return Band.NONE
    if band is Band.AUTO:
        return Band.INTERVAL if seeds >= LEAST_SEEDS_FOR_INTERVAL else Band.RANGE
    return band


def _edges(
    values: "NDArray[Any]", mean: "NDArray[Any]", band: Band
) -> tuple["NDArray[Any] | None", "NDArray[Any] | None"]:
    import numpy

    if band is Band.RANGE:
        return numpy.nanmin(values, axis=0), numpy.nanmax(values, axis=0)
    if band is not Band.INTERVAL:
        return None, None
    from scipy.special import stdtrit

    count = numpy.sum(~numpy.isnan(values), axis=0)
    degrees = numpy.maximum(count - 1, 1)
    deviation = numpy.sqrt(numpy.nansum((values - mean) ** 2, axis=0) / degrees)
    half = stdtrit(degrees, (1 + CONFIDENCE) / 2) * deviation / numpy.sqrt(count)
    half[count < 2] = math.nan
    return mean - half, mean + half


def check_comparable(runs: Sequence[RunCurve], metric: str, *, allow_mixed_data: bool) -> None:
    """Raise ExportError where the runs' numbers mean different things: other tokens, or other data."""
    tokenizers = sorted(set(_texts(runs, "tokenizer")))
    if len(tokenizers) > 1 and metric.endswith(("loss", "pplx")):
        raise ExportError(
            f"'{metric}' of different tokenizers can't be compared: {', '.join(tokenizers)}",
            "Use --metric val_bits_per_byte, or choose one: --where tokenizer=" + tokenizers[0],
        )
    fingerprints = {run.data_fingerprint for run in runs if run.data_fingerprint}
    if len(fingerprints) > len(set(zip(_texts(runs, "dataset"), _texts(runs, "tokenizer"), strict=True))) and (
        not allow_mixed_data
    ):
        raise ExportError(
            f"the runs were trained on {len(fingerprints)} different versions of their data",
            "Choose runs with filters, or add --allow_mixed_data.",
        )


def _texts(runs: Sequence[RunCurve], name: str) -> Iterator[str]:
    return (str(run.settings.get(name) or "") for run in runs)
