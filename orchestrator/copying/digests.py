"""Reading whole tables in pages, and digests of their rows that are the same on SQLite and PostgreSQL."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Table, literal, select, tuple_

PAGE_ROWS = 2_000
Key = tuple[Any, ...]

_BITS = 256


class TableDigest:
    """Counts rows and digests them in any order: the sum of the rows' SHA-256, modulo 2^256.

    Two engines may order text differently, so the order of rows must not matter.
    """

    def __init__(self, rows: int = 0, digest: str = "0") -> None:
        self.rows, self._sum = rows, int(digest, 16)

    def add(self, row: Sequence[Any]) -> None:
        """Count a row in."""
        self.rows += 1
        hashed = hashlib.sha256(_canonical(row).encode("ascii")).digest()
        self._sum = (self._sum + int.from_bytes(hashed, "big")) % (1 << _BITS)

    @property
    def digest(self) -> str:
        """The digest so far, as hexadecimal digits."""
        return f"{self._sum:0{_BITS // 4}x}"


def _canonical(row: Sequence[Any]) -> str:
    # repr of a float reads back as the same number, and ascii() is the same whatever the version of Python.
    text = ascii(tuple(row))
    if "-0.0" in text or "\\x00" in text:
        text = ascii(tuple(_plain(value) for value in row))
    return text


def _plain(value: Any) -> Any:
    """The value in a form that both engines can hold: SQLite has no negative zero, PostgreSQL no zero byte in a
    text."""
    if isinstance(value, float):
        return value + 0.0
    return without_zero_bytes(value)


def without_zero_bytes(value: Any) -> Any:
    """A text with U+FFFD instead of zero bytes; anything else unchanged."""
    return value.replace("\x00", "\ufffd") if isinstance(value, str) and "\x00" in value else value


def key_of(table: Table, row: Row[Any]) -> Key:
    """The row's primary key."""
    return tuple(row._mapping[column] for column in table.primary_key.columns)


def pages(
    connection: Connection, table: Table, *, after: Key | None = None, up_to: Key | None = None
) -> Iterator[Sequence[Row[Any]]]:
    """All rows in the order of the primary key, some thousand at a time, from past `after` up to `up_to`."""
    columns = list(table.primary_key.columns)
    query = select(table).order_by(*columns).limit(PAGE_ROWS)
    if up_to is not None:
        query = query.where(tuple_(*columns) <= _literal(columns, up_to))
    while True:
        page = connection.execute(query if after is None else query.where(tuple_(*columns) > _literal(columns, after)))
        rows = page.all()
        if rows:
            yield rows
        if len(rows) < PAGE_ROWS:
            return
        after = key_of(table, rows[-1])


def _literal(columns: Sequence[ColumnElement[Any]], key: Key) -> ColumnElement[Any]:
    return tuple_(*(literal(value, column.type) for column, value in zip(columns, key, strict=True)))


def digest_of(connection: Connection, table: Table, *, up_to: Key | None = None) -> TableDigest:
    """The digest of a table, or of its rows up to a key."""
    found = TableDigest()
    for page in pages(connection, table, up_to=up_to):
        for row in page:
            found.add(row)
    return found
