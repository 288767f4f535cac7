"""What runs that wait will need of a device's memory, as far as runs before them tell."""

import json
from collections.abc import Sequence

from sqlalchemy import func, select

from orchestrator.queue.states import State
from orchestrator.queue.workers import ArmMemory
from orchestrator.store.base import StoreBase
from orchestrator.store.filters import one_of
from orchestrator.store.tables import arms, attempts, runs, workers

_EARLIER = runs.alias("earlier")
_WAITING = runs.alias("waiting")


class MemoryNeedStore(StoreBase):
    """Reads for planning slots."""

    def memory_of_waiting_arms(self, device_name: str, sweep_ids: Sequence[int] = ()) -> list[ArmMemory]:
        """The arms of the runs that wait, with the most memory that runs of each held on a device of that name."""
        measured = (
            select(func.max(attempts.c.memory_bytes))
            .join(_EARLIER, _EARLIER.c.id == attempts.c.run_id)
            .join(workers, workers.c.id == attempts.c.worker_id)
            .where(_EARLIER.c.arm_id == arms.c.id, workers.c.device_name == device_name)
            .scalar_subquery()
        )
        with self._read() as connection:
            waits = select(_WAITING.c.id).where(
                _WAITING.c.arm_id == arms.c.id, _WAITING.c.state == State.PENDING.value, ~_WAITING.c.paused
            )
            query = select(arms.c.settings, arms.c.num_params, measured.label("measured")).where(waits.exists())
            if sweep_ids:
                query = query.where(one_of(connection, arms.c.sweep_id, sweep_ids))
            return [
                ArmMemory(
                    settings=json.loads(row.settings), num_params=row.num_params, measured_bytes=row.measured or 0
                )
                for row in connection.execute(query)
            ]
