"""Reading points a column at a time: what all readers need, without an object for each point.

`runs_with_curves` is the one way to the runs of a filter with their points. Name the columns that you want, and ask for
the `last` points alone where the last value of a metric is all that you need: that reads one row a run.

    for found in store.runs_with_curves(wanted, Split.VAL, ("loss",), last=True):
        found.run, found.curves[Split.VAL]["loss"][-1]

It streams: keep what you need of a run, and let the run go.
"""

import contextlib
import itertools
import json
import operator
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import JSON, ColumnElement, Connection, Select, and_, cast, func, null, or_, select

from hlbgpt_core.points import Split
from orchestrator.queue.runs import RunFilter, RunRecord
from orchestrator.store.base import is_sqlite, to_json
from orchestrator.store.filters import one_of
from orchestrator.store.points import PLUS_INFINITY
from orchestrator.store.reading.runs import RunReadStore
from orchestrator.store.tables import points, runs

# The columns of a curve, in the order in which exports show them.
CURVE_COLUMNS = tuple(
    "step loss acc pplx grad_norm cumulative_time tokens_seen epoch batch_size seq_length lr weight_decay microbatches "
    "bits_per_byte".split()
)
# When a point was received: a place of a curve, not a metric. None for points of schemas before 0015.
RECORDED_AT = "recorded_at"
_KNOWN = frozenset((*CURVE_COLUMNS, RECORDED_AT))
_ROWS_AT_A_TIME = 2000
_RUNS_A_PAGE = 50
_RUNS_A_PAGE_OF_POINTS = 200
_RUNS_A_PAGE_OF_LAST = 500


class NumberTexts(tuple[str | None, ...]):
    """Numbers as the texts that the database holds (`0.1`, `nan`, `-inf`), None where there is none.

    Exports copy them: reading and writing each would take a third of their time.
    """

    __slots__ = ()

    def numbers(self) -> list[float | None]:
        """The numbers themselves."""
        return [None if text is None else float(text) for text in self]


@dataclass(frozen=True, kw_only=True)
class Curve:
    """All points of one split of a run, by rising step: each column holds one value a point.

    A value that was never recorded is None; non-finite ones are themselves. `extra` has the metrics that
    have no column of their own, users' own among them.
    """

    run_id: int
    split: Split
    columns: Mapping[str, Sequence[Any]]
    extra: Mapping[str, NumberTexts] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.columns["step"])

    def __contains__(self, name: object) -> bool:
        """Whether the curve has the column or the extra metric of that name."""
        return name in self.columns or name in self.extra

    def __getitem__(self, name: str) -> Sequence[Any]:
        """A column or an extra metric by its name. Raises KeyError for one that the curve has not."""
        return self.columns[name] if name in self.columns else self.extra[name].numbers()


@dataclass(frozen=True, kw_only=True)
class RunCurves:
    """A run with its curves."""

    run: RunRecord
    curves: Mapping[Split, Curve]


@dataclass(frozen=True, kw_only=True)
class PointPage:
    """Some thousand points by run, split and step, as columns: `run_id`, `split` and those of a curve. `runs` are
    theirs, by number."""

    runs: Mapping[int, RunRecord]
    columns: Mapping[str, Sequence[Any]]
    extra: Mapping[str, NumberTexts]


