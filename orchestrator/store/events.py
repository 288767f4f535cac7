"""Events: who moved what, when and why. They outlive what they tell of, and keep its numbers from being given again."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Table, func, insert, literal, select

from orchestrator.queue.runs import EventRecord
from orchestrator.store.base import Author, StoreBase, insert_one, storable
from orchestrator.store.rows import record_of
from orchestrator.store.tables import events, runs, sweeps

MOST_EVENTS = 20_000
_LOOK = "look"


class EventStore(StoreBase):
    """Reads of events, and the looks that people took at comparisons: they are events alone."""

    def events(
        self, run_id: int | None = None, sweep_id: int | None = None, limit: int = 100, actor: str = ""
    ) -> Sequence[EventRecord]:
        """The newest events, newest first: of one run, of one sweep, or of all; with `actor` those of this one."""
        query = select(events).order_by(events.c.id.desc()).limit(limit)
        if run_id is not None:
            query = query.where(events.c.run_id == run_id)
        if sweep_id is not None:
            query = query.where(events.c.sweep_id == sweep_id)
        if actor:
            query = query.where(events.c.actor == actor)
        return self._events(query)

    def newest_event(self) -> int:
        """The number of the newest event; 0 where there is none."""
        with self._read() as connection:
            return int(connection.execute(select(func.max(events.c.id))).scalar() or 0)

    def events_after(self, event_id: int) -> Sequence[EventRecord]:
        """The events past `event_id`, oldest first; of very many the newest MOST_EVENTS."""
        past = select(events).where(events.c.id > event_id)
        return self._events(past.order_by(events.c.id.desc()).limit(MOST_EVENTS))[::-1]

    def record_look(self, sweep_ids: Sequence[int], what: str) -> None:
        """Write down, for each of these sweeps, that `what` was seen: readers see how many earlier looks there were."""
        author = self._author("user")
        with self._write() as connection:
            for sweep_id in sweep_ids:
                record_event(connection, author, _LOOK, sweep_id=sweep_id, why=what)

    def looks(self, sweep_id: int) -> Sequence[EventRecord]:
        """The looks at a sweep, oldest first."""
        query = select(events).where(events.c.sweep_id == sweep_id, events.c.action == _LOOK)
        return self._events(query.order_by(events.c.id))

    def _events(self, query: Select[Any]) -> Sequence[EventRecord]:
        with self._read() as connection:
            return [record_of(EventRecord, row) for row in connection.execute(query)]


def record_event(
    connection: Connection,
    author: Author,
    action: str,
    *,
    sweep_id: int | None = None,
    run_id: int | None = None,
    why: str = "",
) -> None:
    """Write down who moved what, when and why."""
    row = {
        "at": author.now,
        "actor": author.actor,
        "action": action,
        "sweep_id": sweep_id,
        "run_id": run_id,
        "worker_id": author.worker_id,
        "why": storable(why),
    }
    insert_one(connection, events, row)


def record_events_of_runs(
    connection: Connection, chosen: ColumnElement[bool], author: Author, action: str, why: str | ColumnElement[str]
) -> None:
    """Write down the same of many runs; `why` may be a column of theirs."""
    row = select(
        literal(author.now),
        literal(author.actor),
        literal(action),
        runs.c.sweep_id,
        runs.c.id,
        runs.c.worker_id,
        literal(why) if isinstance(why, str) else why,
    ).where(chosen)
    names = ["at", "actor", "action", "sweep_id", "run_id", "worker_id", "why"]
    connection.execute(insert(events).from_select(names, row.order_by(runs.c.id)))


def highest_number(connection: Connection, table: Table) -> int:
    """The highest number that a row of `table` ever had, so far as anybody can know; 0 for none.

    PostgreSQL's sequences never go back. SQLite would give the highest number again once its row is deleted, so there
    the numbers of sweeps and runs come from here, under its one write lock.
    """
    in_events = {sweeps: [events.c.sweep_id], runs: [events.c.run_id]}
    columns = [table.c.id, *in_events.get(table, [])]
    return max(connection.execute(select(func.max(column))).scalar() or 0 for column in columns)
