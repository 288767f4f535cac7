"""One curve of a metric for each run, read from the database or from an exported table."""

import functools
import math
import sys
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy
from numpy.typing import NDArray

from hlbgpt_core.evaluation import known_fingerprint
from hlbgpt_core.points import Split
from hlbgpt_core.settings import specs
from orchestrator.comparison.measuring.compared_runs import ComparedRun
from orchestrator.comparison.measuring.groups import sortable
from orchestrator.comparison.reporting.cautions import code_warnings, device_warnings, few, seconds_warnings
from orchestrator.errors import ExportError
from orchestrator.export.columns import run_columns
from orchestrator.export.csv_table import read_csv_rows
from orchestrator.export.metric_names import Axis, Metric, axis_of, find_metric, parse_metric
from orchestrator.plots.run_curves import LARGEST_DRAWN, RunCurve, smoothed, why_unplaced
from orchestrator.queue.code import joined
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import TERMINAL
from orchestrator.store import Store
from orchestrator.sweep.baseline import baseline_of
from orchestrator.sweep.options import value_text

_SPLIT_PREFIXES = tuple(f"{split}_" for split in Split)
# What tells newer runs of a table from older ones, the best first.
_TIMES = ("created_at", "ended_at", "run_id")
_ENDED = frozenset(state.value for state in TERMINAL)


@dataclass(frozen=True, kw_only=True)
class Source:
    """A store with the filter for its runs, or a table, all of whose runs count."""

    place: Store | Path
    runs: RunFilter

    @classmethod
    def of(cls, place: Store | str | Path, runs: RunFilter | None) -> "Source":
        """Of a store these runs, or those of the latest sweep. Raises ExportError for a pipe, which can be read but
        once."""
        if not isinstance(place, Store):
            if Path(place).is_fifo():
                hint = "Write the table to a file first, and name that: --csv table.csv"
                raise ExportError(f"'{place}' is a pipe, and a table is read more than once", hint)
            return cls(place=Path(place), runs=RunFilter())
        if runs is None:
            latest = place.latest_sweep()
            runs = RunFilter(sweep_ids=(latest.id,) if latest else (), with_members=True)
        return cls(place=place, runs=runs)

    @property
    def is_table(self) -> bool:
        """Whether it is a table, from which no filter chooses."""
        return not isinstance(self.place, Store)

    def hint_of_values(self, found: Sequence[RunCurve], names: Sequence[str]) -> str:
        """Where to see which values the runs have of these settings: of a table, they themselves."""
        if not self.is_table:
            return "See which arms there are: hlbq compare"
        known = {name: {run.settings.get(name) for run in found} - {None} for name in names}
        texts = [f"{name} {few([*map(value_text, sorted(own, key=sortable))]) or '-'}" for name, own in known.items()]
        return f"The table has {'; '.join(texts)}."

    @functools.cached_property
    def _columns(self) -> Collection[str]:
        """The columns of a table. Raises ExportError for one without rows."""
        assert isinstance(self.place, Path)
        row = next(read_csv_rows(self.place), None)
        if row is None:
            raise ExportError(f"'{self.place}' has no row below its header", "Write it again with hlbq export.")
        return row.keys()

    def metric(self, name: str) -> Metric:
        """The metric of that name. Raises UnknownMetricError, naming the nearest, for another one."""
        if isinstance(self.place, Store):
            return find_metric(self.place, self.runs, name)
        facts = {column.name for column in run_columns() if column.split is None}
        lists = [column for column in self._columns if column not in facts]
        own = [column.partition("_")[2] for column in lists if column.startswith(_SPLIT_PREFIXES)]
        return parse_metric(name, own)

    def check_columns(self, names: Sequence[str]) -> None:
        """Raise ExportError for a table that lacks the column of a setting or a size."""
        if isinstance(self.place, Store):
            return
        for name in names:
            if name not in self._columns and name != "flops":
                raise ExportError(f"'{self.place}' has no column '{name}'", "Write it again with hlbq export.")

    def curves(
        self, metric: str, x: Axis | Metric = Axis.TOKENS, *, smooth: float = 0.0, last: bool = False
    ) -> list[RunCurve]:
        """The curves of the runs that have the metric. With `last`, a store reads only their last points.

        Raises ExportError for a metric that none of them has, naming the nearest, where no point has an x, and for a
        table that lacks a column. Tables of the original tool work too.
        """
        parsed = self.metric(metric)
        if isinstance(self.place, Store):
            recorded = _from_store(self.place, self.runs, parsed, x, last=last)
        else:
            recorded, last = _from_csv(self.place, parsed, x), False
        found: list[RunCurve] = []
        for one in recorded:
            if (run := _run_curve(one, smooth, keep_all=last)) is not None:
                # Most runs have their points where the one before has them: they hold one array together.
                is_alike = bool(found) and numpy.array_equal(run.x, found[-1].x)
                found.append(replace(run, x=found[-1].x) if is_alike else run)
        if any(run.unplaced for run in found) and not any(len(run.x) for run in found):
            hint = "Draw over the time that training took: --x seconds"
            if isinstance(x, Metric):
                hint = "See which steps have which: hlbq export points.csv --layout points"
            raise ExportError(f"the runs have {why_unplaced(parsed.name, x)}", hint)
        return found

    def baseline(self) -> Mapping[str, Any] | None:
        """The baseline of the one sweep that is chosen; None for several, and for a table."""
        if not isinstance(self.place, Store) or len(self.runs.sweep_ids) != 1:
            return None
        sweep = self.place.sweep(self.runs.sweep_ids[0])
        return None if sweep is None else baseline_of(sweep.definition)

    def cautions(self, found: Sequence[RunCurve], *, timed: bool) -> list[str]:
        """Warns if the runs come from several codes, and of `timed` figures if their seconds are not comparable. A
        table records of codes only digests, and no slots."""
        codes = sorted({run.code for run in found} - {""})
        are_mixed = len(codes) > 1 or " " in "".join(codes)
        if not isinstance(self.place, Store):
            told = [f"these runs come from different codes: {', '.join(codes)}"] if are_mixed else []
            return told + (device_warnings(run.device_name for run in found) if timed else [])
        if not (are_mixed or timed):
            return []
        claimed = [ComparedRun.of(run) for run in self.place.runs(self.runs) if run.fence]
        told = code_warnings(self.place, claimed) if are_mixed else []
        return told + (seconds_warnings(self.place, claimed) if timed else [])


