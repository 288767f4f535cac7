"""Reading whole tables in pages, and digests of their rows that are the same on SQLite and PostgreSQL."""

import contextlib
import hashlib
import marshal
import operator
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import Boolean, ColumnElement, Connection, Select, Table, Text, literal, select, tuple_

from orchestrator.store.base import is_sqlite

PAGE_ROWS = 2_000
Key = tuple[Any, ...]

_BITS = 256
# A form that knows no references writes equal values as equal bytes, floats by their bits.
_FORMAT = 2
_NEGATIVE_ZERO = marshal.dumps(-0.0, _FORMAT)


class TableDigest:
    """Counts rows and digests them in any order: the sum of the rows' SHA-256, modulo 2^256.

    Two engines may order text differently, so the order of rows must not matter.
    """

    def __init__(self, table: Table, rows: int = 0, digest: str = "0") -> None:
        self._table, self.rows, self._sum = table, rows, int(digest, 16)

    def add(self, rows: Sequence[Sequence[Any]]) -> None:
        """Count some rows in."""
        self.rows += len(rows)
        rows = without_zero_bytes(self._table, rows)
        written = [marshal.dumps(tuple(row), _FORMAT) for row in rows]
        if _NEGATIVE_ZERO in b"".join(written):
            written = [marshal.dumps(tuple(map(_without_negative_zero, row)), _FORMAT) for row in rows]
        hashed = [hashlib.sha256(row).digest() for row in written]
        self._sum = (self._sum + sum(map(int.from_bytes, hashed))) % (1 << _BITS)

    @property
    def digest(self) -> str:
        """The digest so far, as hexadecimal digits."""
        return f"{self._sum:0{_BITS // 4}x}"


def _without_negative_zero(value: Any) -> Any:
    """A number as SQLite holds it, which has no negative zero."""
    return value + 0.0 if type(value) is float else value


def without_zero_bytes(table: Table, rows: Sequence[Sequence[Any]]) -> Sequence[Sequence[Any]]:
    """The rows with U+FFFD in texts instead of zero bytes, which PostgreSQL can't hold."""
    places = [place for place, column in enumerate(table.c) if isinstance(column.type, Text)]
    # Searched for in a column at once: a call a value would cost more than the row's digest.
    if not any("\x00" in "".join(filter(None, map(operator.itemgetter(place), rows))) for place in places):
        return rows
    return [[value.replace("\x00", "\ufffd") if isinstance(value, str) else value for value in row] for row in rows]


def key_of(table: Table, row: Sequence[Any]) -> Key:
    """The row's primary key."""
    names = table.c.keys()
    return tuple(row[names.index(column.name)] for column in table.primary_key.columns)


def pages(
    connection: Connection, table: Table, *, after: Key | None = None, up_to: Key | None = None
) -> Iterator[Sequence[Sequence[Any]]]:
    """All rows in the order of the primary key, some thousand at a time, from past `after` up to `up_to`."""
    columns = list(table.primary_key.columns)
    query = select(table).order_by(*columns).limit(PAGE_ROWS)
    if up_to is not None:
        query = query.where(tuple_(*columns) <= _literal(columns, up_to))
    while True:
        rows = _rows(
            connection, table, query if after is None else query.where(tuple_(*columns) > _literal(columns, after))
        )
        if rows:
            yield rows
        if len(rows) < PAGE_ROWS:
            return
        after = key_of(table, rows[-1])


def _rows(connection: Connection, table: Table, query: Select[Any]) -> Sequence[Sequence[Any]]:
    with contextlib.closing(connection.execute(query)) as result:
        # Plain tuples spare the making of a Row for each. Only SQLite has truths as numbers.
        if is_sqlite(connection) and any(isinstance(column.type, Boolean) for column in table.c):
            return result.all()
        return result.cursor.fetchall() if result.cursor is not None else ()


def _literal(columns: Sequence[ColumnElement[Any]], key: Key) -> ColumnElement[Any]:
    return tuple_(*(literal(value, column.type) for column, value in zip(columns, key, strict=True)))


def digest_of(connection: Connection, table: Table, *, up_to: Key | None = None) -> TableDigest:
    """The digest of a table, or of its rows up to a key."""
    found = TableDigest(table)
    for page in pages(connection, table, up_to=up_to):
        found.add(page)
    return found
