"""How far each run was sent to W&B, and which sync holds it: the table sync_marks.

A run is held by its `lease_owner` for as long as `leased_at` keeps changing; who judges it compares what they saw
before with what they see now, and never two clocks.
"""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, and_, case, func, or_, select, update

from hlbgpt_core.points import Split
from orchestrator.errors import SyncError
from orchestrator.queue.points import Sendable, StoredPoint, SyncMark
from orchestrator.queue.runs import RunFilter
from orchestrator.store.base import UNLESS_THERE, StoreBase, insert_one
from orchestrator.store.filters import ENDED
from orchestrator.store.points import read_point
from orchestrator.store.reading.pages import ENDING, by_sweep, chosen, next_page
from orchestrator.store.rows import RUN_ROWS, record_of, run_record
from orchestrator.store.tables import points, runs, sync_marks

_ENDING = case((ENDED, ENDING), else_="")
# Within a step, for good: train, val, test. A run that was stopped before its test gets that point after the others.
_IN_A_STEP = (points.c.split == Split.TEST.value, points.c.split)


class SyncStore(StoreBase):
    """Marks and leases of the W&B sync."""

    def unsent(self, wanted: RunFilter, *, limit: int, after_id: int = 0) -> list[int]:
        """Numbers of runs with something to send, after `after_id`: points up to their checkpoint, or their end."""
        with self._read() as connection:
            found: list[int] = []
            for one in by_sweep(wanted):
                query = next_page("unsent", chosen(connection, "unsent", one), after_id=after_id, size=limit)
                found += connection.execute(query).scalars()
            return sorted(found)[:limit]

    def sendable(self, run_id: int) -> Sendable:
        """What W&B may be sent of a run by now: all of one that ended, else up to its newest checkpoint.

        Raises SyncError if the run was deleted."""
        with self._read() as connection:
            row = connection.execute(RUN_ROWS.where(runs.c.id == run_id)).first()
            if row is None:
                raise SyncError(f"run {run_id} was deleted")
            run = run_record(row)
            # One statement, so that points and checkpoint are of one moment on PostgreSQL too.
            query = (
                select(points, _ENDING.label("ending"))
                .join(runs, runs.c.id == points.c.run_id)
                .where(runs.c.id == run_id, or_(ENDED, points.c.step <= func.coalesce(runs.c.checkpoint_step, -1)))
                .order_by(points.c.step, *_IN_A_STEP)
            )
            rows = connection.execute(query).all()
            alone = select(_ENDING).where(runs.c.id == run_id)  # of a run without points
            ending = rows[-1].ending if rows else str(connection.execute(alone).scalar() or "")
            stored: Sequence[StoredPoint] = [read_point(row) for row in rows]
            return Sendable(run=run, points=stored, ending=ending)

    def sync_mark(self, uid: str) -> SyncMark | None:
        """How far a run was sent; None if no sync ever held it."""
        with self._read() as connection:
            row = connection.execute(select(sync_marks).where(sync_marks.c.run_uid == uid)).first()
            return None if row is None else record_of(SyncMark, row)

    def take_sync(self, uid: str, owner: str, *, lapsed: SyncMark | None = None) -> SyncMark | None:
        """Hold a run for `owner`; None where another sync does, or the run was deleted.

        `lapsed` is a mark whose holder was judged dead: it counts only if the row is still as it was seen."""
        free: ColumnElement[bool] = sync_marks.c.lease_owner.in_(["", owner])
        if lapsed is not None:
            free |= and_(sync_marks.c.lease_owner == lapsed.lease_owner, sync_marks.c.leased_at == lapsed.leased_at)
        with self._write() as connection:
            there = select(runs.c.id).where(runs.c.uid == uid).with_for_update(read=True, key_share=True)
            if connection.execute(there).first() is None:
                return None
            insert_one(connection, sync_marks, {"run_uid": uid}, ending=UNLESS_THERE)
            row = connection.execute(
                update(sync_marks)
                .where(sync_marks.c.run_uid == uid, free)
                .values(lease_owner=owner, leased_at=self._clock())
                .returning(*sync_marks.c)
            ).first()
            return None if row is None else record_of(SyncMark, row)

    def renew_sync(self, uid: str, owner: str) -> bool:
        """Prolong the lease; False if it is no longer the owner's."""
        return self._change_mark(uid, owner, leased_at=self._clock())

    def plan_sync(self, uid: str, owner: str, *, generation: int, step: int, fence: int) -> bool:
        """Write down, before anything is sent, up to which point it will be; False if the lease is lost.

        A greater `generation` begins a new curve, of which nothing was sent yet.
        """
        anew = sync_marks.c.generation < generation
        values = {
            name: case((anew, value), else_=sync_marks.c[name])
            for name, value in (("rows_sent", 0), ("last_step", 0), ("told", ""))
        }
        return self._change_mark(
            uid, owner, **values, generation=generation, planned_step=step, planned_fence=fence, leased_at=self._clock()
        )

    def commit_sync(self, uid: str, owner: str, *, rows_sent: int, last_step: int, told: str) -> bool:
        """W&B took it: move the mark, and let the run go. False if the lease is lost; nothing is written then."""
        now = self._clock()
        return self._change_mark(
            uid, owner, rows_sent=rows_sent, last_step=last_step, told=told, updated_at=now, lease_owner=""
        )

    def release_sync(self, owner: str, uid: str | None = None) -> int:
        """Let go of a run, or of all that `owner` holds; returns how many."""
        mine = sync_marks.c.lease_owner == owner
        with self._write() as connection:
            statement = update(sync_marks).where(mine if uid is None else and_(mine, sync_marks.c.run_uid == uid))
            return connection.execute(statement.values(lease_owner="")).rowcount

    def _change_mark(self, uid: str, owner: str, **values: Any) -> bool:
        mine = and_(sync_marks.c.run_uid == uid, sync_marks.c.lease_owner == owner)
        with self._write() as connection:
            return connection.execute(update(sync_marks).where(mine).values(**values)).rowcount > 0