@dataclass(frozen=True, kw_only=True)
class _Recorded:
    """What is known `about` a run, and its points as they were recorded; `over` is of the metric that is x, if one
    is."""

    about: Mapping[str, Any]
    x: Sequence[float | None] = ()
    y: Sequence[float | None] = ()
    over: Sequence[float | None] | None = None


def _from_store(
    store: Store, wanted: RunFilter, metric: Metric, x: Axis | Metric, *, last: bool
) -> Iterator[_Recorded]:
    axis = axis_of(x)
    columns = [axis.column, *([x.column] if isinstance(x, Metric) else []), metric.column]
    split = metric.split if isinstance(x, Axis) or x.split is metric.split else None
    for found in store.runs_with_curves(wanted, split, columns, last=last):
        run, curve = found.run, found.curves.get(metric.split)
        about = {
            "settings": run.settings,
            "num_params": run.num_params,
            "num_non_embedding_params": run.num_non_embedding_params,
            "seed": run.seed,
            "data_fingerprint": str(run.facts.get("data_fingerprint", "")),
            **_fingerprints(metric, x, run.settings, run.facts),
            "device_name": str(run.facts.get("device_name") or ""),
            "state": run.state.value,
            "code": sys.intern(joined(part.digest for part in run.code)),
        }
        if curve is None or metric.column not in curve:
            yield _Recorded(about=about)
            continue
        places = axis.places(curve["step"], curve[axis.column], run.settings, run.started_at)
        over = None
        if isinstance(x, Metric):
            other = found.curves.get(x.split)
            has_x = other is not None and x.column in other
            known = dict(zip(other["step"], other[x.column], strict=True)) if other and has_x else {}
            over = [known.get(step) for step in curve["step"]]
        yield _Recorded(about=about, x=places, y=curve[metric.column], over=over)


def _from_csv(path: Path, metric: Metric, x: Axis | Metric) -> Iterator[_Recorded]:
    """The runs of an exported table with one row per run; tables of the original tool work too."""
    if x is Axis.WALL_CLOCK:
        raise ExportError("a table of runs has no wall clock", "Draw from the database: leave the table out.")
    axis = axis_of(x)
    names = {(column.split, column.metric): column.name for column in run_columns() if column.split}

    def lists(row: Mapping[str, Any], wanted: Metric) -> tuple[Sequence[Any], Sequence[Any]]:
        x_name = names[wanted.split, axis.column]
        return _lists_of(path, row, x_name, names.get((wanted.split, wanted.column), wanted.name))

    for number, row in enumerate(read_csv_rows(path)):
        settings = {name: row[name] for name in specs() if name in row}
        places, values = lists(row, metric)
        over = None
        if isinstance(x, Metric):
            known = dict(zip(*lists(row, x), strict=True))
            over = [known.get(step) for step in places]
        if axis is Axis.FLOPS:
            places = axis.places(_list_of(path, row, names[metric.split, "step"]), places, settings)
        about = {
            "settings": settings,
            "num_params": row.get("num_params") or 0,
            "num_non_embedding_params": row.get("num_non_embedding_params") or 0,
            # In a table without seeds each run is a seed of its own.
            "seed": -1 - number if row.get("seed") is None else row["seed"],
            "data_fingerprint": str(row.get("data_fingerprint") or ""),
            **_fingerprints(metric, x, settings, row),
            "device_name": str(row.get("device_name") or ""),
            "state": str(row.get("state") or ""),
            "without_end": "state" not in row and row.get("last_val_loss", 0.0) is None,
            "age": _age(row),
            "code": str(row.get("code") or ""),
        }
        yield _Recorded(about=about, x=places, y=values, over=over)


