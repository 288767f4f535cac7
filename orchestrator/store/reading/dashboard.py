"""What a page that stays open asks for again and again: light rows, and only what changed since the last read."""

import itertools
import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from sqlalchemy import Connection, Row, Select, and_, func, select

from hlbgpt_core.points import Split
from orchestrator.queue.states import State
from orchestrator.queue.sweeps import ArmRecord
from orchestrator.store.base import StoreBase
from orchestrator.store.filters import OF_NEWEST_ATTEMPT, one_of
from orchestrator.store.rows import record_of
from orchestrator.store.tables import arms, attempts, members, points, runs

_LONGEST_ERROR = 300


class RunLine(NamedTuple):
    """A run as a line of a table: no settings (its arm has them), losses as the texts that the database holds.

    What belongs to the newest attempt is None where there was none. A plain tuple: sweeps have thousands.
    """

    id: int
    sweep_id: int
    arm_id: int
    seed: int
    state: str
    reason: str | None
    paused: bool
    priority: int
    fence: int
    backoff_until: float | None
    started_at: float | None
    ended_at: float | None
    checkpoint_step: int | None
    code: str | None
    held: str
    tags: str
    step: int | None
    fraction: float | None
    tokens_per_second: float | None
    memory_bytes: int | None
    last_train_loss: str | None
    last_val_loss: str | None
    error_type: str | None
    error_message: str | None


_LINES: Select[Any] = select(
    *(runs.c[name] for name in RunLine._fields[:16]),
    *(attempts.c[name] for name in RunLine._fields[16:23]),
    func.substr(attempts.c.error_message, 1, _LONGEST_ERROR).label("error_message"),
).outerjoin(attempts, OF_NEWEST_ATTEMPT)


class Neighbours(NamedTuple):
    """The runs of a run's arm (number, seed, state; itself too), and those before and after it in its sweep."""

    sisters: Sequence[tuple[int, int, str]]
    before: int | None
    after: int | None


class DashboardReadStore(StoreBase):
    """The store's part for watchers."""

    def arms(self, sweep_id: int) -> list[ArmRecord]:
        """The arms of a sweep, by number, then those that only its members have."""
        with self._read() as connection:
            kept = _arm_rows(connection, sweep_id).values()
            return [record_of(ArmRecord, row, settings=json.loads(row.settings)) for row in dict.fromkeys(kept)]

    def run_lines(self, sweep_id: int) -> list[RunLine]:
        """All runs of a sweep, its members first; these stand under the sweep's own arm of their settings."""
        lent = _LINES.join(members, members.c.run_id == runs.c.id).where(members.c.sweep_id == sweep_id)
        with self._read() as connection:
            found = list(map(RunLine._make, connection.execute(lent.order_by(members.c.run_id))))
            if found:
                kept = _arm_rows(connection, sweep_id)
                found = [line._replace(arm_id=kept[line.arm_id].id) for line in found]
            own = connection.execute(_LINES.where(runs.c.sweep_id == sweep_id).order_by(runs.c.id))
            return [*found, *map(RunLine._make, own)]

    def moving_lines(self, sweep_id: int, run_ids: Sequence[int]) -> list[RunLine]:
        """The runs of a sweep that are running, and those of `run_ids` besides."""
        with self._read() as connection:
            running = and_(runs.c.sweep_id == sweep_id, runs.c.state == State.RUNNING.value)
            # Two reads: an OR over both would keep the planner from its indexes.
            found = {row[0]: RunLine._make(row) for row in connection.execute(_LINES.where(running))}
            if run_ids:
                named = _LINES.where(one_of(connection, runs.c.id, run_ids), runs.c.sweep_id == sweep_id)
                found |= {row[0]: RunLine._make(row) for row in connection.execute(named)}
            return list(found.values())

    def neighbours(self, run_id: int, sweep_id: int) -> Neighbours:
        """The runs around a run of a sweep."""
        arm = select(runs.c.arm_id).where(runs.c.id == run_id).scalar_subquery()
        sisters = select(runs.c.id, runs.c.seed, runs.c.state).where(runs.c.sweep_id == sweep_id, runs.c.arm_id == arm)
        before = select(func.max(runs.c.id)).where(runs.c.sweep_id == sweep_id, runs.c.id < run_id)
        after = select(func.min(runs.c.id)).where(runs.c.sweep_id == sweep_id, runs.c.id > run_id)
        with self._read() as connection:
            return Neighbours(
                sisters=[(row.id, row.seed, row.state) for row in connection.execute(sisters.order_by(runs.c.id))],
                before=connection.execute(before).scalar(),
                after=connection.execute(after).scalar(),
            )

    def own_metrics(self, sweep_id: int, most: int) -> set[str]:
        """The metrics without a column of their own in the newest points of the first `most` runs of a sweep that were
        started, and of the last."""
        started = select(runs.c.id).where(runs.c.sweep_id == sweep_id, runs.c.fence > 0)
        names: set[str] = set()
        with self._read() as connection:
            first = connection.execute(started.order_by(runs.c.id).limit(most)).scalars().all()
            last = connection.execute(started.order_by(runs.c.id.desc()).limit(most)).scalars().all()
            for run_id, split in itertools.product({*first, *last}, Split):
                mine = select(points.c.extra).where(points.c.run_id == run_id, points.c.split == split.value)
                newest = connection.execute(mine.order_by(points.c.step.desc()).limit(1)).scalar()
                names |= set(json.loads(newest or "{}"))
        return names


def _arm_rows(connection: Connection, sweep_id: int) -> dict[int, Row[Any]]:
    """The arms of a sweep and its members by number of the row; of several with the same settings, the first."""
    own = select(arms).where(arms.c.sweep_id == sweep_id).order_by(arms.c.number)
    lenders = select(runs.c.arm_id).join(members, members.c.run_id == runs.c.id).where(members.c.sweep_id == sweep_id)
    lent = select(arms).where(arms.c.id.in_(lenders)).order_by(arms.c.id)
    rows = [row for query in (own, lent) for row in connection.execute(query)]
    first: dict[str, Row[Any]] = {}
    return {row.id: first.setdefault(row.key, row) for row in rows}
