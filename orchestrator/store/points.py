"""Writing points, and reading curves in constant memory."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, select

from hlbgpt_core.points import Point, Split
from orchestrator.queue.attempts import Lease
from orchestrator.queue.points import StoredPoint
from orchestrator.queue.runs import RunFilter
from orchestrator.store.base import StoreBase, insert_many
from orchestrator.store.filters import one_of
from orchestrator.store.pages import by_sweep, chosen, next_page
from orchestrator.store.rows import point_row, read_point
from orchestrator.store.tables import points

_RUNS_A_PAGE = 500
_POINTS_A_PAGE = 5_000

_KEY = ("run_id", "split", "step")
_COLUMNS = [column.name for column in points.c]
_OR_REPLACE = f"ON CONFLICT ({', '.join(_KEY)}) DO UPDATE SET " + ", ".join(
    f"{name} = excluded.{name}" for name in _COLUMNS if name not in _KEY
)


class PointStore(StoreBase):
    """Reads of points."""

    def points(self, wanted: RunFilter, split: Split | None = None) -> Iterator[StoredPoint]:
        """The points of the runs that match, by run, split and step.

        Each run's points are read in one read, so that a curve never mixes two attempts; besides, no more
        than a page is held in memory, and no transaction stays open between pages.
        """
        for one in by_sweep(wanted):
            last_run = 0
            while True:
                with self._read() as connection:
                    query = chosen(connection, "numbers", one)
                    query = next_page("numbers", query, after_id=last_run, size=_RUNS_A_PAGE)
                    run_ids = list(connection.execute(query).scalars())
                if not run_ids:
                    break
                last_run = run_ids[-1]
                yield from self._points_of(run_ids, split)

    def _points_of(self, run_ids: list[int], split: Split | None) -> Iterator[StoredPoint]:
        at_once = 1
        while run_ids:
            group = run_ids[:at_once]
            with self._read() as connection:
                rows = _read_rows(connection, group, split, limit=_POINTS_A_PAGE + 1)
                if len(rows) > _POINTS_A_PAGE:
                    group, rows = _whole_runs(connection, group, rows, split)
            yield from map(read_point, rows)
            run_ids = run_ids[len(group) :]
            # As many runs in the next read as should fill half a page.
            at_once = max(1, min(_RUNS_A_PAGE, len(group) * _POINTS_A_PAGE // (2 * max(1, len(rows)))))


def _whole_runs(
    connection: Connection, group: list[int], rows: list[Any], split: Split | None
) -> tuple[list[int], list[Any]]:
    """Of a page that was cut off: the runs that it holds in full, or the first run alone, read to its end."""
    cut_off = rows[-1].run_id
    if cut_off == rows[0].run_id:
        upto = group.index(cut_off)
        return group[: upto + 1], _read_rows(connection, [cut_off], split, limit=None)
    return group[: group.index(cut_off)], [row for row in rows if row.run_id != cut_off]


def _read_rows(connection: Connection, run_ids: list[int], split: Split | None, *, limit: int | None) -> list[Any]:
    query = select(points).order_by(points.c.run_id, points.c.split, points.c.step).limit(limit)
    if len(run_ids) == 1:
        query = query.where(points.c.run_id == run_ids[0])
    else:
        query = query.where(one_of(connection, points.c.run_id, run_ids))
    if split is not None:
        query = query.where(points.c.split == split.value)
    return list(connection.execute(query))


def upsert_points(connection: Connection, lease: Lease, new: Sequence[Point]) -> None:
    """Write points; one that is there already (a transaction tried again) is written over with itself."""
    latest = {(point.split, point.step): point for point in new}
    rows = (point_row(lease.run_id, lease.fence, point) for point in latest.values())
    values = (tuple(row[name] for name in _COLUMNS) for row in rows)
    insert_many(connection, points, _COLUMNS, values, ending=_OR_REPLACE)
