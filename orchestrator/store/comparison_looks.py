"""The looks that people took at a comparison: events, so that readers see how many earlier looks there were."""

from collections.abc import Sequence

from sqlalchemy import select

from orchestrator.queue.runs import EventRecord
from orchestrator.store.base import StoreBase
from orchestrator.store.endings import Author, record_event
from orchestrator.store.tables import events

_LOOK = "look"


class LookStore(StoreBase):
    """Records looks, and reads them back."""

    def record_look(self, sweep_ids: Sequence[int], what: str) -> None:
        """Write down, for each of these sweeps, that `what` was seen."""
        author = Author(actor="user", now=self._clock())
        with self._write() as connection:
            for sweep_id in sweep_ids:
                record_event(connection, author, _LOOK, sweep_id=sweep_id, why=what)

    def looks(self, sweep_id: int) -> Sequence[EventRecord]:
        """The looks at a sweep, oldest first."""
        query = select(events).where(events.c.sweep_id == sweep_id, events.c.action == _LOOK).order_by(events.c.id)
        with self._read() as connection:
            return [EventRecord(**row._asdict()) for row in connection.execute(query)]