def _age(row: Mapping[str, Any]) -> tuple[float, ...]:
    """What rises from older runs to newer ones; the same for all where the table does not tell.

    First the time, as ids do not compare between databases whose runs were joined in a table.
    """
    known = [value for name in _TIMES if isinstance(value := row.get(name), int | float)]
    return (known[0], known[-1]) if known else ()


def _fingerprints(
    metric: Metric, x: Axis | Metric, settings: Mapping[str, Any], facts: Mapping[str, Any]
) -> Mapping[str, str]:
    """Of the evaluations that measure the metric, and x if that is one. Interned, as few runs have one of their own."""
    found = {"evaluation_fingerprint": sys.intern(known_fingerprint(metric.split, settings, facts))}
    if isinstance(x, Metric):
        found["x_evaluation_fingerprint"] = sys.intern(known_fingerprint(x.split, settings, facts))
    return found


def _lists_of(path: Path, row: Mapping[str, Any], x_name: str, y_name: str) -> tuple[Sequence[Any], Sequence[Any]]:
    """Two columns of a row, of the same length; both empty where one is. Raises ExportError for other lengths."""
    xs, ys = (_list_of(path, row, name) for name in (x_name, y_name))
    if not (xs and ys):
        return (), ()
    if len(xs) != len(ys):
        raise ExportError(
            f"'{path}' has {len(ys)} values of '{y_name}' and {len(xs)} of '{x_name}' in a row",
            "Write it again with hlbq export.",
        )
    return xs, ys


def _list_of(path: Path, row: Mapping[str, Any], name: str) -> Sequence[Any]:
    """The list of a row's cell; empty for an empty cell. Raises ExportError if there is no such column or list."""
    if name not in row:
        hint = "Write a CSV with one row per run: hlbq export results.csv"
        if name.startswith("steps_"):
            hint += "   A table of the original tool has no steps: --x tokens, epochs or seconds."
        raise ExportError(f"'{path}' has no column '{name}'", hint)
    values = row[name]
    if not isinstance(values, list | None):
        raise ExportError(
            f"'{path}' has '{values!s:.40}' under '{name}' instead of a list", "Write it again with hlbq export."
        )
    return values or ()


def _run_curve(recorded: _Recorded, smooth: float, *, keep_all: bool = False) -> RunCurve | None:
    """The run's curve; None for an unfinished run without any record."""

    def are_there(values: Sequence[float | None]) -> NDArray[Any]:
        # numpy has nan for what was never recorded, but nan may also be a value.
        return numpy.array([value is not None for value in values], dtype=bool)

    def bounded(values: Sequence[float | None]) -> NDArray[Any]:
        found = numpy.array(values, dtype=float)
        return numpy.where(numpy.abs(found) > LARGEST_DRAWN, numpy.copysign(math.inf, found), found)

    xs, ys = numpy.array(recorded.x, dtype=float), bounded(recorded.y)
    over = None if recorded.over is None else bounded(recorded.over)
    has_value = are_there(recorded.y)
    kept = has_value & numpy.isfinite(xs) & (True if recorded.over is None else are_there(recorded.over))
    unplaced = bool(has_value.any() and not kept.any())
    if not (kept.any() or unplaced) and recorded.about["state"] not in _ENDED:
        return None
    finite = numpy.isfinite(ys)
    drawn = kept if keep_all else kept & finite & (True if over is None else numpy.isfinite(over))
    weight = 0.0 if keep_all else smooth
    return RunCurve(
        **recorded.about,
        x=xs[drawn],
        y=smoothed(xs[drawn], ys[drawn], weight),
        over=None if over is None else smoothed(xs[drawn], over[drawn], weight),
        diverged=bool(kept.any()) and not finite[kept][-1],
        recorded=bool(kept.any()),
        unplaced=unplaced,
    )
