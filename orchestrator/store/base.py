"""What every part of the store stands on: a clock, two kinds of transaction, and who changes something."""

import contextlib
import functools
import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Column, ColumnElement, Connection, Engine, Float, Table, case

from orchestrator.store.opening.engine import plain_errors
from orchestrator.store.opening.identity import check_file_is_the_same
from orchestrator.store.opening.location import StoreLocation
from orchestrator.store.opening.schema import Schema
from orchestrator.store.opening.sqlite_file import file_identity

_ROWS_A_STATEMENT = 10_000

to_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode

# Endings of an insert. SQLAlchemy's own would load all of its PostgreSQL for whoever only reads an SQLite file.
UNLESS_THERE = "ON CONFLICT DO NOTHING"


def or_replace(table: Table) -> str:
    """The ending of an insert by which a row takes the place of the one with its key."""
    key = ", ".join(table.primary_key.columns.keys())
    values = ", ".join(f"{column.name} = excluded.{column.name}" for column in table.c if not column.primary_key)
    return f"ON CONFLICT ({key}) DO UPDATE SET {values}"


def storable(text: str) -> str:
    """Text as both databases take it: errors may quote bytes of a file or of a log that are no text at all."""
    return text.encode("utf-8", "replace").decode("utf-8").replace("\x00", "\ufffd")


@dataclass(frozen=True, kw_only=True)
class Author:
    """Who does something, when: what every event tells."""

    actor: str
    now: float
    worker_id: int | None = None


def is_sqlite(connection: Connection) -> bool:
    """Whether the database is a file of SQLite, not one of a PostgreSQL server."""
    return connection.dialect.name == "sqlite"


class StoreBase:
    """Holds the engine; the parts of the store are its subclasses, joined in `Store`."""

    def __init__(
        self, engine: Engine, location: StoreLocation, clock: Callable[[], float] | None, *, uid: str, schema: Schema
    ) -> None:
        self.location = location
        self.uid = uid
        self._file = file_identity(location.path)
        self._schema = schema
        self._clock, self._has_own_clock = clock or time.time, clock is not None
        self._engine = engine
        # Each statement of a server's transaction would see a moment of its own. One of SQLite sees one by itself.
        of_one_moment = {} if location.path is not None else {"isolation_level": "REPEATABLE READ"}
        self._readers = engine.execution_options(**of_one_moment)
        self._writers = engine.execution_options(hlbq_writes=True)

    @contextlib.contextmanager
    def _read(self) -> Iterator[Connection]:
        """A short transaction that sees one moment of the database."""
        check_file_is_the_same(self.location, self._file)
        with plain_errors(self.location), self._readers.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def _write(self) -> Iterator[Connection]:
        """A transaction that is written whole or not at all."""
        check_file_is_the_same(self.location, self._file)
        with plain_errors(self.location), self._writers.begin() as connection:
            yield connection

    def _author(self, actor: str = "", *, worker_id: int | None = None) -> Author:
        """Who does something now: `actor`, by default the worker of this number."""
        return Author(actor=actor or f"worker {worker_id}", now=self._clock(), worker_id=worker_id)


def elapsed(begin: ColumnElement[float], end: ColumnElement[float]) -> ColumnElement[float]:
    """The seconds from one time to another; 0 where a clock was set back in between."""
    return case((end > begin, end - begin), else_=0.0)


def insert_many(
    connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[tuple[Any, ...]], *, ending: str = ""
) -> None:
    """Many rows by the driver itself: SQLAlchemy's handling of each row would double the time.

    `ending` is SQL that follows the values. No two of the rows may have the same key.
    """
    remaining = iter(rows)
    if is_sqlite(connection):
        statement = _insert_statement("sqlite", table.name, tuple(columns)) + ending
    else:
        types = (table.c[name].type.compile(connection.dialect) for name in columns)
        arrays = ", ".join(f"%s::{kind}[]" for kind in types)
        statement = f"INSERT INTO {table.name} ({', '.join(columns)}) SELECT * FROM unnest({arrays}) {ending}"
    while batch := list(itertools.islice(remaining, _ROWS_A_STATEMENT)):
        if is_sqlite(connection):
            connection.exec_driver_sql(statement, batch)
        else:
            # One statement, a list a column. Not the driver's executemany: after its pipeline the server no longer
            # ends a transaction for being idle, and a worker that is stopped then would keep its locks for good.
            lists = zip((table.c[name] for name in columns), zip(*batch, strict=True), strict=True)
            connection.exec_driver_sql(statement, tuple(_column_values(column, values) for column, values in lists))


def _column_values(column: Column[Any], values: Sequence[Any]) -> list[Any]:
    """One column's values; whole numbers among floats are made floats, since the driver takes no mixed lists."""
    if isinstance(column.type, Float):
        return [None if value is None else float(value) for value in values]
    return list(values)


def insert_one(connection: Connection, table: Table, row: Mapping[str, Any], *, ending: str = "") -> None:
    """One row by the driver itself: half the cost of the same by SQLAlchemy, which counts where claims queue up.

    Values must be what the driver takes: text, numbers, bytes, None. `ending` is SQL that follows them.
    """
    statement = _insert_statement(connection.dialect.name, table.name, tuple(row)) + ending
    connection.exec_driver_sql(statement, tuple(row.values()))


@functools.cache
def _insert_statement(dialect: str, table: str, columns: tuple[str, ...]) -> str:
    marks = ", ".join(["?" if dialect == "sqlite" else "%s"] * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) "
