"""Numbers of sweeps and runs are never given again: events keep those that were deleted.

PostgreSQL's sequences never go back. SQLite would give the highest number again once its row is gone, so here it gets
them from `highest_number`, under its one write lock.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from sqlalchemy import Column, Connection, Table, func, select

from orchestrator.store.tables import events, runs, sweeps

_IN_EVENTS: Mapping[Table, Column[Any]] = MappingProxyType({sweeps: events.c.sweep_id, runs: events.c.run_id})


def highest_number(connection: Connection, table: Table) -> int:
    """The highest number that a row of `table` ever had, so far as anybody can know; 0 for none."""
    columns = [table.c.id, *([_IN_EVENTS[table]] if table in _IN_EVENTS else [])]
    return max(connection.execute(select(func.max(column))).scalar() or 0 for column in columns)
