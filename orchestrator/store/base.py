"""What every part of the store stands on: a clock and two kinds of transaction."""

import contextlib
import functools
import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Engine, Table

from orchestrator.store.engine import plain_errors
from orchestrator.store.location import StoreLocation

_ROWS_A_STATEMENT = 10_000

to_json = json.JSONEncoder(separators=(",", ":"), ensure_ascii=False).encode


class StoreBase:
    """Holds the engine; the parts of the store are its subclasses, joined in `Store`."""

    def __init__(self, engine: Engine, location: StoreLocation, clock: Callable[[], float]) -> None:
        self.location = location
        self._clock = clock
        self._readers = engine
        self._writers = engine.execution_options(hlbq_writes=True)

    @contextlib.contextmanager
    def _read(self) -> Iterator[Connection]:
        """A short transaction that sees one moment of the database."""
        with plain_errors(self.location), self._readers.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def _write(self) -> Iterator[Connection]:
        """A transaction that is written whole or not at all."""
        with plain_errors(self.location), self._writers.begin() as connection:
            yield connection

    @property
    def _is_sqlite(self) -> bool:
        return self.location.path is not None


def insert_many(
    connection: Connection, table: Table, columns: Sequence[str], rows: Iterable[tuple[Any, ...]], *, ending: str = ""
) -> None:
    """Many rows by the driver's own executemany: SQLAlchemy's handling of each row would double the time.

    `ending` is SQL that follows the values.
    """
    statement = _insert_statement(connection.dialect.name, table.name, tuple(columns)) + ending
    remaining = iter(rows)
    while batch := list(itertools.islice(remaining, _ROWS_A_STATEMENT)):
        connection.exec_driver_sql(statement, batch)


def insert_one(connection: Connection, table: Table, row: Mapping[str, Any]) -> None:
    """One row by the driver itself: half the cost of the same by SQLAlchemy, which counts where claims queue up.

    Values must be what the driver takes: text, numbers, None.
    """
    statement = _insert_statement(connection.dialect.name, table.name, tuple(row))
    connection.exec_driver_sql(statement, tuple(row.values()))


@functools.cache
def _insert_statement(dialect: str, table: str, columns: tuple[str, ...]) -> str:
    marks = ", ".join(["?" if dialect == "sqlite" else "%s"] * len(columns))
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) "
