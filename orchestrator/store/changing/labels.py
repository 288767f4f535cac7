"""Names, notes and tags of sweeps and runs. Each change is an event."""

from collections.abc import Sequence

from sqlalchemy import Connection, Table, select, update

from orchestrator.queue.labels import changed_tags
from orchestrator.queue.runs import RunRecord
from orchestrator.queue.sweeps import SweepRecord
from orchestrator.store.base import StoreBase
from orchestrator.store.events import record_event
from orchestrator.store.tables import runs, sweeps

_LONGEST_IN_AN_EVENT = 500


class LabelStore(StoreBase):
    """What `rename`, `note` and `tag` write. Texts come checked, by orchestrator.queue.labels."""

    def rename(self, sweep: SweepRecord, name: str, actor: str) -> None:
        """Give a sweep another name, or none."""
        with self._write() as connection:
            connection.execute(update(sweeps).where(sweeps.c.id == sweep.id).values(name=name))
            self._note_change(connection, sweep, "rename", actor, f"'{sweep.name}' is now '{name}'")

    def set_note(self, of: SweepRecord | RunRecord, note: str, actor: str) -> None:
        """Replace the note of a sweep or a run; an empty text removes it."""
        table = _table(of)
        with self._write() as connection:
            connection.execute(update(table).where(table.c.id == of.id).values(note=note))
            self._note_change(connection, of, "note", actor, note[:_LONGEST_IN_AN_EVENT])

    def change_tags(
        self, of: SweepRecord | RunRecord, actor: str, *, add: Sequence[str], remove: Sequence[str]
    ) -> tuple[str, ...]:
        """Add and remove tags; returns those that it has now. Raises UsageError if they are too many."""
        table = _table(of)
        with self._write() as connection:
            stored = select(table.c.tags).where(table.c.id == of.id).with_for_update(key_share=True)
            before = tuple((connection.execute(stored).scalar() or "").split())
            after = changed_tags(before, add=add, remove=remove)
            if after != before:
                text = f" {' '.join(after)} " if after else ""  # each stands between spaces
                connection.execute(update(table).where(table.c.id == of.id).values(tags=text))
                why = " ".join([*(f"+{tag}" for tag in add), *(f"-{tag}" for tag in remove)])
                self._note_change(connection, of, "tag", actor, why)
            return after

    def _note_change(
        self, connection: Connection, of: SweepRecord | RunRecord, action: str, actor: str, why: str
    ) -> None:
        numbers = {"sweep_id": of.sweep_id, "run_id": of.id} if isinstance(of, RunRecord) else {"sweep_id": of.id}
        record_event(connection, self._author(actor), action, why=why, **numbers)


def _table(of: SweepRecord | RunRecord) -> Table:
    return runs if isinstance(of, RunRecord) else sweeps
