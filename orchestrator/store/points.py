"""A point as its row, and back; and writing points. curves.py reads many of them, a column at a time."""

import json
import math
import operator
from collections.abc import Sequence
from typing import Any

from sqlalchemy import Connection, Row

from hlbgpt_core.points import Point, Split
from orchestrator.queue.attempts import Lease
from orchestrator.queue.points import ReceivedPoint, StoredPoint
from orchestrator.store.base import insert_many, or_replace, to_json
from orchestrator.store.tables import points

NAN, PLUS_INFINITY, MINUS_INFINITY = "nan", "+inf", "-inf"
_METRICS = ("loss", "acc", "pplx", "cumulative_time", "epoch", "lr", "weight_decay", "grad_norm", "bits_per_byte")
_COUNTERS = ("tokens_seen", "batch_size", "seq_length", "microbatches")
_NUMBERS = (*_METRICS, *_COUNTERS)
# By place and all at once: a sync reads tens of thousands of points, and a row's names are slow to look up.
_POINT_COLUMNS = ("split", "step", "fence", "extra", "nonfinite", *_NUMBERS)
_point_of = operator.itemgetter(*(points.c.keys().index(name) for name in _POINT_COLUMNS))

_COLUMNS = points.c.keys()
_OR_REPLACE = or_replace(points)


def upsert_points(connection: Connection, lease: Lease, new: Sequence[Point]) -> None:
    """Write points; one that is there already (a transaction tried again) is written over with itself."""
    latest = {(point.split, point.step): point for point in new}
    rows = (point_row(lease.run_id, lease.fence, point) for point in latest.values())
    values = (tuple(row[name] for name in _COLUMNS) for row in rows)
    insert_many(connection, points, _COLUMNS, values, ending=_OR_REPLACE)


def read_metric(name: str, stored: float | None, nonfinite: str | None) -> float | None:
    """A metric of a point: the number of its column, or what `nonfinite` has in its place."""
    code = json.loads(nonfinite).get(name) if stored is None and nonfinite else None
    return stored if code is None else float(code)


def point_row(run_id: int, fence: int, point: Point) -> dict[str, Any]:
    """A point as its row. SQLite turns nan into NULL, so non-finite numbers are NULL plus a code."""
    row: dict[str, Any] = {"run_id": run_id, "fence": fence, "split": point.split.value, "step": point.step}
    row["recorded_at"] = point.recorded_at if isinstance(point, ReceivedPoint) else None
    codes: dict[str, str] = {}
    for name in _METRICS:
        value = getattr(point, name)
        if value is not None and not math.isfinite(value):
            codes[name] = _code(value)
            value = None
        row[name] = value
    for name in _COUNTERS:
        row[name] = getattr(point, name)
    extra = {name: value if math.isfinite(value) else _code(value) for name, value in point.extra.items()}
    row["extra"] = to_json(extra) if extra else None
    row["nonfinite"] = to_json(codes) if codes else None
    return row


def read_point(row: Row[Any]) -> StoredPoint:
    """A row that begins with the columns of `points`."""
    split, step, fence, extra, nonfinite, *numbers = _point_of(row)
    values: dict[str, Any] = dict(zip(_NUMBERS, numbers, strict=True))
    if nonfinite:
        values |= {name: float(code) for name, code in json.loads(nonfinite).items()}
    more = {name: float(value) for name, value in json.loads(extra).items()} if extra else {}
    return StoredPoint(fence=fence, point=Point(split=Split(split), step=step, extra=more, **values))


def _code(value: float) -> str:
    if math.isnan(value):
        return NAN
    return PLUS_INFINITY if value > 0 else MINUS_INFINITY
