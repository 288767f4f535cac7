"""What `status` asks for every second: of each run a little, of all runs in one statement."""

import json
from collections.abc import Mapping, Sequence

from sqlalchemy import and_, func, select

from hlbgpt_core.points import Split
from orchestrator.records import AttemptRecord
from orchestrator.store.base import StoreBase
from orchestrator.store.filters import one_of
from orchestrator.store.rows import attempt_record
from orchestrator.tables import BACKING_OFF, attempts, points, runs


class GlanceStore(StoreBase):
    """Reads that stay cheap however long the curves are."""

    def newest_attempts(self, run_ids: Sequence[int]) -> Mapping[int, AttemptRecord]:
        """The newest attempt of each run that has one."""
        with self._read() as connection:
            query = select(attempts).join(runs, and_(runs.c.id == attempts.c.run_id, runs.c.fence == attempts.c.fence))
            rows = connection.execute(query.where(one_of(connection, runs.c.id, run_ids)))
            return {row.run_id: attempt_record(row) for row in rows}

    def last_microbatches(self, run_ids: Sequence[int]) -> Mapping[int, int]:
        """The microbatches of each run's last train point, where it has one."""
        last = (
            select(points.c.microbatches)
            .where(points.c.run_id == runs.c.id, points.c.split == Split.TRAIN.value)
            .order_by(points.c.step.desc())
            .limit(1)
            .scalar_subquery()
        )
        with self._read() as connection:
            rows = connection.execute(
                select(runs.c.id, last.label("last")).where(one_of(connection, runs.c.id, run_ids))
            )
            return {row.id: row.last for row in rows if row.last is not None}

    def losses(self, run_ids: Sequence[int], split: Split) -> Mapping[int, Sequence[float]]:
        """The losses of each run by rising step; those that are not finite are themselves."""
        found: dict[int, list[float]] = {}
        with self._read() as connection:
            query = select(points.c.run_id, points.c.loss, points.c.nonfinite).where(
                one_of(connection, points.c.run_id, run_ids), points.c.split == split.value
            )
            for run_id, loss, nonfinite in connection.execute(query.order_by(points.c.run_id, points.c.step)):
                code = json.loads(nonfinite).get("loss") if nonfinite else None
                value = float(code) if code is not None else loss
                if value is not None:
                    found.setdefault(run_id, []).append(value)
        return found

    def attempt_seconds(self, run_ids: Sequence[int]) -> Mapping[int, float]:
        """How long each run was worked on, its ended attempts together; the time in between does not count."""
        with self._read() as connection:
            spent = func.sum(attempts.c.ended_at - attempts.c.started_at).label("spent")
            query = select(attempts.c.run_id, spent).where(
                one_of(connection, attempts.c.run_id, run_ids), attempts.c.ended_at.is_not(None)
            )
            return {row.run_id: row.spent for row in connection.execute(query.group_by(attempts.c.run_id))}

    def backing_off(self, sweep_ids: Sequence[int] = ()) -> int:
        """How many runs wait to be tried again after an error."""
        with self._read() as connection:
            query = select(func.count()).select_from(runs).where(BACKING_OFF)
            if sweep_ids:
                query = query.where(one_of(connection, runs.c.sweep_id, sweep_ids))
            return int(connection.execute(query).scalar_one())
