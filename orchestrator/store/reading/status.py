"""What `status` asks for every second: of each run a little, of all runs in one statement."""

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, Subquery, and_, func, literal_column, select

from hlbgpt_core.points import Split
from orchestrator.queue.attempts import AttemptRecord
from orchestrator.queue.states import State
from orchestrator.store.base import elapsed
from orchestrator.store.filters import OF_NEWEST_ATTEMPT, in_sweeps, one_of
from orchestrator.store.reading.curves import CurveStore
from orchestrator.store.rows import attempt_record
from orchestrator.store.tables import BACKING_OFF, arms, attempts, runs, sweeps

_LAST = 2**63 - 1


class ArmSample(NamedTuple):
    """Some runs of one arm, added up: what an estimate of the time left needs of them.

    `worked_seconds` is what their ended attempts took; the time between attempts does not count. `facts` are of one
    of them, empty where none began.
    """

    arm_id: int
    num_params: int
    settings: Mapping[str, Any]
    facts: Mapping[str, Any]
    runs: int
    checkpoint_steps: int
    worked_seconds: float


class StatusReadStore(CurveStore):
    """Reads that stay cheap however long the curves are."""

    def newest_attempts(self, run_ids: Sequence[int]) -> Mapping[int, AttemptRecord]:
        """The newest attempt of each run that has one."""
        with self._read() as connection:
            query = select(attempts).join(runs, OF_NEWEST_ATTEMPT)
            rows = connection.execute(query.where(one_of(connection, runs.c.id, run_ids)))
            return {row.run_id: attempt_record(row) for row in rows}

    def losses(self, run_ids: Sequence[int], split: Split) -> Mapping[int, Sequence[float]]:
        """The losses of each run by rising step; those that are not finite are themselves."""
        curves = self.curves(run_ids, split, ("loss",))
        recorded = ((curve.run_id, [loss for loss in curve["loss"] if loss is not None]) for curve in curves)
        return {run_id: losses for run_id, losses in recorded if losses}

    def samples(self, sweep_ids: Collection[int], state: State, limit: int) -> Mapping[int, Sequence[ArmSample]]:
        """By sweep, what its first `limit` runs in this state tell of their arms."""
        in_state: ColumnElement[str] = literal_column(f"'{state.value}'")
        # By the sweep's own row, so that an index is read up to here and no further.
        first = runs.alias("first")
        up_to = (
            select(first.c.id)
            .where(first.c.sweep_id == sweeps.c.id, first.c.state == in_state)
            .order_by(first.c.id)
            .limit(1)
            .offset(limit - 1)
            .scalar_subquery()
        )
        of_sweep = and_(runs.c.sweep_id == sweeps.c.id, runs.c.state == in_state)
        columns = (runs.c.id, runs.c.sweep_id, runs.c.arm_id, runs.c.facts, runs.c.checkpoint_step)
        some = select(*columns).select_from(sweeps).join(runs, and_(of_sweep, runs.c.id <= func.coalesce(up_to, _LAST)))
        with self._read() as connection:
            chosen = some.where(one_of(connection, sweeps.c.id, sweep_ids)).subquery()
            found: dict[int, list[ArmSample]] = {}
            for sweep_id, arm, num_params, settings, facts, count, steps, worked in connection.execute(_sums(chosen)):
                sample = ArmSample(
                    arm_id=arm,
                    num_params=num_params,
                    settings=json.loads(settings),
                    facts=json.loads(facts or "{}"),
                    runs=count,
                    checkpoint_steps=int(steps),  # PostgreSQL adds up big integers as decimals
                    worked_seconds=worked,
                )
                found.setdefault(sweep_id, []).append(sample)
            return found

    def backing_off(self, sweep_ids: Sequence[int] = ()) -> int:
        """How many runs wait to be tried again after an error."""
        with self._read() as connection:
            waits = BACKING_OFF, in_sweeps(connection, runs.c.sweep_id, sweep_ids)
            return int(connection.execute(select(func.count()).select_from(runs).where(*waits)).scalar_one())


def _sums(chosen: Subquery) -> Select[Any]:
    """The chosen runs added up by arm."""
    worked = func.sum(elapsed(attempts.c.started_at, attempts.c.ended_at))
    spent = select(worked).where(attempts.c.run_id == chosen.c.id).scalar_subquery()
    return (
        select(
            chosen.c.sweep_id,
            arms.c.id,
            arms.c.num_params,
            arms.c.settings,
            func.max(chosen.c.facts),
            func.count(),
            func.sum(func.coalesce(chosen.c.checkpoint_step, 0)),
            func.sum(func.coalesce(spent, 0.0)),
        )
        .select_from(chosen)
        .join(arms, arms.c.id == chosen.c.arm_id)
        .group_by(chosen.c.sweep_id, arms.c.id)
    )
