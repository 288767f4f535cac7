"""Notices of `--notify`: which wait, who tells one just now, and how that went.

A notice is told at least once: it is marked after its command has succeeded. Each step matches what was seen before
(holder and tries), so that of several who want to tell the same one, one does.
"""

import json
from typing import Any

from sqlalchemy import Connection, Row, select, update

from orchestrator.queue.notices import NOTIFIER, Notice, NoticeKind
from orchestrator.queue.runs import RunRecord
from orchestrator.queue.states import State
from orchestrator.store.base import StoreBase
from orchestrator.store.events import record_event
from orchestrator.store.filters import OF_NEWEST_ATTEMPT
from orchestrator.store.rows import read_number, record_of
from orchestrator.store.tables import UNDELIVERED, attempts, members, notices, runs, sweeps
from orchestrator.store.working.endings import one_run

_ROWS = select(notices, sweeps.c.notify_token, sweeps.c.notify_by).join(sweeps, sweeps.c.id == notices.c.sweep_id)


class NoticeStore(StoreBase):
    """What tells people, and what `status` says of it."""

    def undelivered(self) -> list[Notice]:
        """Every notice that was not told yet, oldest first, those that were given up among them."""
        with self._read() as connection:
            return [_notice(row) for row in connection.execute(_ROWS.where(UNDELIVERED).order_by(notices.c.id))]

    def take_notice(self, seen: Notice, holder: str, *, tries: int) -> Notice | None:
        """Hold a notice for one try, its number `tries`; None if it is no longer as it was seen."""
        with self._write() as connection:
            if not _change(connection, seen, holder=holder, tries=tries):
                return None
            row = connection.execute(_ROWS.where(notices.c.id == seen.id)).one()
            return _notice(row)

    def notice_tried(self, held: Notice, error: str) -> bool:
        """Let a notice go whose command has succeeded (`error` is empty) or failed; False if it is no longer held as it
        was."""
        author = self._author(NOTIFIER)
        delivered_at = None if error else author.now
        action = "notify failed" if error else "notified"
        why = f"{held.kind}, try {held.tries}" + (f": {error}" if error else "")
        with self._write() as connection:
            changed = _change(connection, held, holder="", error=error, delivered_at=delivered_at)
            if changed:
                record_event(connection, author, action, sweep_id=held.sweep_id, run_id=held.run_id, why=why)
            return changed

    def best_run(self, sweep_id: int) -> RunRecord | None:
        """The completed run of a sweep, its members among them, with the lowest last validation loss; None where there
        is none."""
        completed = (
            select(runs.c.id, attempts.c.last_val_loss)
            .join(attempts, OF_NEWEST_ATTEMPT)
            .where(runs.c.state == State.COMPLETED.value)
            .where(attempts.c.last_val_loss.not_in(["nan", "inf", "-inf"]))
        )
        own = completed.where(runs.c.sweep_id == sweep_id)
        lent = completed.join(members, members.c.run_id == runs.c.id).where(members.c.sweep_id == sweep_id)
        with self._read() as connection:
            # Two reads: an OR over both would keep the planner from its indexes.
            rows = [row for query in (own, lent) for row in connection.execute(query)]
            losses = {row.id: read_number(row.last_val_loss) or 0.0 for row in rows}
            if not losses:
                return None
            return one_run(connection, min(losses, key=lambda run_id: (losses[run_id], run_id)))


def _change(connection: Connection, seen: Notice, **values: Any) -> bool:
    as_seen = (notices.c.id == seen.id, notices.c.holder == seen.holder, notices.c.tries == seen.tries)
    return connection.execute(update(notices).where(*as_seen, UNDELIVERED).values(**values)).rowcount > 0


def _notice(row: Row[Any]) -> Notice:
    return record_of(
        Notice,
        row,
        kind=NoticeKind(row.happening),
        counts={State(state): number for state, number in json.loads(row.counts).items()},
        token=row.notify_token,
        by=row.notify_by,
    )