class CurveStore(RunReadStore):
    """The store's part that reads curves."""

    def metrics_without_column(self, wanted: RunFilter) -> set[tuple[Split, str]]:
        """What the runs recorded in `extra`, users' own metrics among it: each name with its split."""
        found: set[tuple[Split, str]] = set()
        for batch in self.pages_of_runs(wanted, _RUNS_A_PAGE_OF_POINTS):
            with self._read() as connection:
                sqlite = is_sqlite(connection)
                keys = func.json_each(points.c.extra) if sqlite else func.json_object_keys(cast(points.c.extra, JSON))
                # Named as its column is, which is how PostgreSQL calls the column of such a function.
                key = keys.table_valued("key", name="key", joins_implicitly=True).c.key
                query = select(points.c.split, key).distinct()
                own = query.where(one_of(connection, points.c.run_id, [run.id for run in batch]))
                found |= {(Split(split), name) for split, name in connection.execute(own)}
        return found

    def pages_of_points(self, wanted: RunFilter) -> Iterator[PointPage]:
        """All points of the runs that pass `wanted`, by the number of the run: where runs are short, half the cost of
        their curves."""
        names = ("run_id", "split", *CURVE_COLUMNS, RECORDED_AT)
        query = select(*(points.c[name] for name in names), points.c.extra, points.c.nonfinite)
        for batch in self.pages_of_runs(wanted, _RUNS_A_PAGE_OF_POINTS):
            by_number = {run.id: run for run in batch}
            with self._read() as connection:
                theirs = query.where(one_of(connection, points.c.run_id, by_number)).order_by(*points.primary_key)
                with contextlib.closing(_streamed(connection, theirs)) as pages:
                    for page in pages:
                        columns, extra = _columns(names, list(zip(*page, strict=True)))
                        yield PointPage(runs=by_number, columns=columns, extra=extra)

    def runs_with_curves(
        self,
        wanted: RunFilter,
        split: Split | None = None,
        names: Sequence[str] | None = None,
        *,
        last: bool = False,
    ) -> Iterator[RunCurves]:
        """Every run that passes `wanted`, by number, with its `curves` (empty for a run without points)."""
        for batch in self.pages_of_runs(wanted, _RUNS_A_PAGE_OF_LAST if last else _RUNS_A_PAGE):
            # A run that was never claimed has no points: no need to query it.
            curves = self.curves([run.id for run in batch if run.fence], split, names, last=last)
            by_run = itertools.groupby(curves, key=lambda curve: curve.run_id)
            run_id, group = next(by_run, (None, iter(())))
            for run in batch:
                own: dict[Split, Curve] = {}
                if run.id == run_id:
                    own = {curve.split: curve for curve in group}
                    run_id, group = next(by_run, (None, iter(())))
                yield RunCurves(run=run, curves=own)

    def curves(
        self,
        run_ids: Sequence[int],
        split: Split | None = None,
        names: Sequence[str] | None = None,
        *,
        last: bool = False,
        after_step: int = -1,
    ) -> Iterator[Curve]:
        """The curves of these runs, by run and then split. Splits without points are left out.

        `names` are the metrics that are wanted, if not all: a figure of two columns need not read fourteen, nor
        parse what users added. With `last`, a curve is one point: the last one of `split` that has a value of the last
        of `names`, finite or not; name both. Points up to `after_step` are left out.

        One read transaction serves them all, so ask for a few dozen runs at a time; one curve is in memory
        at a time.
        """
        if not run_ids:
            return
        every = (*CURVE_COLUMNS, RECORDED_AT)
        columns = every if names is None else ("step", *(name for name in every[1:] if name in names))
        with_extra = names is None or not _KNOWN.issuperset(names)
        wanted = [points.c[name] for name in columns]
        extra = points.c.extra if with_extra else null().label("extra")
        query = select(points.c.run_id, points.c.split, *wanted, extra, points.c.nonfinite)
        if split is not None:
            query = query.where(points.c.split == split.value)
        if after_step >= 0:
            query = query.where(points.c.step > after_step)
        if last and split is not None and names is not None:
            query = query.select_from(runs).join(points, _is_last_point(split, names[-1]))
        with self._read() as connection:
            query = query.where(one_of(connection, runs.c.id if last else points.c.run_id, run_ids))
            query = query.order_by(points.c.run_id, points.c.split, points.c.step)
            with contextlib.closing(_streamed(connection, query)) as pages:
                rows = itertools.chain.from_iterable(pages)
                for (run_id, name), group in itertools.groupby(rows, key=operator.itemgetter(0, 1)):
                    _, _, *values = zip(*group, strict=True)
                    found, more = _columns(columns, values)
                    yield Curve(run_id=run_id, split=Split(name), columns=found, extra=more)


def _streamed(connection: Connection, query: Select[Any]) -> Generator[Sequence[Sequence[Any]]]:
    """The query's rows, page by page: fetching row by row costs as much again as SQLite's own work."""
    if is_sqlite(connection):
        # Its cursor streams by itself, and plain tuples spare the making of a Row for each point.
        with contextlib.closing(connection.execute(query)) as result:
            cursor = result.cursor
            while page := cursor.fetchmany(_ROWS_AT_A_TIME) if cursor is not None else ():
                yield page
        return
    with contextlib.closing(connection.execution_options(yield_per=_ROWS_AT_A_TIME).execute(query)) as result:
        yield from result.partitions()


def _is_last_point(split: Split, metric: str) -> ColumnElement[bool]:
    """Whether a row of `points` is the last one of its run (a row of `runs`) that has a value of the metric."""
    newest = points.alias("newest")
    named_in = newest.c.nonfinite if metric in _KNOWN else newest.c.extra
    # Not LIKE, which takes upper case for lower case on SQLite.
    recorded = func.replace(named_in, f"{to_json(metric)}:", "") != named_in
    if metric in _KNOWN:
        recorded = or_(newest.c[metric].is_not(None), recorded)
    step = (
        select(newest.c.step)
        .where(newest.c.run_id == runs.c.id, newest.c.split == split.value, recorded)
        .order_by(newest.c.step.desc())
        .limit(1)
        .scalar_subquery()
    )
    return and_(points.c.run_id == runs.c.id, points.c.split == split.value, points.c.step == step)


def _columns(
    names: Sequence[str], read: Sequence[Sequence[Any]]
) -> tuple[Mapping[str, Sequence[Any]], Mapping[str, NumberTexts]]:
    """The columns of these names, of the values that were read and the two texts after them; and users' own."""
    *values, extra, nonfinite = read
    columns: dict[str, Sequence[Any]] = dict(zip(names, values, strict=True))
    if any(nonfinite):
        columns = _with_nonfinite(columns, nonfinite)
    return columns, _extra_columns(extra)


def _with_nonfinite(columns: Mapping[str, Sequence[Any]], codes: Sequence[str | None]) -> dict[str, Sequence[Any]]:
    restored = {name: list(values) for name, values in columns.items()}
    for place, text in enumerate(codes):
        for name, code in json.loads(text).items() if text else ():
            if name in restored:
                restored[name][place] = float(code)
    return dict(restored)


# Numbers stay the text that they are.
_NUMBERS_AS_TEXT = json.JSONDecoder(parse_float=str, parse_int=str)


def _extra_columns(texts: Sequence[str | None]) -> dict[str, NumberTexts]:
    if not any(texts):
        return {}
    # One call for all of them is several times as fast as one a point.
    parsed: list[dict[str, str]] = _NUMBERS_AS_TEXT.decode("[" + ",".join(text or "{}" for text in texts) + "]")
    columns: dict[str, NumberTexts] = {}
    for name in dict.fromkeys(itertools.chain.from_iterable(parsed)):
        values = [point.get(name) for point in parsed]
        if PLUS_INFINITY in values:
            values = ["inf" if text == PLUS_INFINITY else text for text in values]
        columns[name] = NumberTexts(values)
    return columns
