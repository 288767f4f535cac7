"""Devices: how they were over time, thinned with age, what sweeps took of them, and what waiting runs need of one.

A worker's samples are numbered from 1. Those with an odd number share PLACES_A_LEVEL places, each new one taking that
of the oldest; numbers divisible by 2 and not by 4 share as many, and so on. So of the last
PLACES_A_LEVEL * 2**n samples at least every 2**(n - 1)-th is there, and a worker has at
most PLACES_A_LEVEL * LEVELS rows. A sample is one statement.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict

from sqlalchemy import Connection, case, func, or_, select

from orchestrator.queue.workers import CPU, ArmMemory, DeviceHours, DeviceReading, DeviceSample
from orchestrator.store.base import StoreBase, elapsed, insert_one, or_replace
from orchestrator.store.filters import WAITING, in_sweeps, one_of
from orchestrator.store.rows import record_of
from orchestrator.store.tables import LIVE, arms, attempts, device_samples, runs, workers

# With a beat each 10 s: a sample each 30 s in the last hour, each minute in the last two, and so on for a month.
SAMPLE_EVERY_BEATS = 3
PLACES_A_LEVEL = 60
LEVELS = 12
_OR_REPLACE = or_replace(device_samples)


def place_of(number: int) -> int:
    """The place of a worker's sample with this number, from 1."""
    level = min((number & -number).bit_length() - 1, LEVELS - 1)
    apart = level + 1 if level < LEVELS - 1 else level  # the last level has all that are left
    return level * PLACES_A_LEVEL + (number >> apart) % PLACES_A_LEVEL


def keep_sample(connection: Connection, worker_id: int, beat: int, at: float, reading: DeviceReading) -> None:
    """Keep what a beat says of the device, if it is one that is kept, and says anything."""
    number, rest = divmod(beat - 1, SAMPLE_EVERY_BEATS)
    if rest == 0 and reading != DeviceReading():
        row = {"worker_id": worker_id, "place": place_of(number + 1), "at": at, **asdict(reading)}
        insert_one(connection, device_samples, row, ending=_OR_REPLACE)


class DeviceStore(StoreBase):
    """Reads of devices."""

    def device_samples(self, *, run_id: int | None = None) -> list[DeviceSample]:
        """By device and time, the samples of all workers on the devices of those that live, or those during a run's
        attempts."""
        who = (workers.c.hostname, workers.c.device, workers.c.device_name)
        query = select(*who, device_samples).join(workers, workers.c.id == device_samples.c.worker_id)
        if run_id is None:
            live = select(workers.c.hostname, workers.c.device).where(LIVE).distinct().subquery()
            query = query.join(live, (live.c.hostname == workers.c.hostname) & (live.c.device == workers.c.device))
        else:
            query = query.join(attempts, attempts.c.worker_id == device_samples.c.worker_id).where(
                attempts.c.run_id == run_id,
                device_samples.c.at >= attempts.c.started_at,
                or_(attempts.c.ended_at.is_(None), device_samples.c.at <= attempts.c.ended_at),
            )
        with self._read() as connection:
            rows = connection.execute(query.order_by(workers.c.hostname, workers.c.device, device_samples.c.at))
            return [record_of(DeviceSample, row, reading=record_of(DeviceReading, row)) for row in rows]

    def device_hours(self, sweep_ids: Sequence[int]) -> dict[int, DeviceHours]:
        """By sweep, the hours of devices that its runs' attempts took so far; those of dead workers count to now."""
        until = func.coalesce(attempts.c.ended_at, self._clock())
        seconds = elapsed(attempts.c.started_at, until) / attempts.c.shared_slots
        on_gpu = workers.c.device != CPU
        query = (
            select(
                runs.c.sweep_id,
                func.sum(case((on_gpu, seconds), else_=0.0)),
                func.sum(case((on_gpu, 0.0), else_=seconds)),
            )
            .join(attempts, attempts.c.run_id == runs.c.id)
            .join(workers, workers.c.id == attempts.c.worker_id)
            .group_by(runs.c.sweep_id)
        )
        with self._read() as connection:
            rows = connection.execute(query.where(one_of(connection, runs.c.sweep_id, sweep_ids)))
            return {sweep: DeviceHours(gpu=gpu / 3600, other=other / 3600) for sweep, gpu, other in rows}

    def memory_of_waiting_arms(self, device_name: str, sweep_ids: Sequence[int] = ()) -> list[ArmMemory]:
        """The arms of the runs that wait, with the most memory that runs of each held on a device of that name."""
        measured = (
            select(func.max(attempts.c.memory_bytes))
            .join(runs, runs.c.id == attempts.c.run_id)
            .join(workers, workers.c.id == attempts.c.worker_id)
            .where(runs.c.arm_id == arms.c.id, workers.c.device_name == device_name)
            .scalar_subquery()
        )
        with self._read() as connection:
            waits = select(runs.c.id).where(runs.c.arm_id == arms.c.id, WAITING)
            query = select(arms.c.settings, arms.c.num_params, measured.label("measured")).where(
                waits.exists(), in_sweeps(connection, arms.c.sweep_id, sweep_ids)
            )
            return [
                ArmMemory(
                    settings=json.loads(row.settings), num_params=row.num_params, measured_bytes=row.measured or 0
                )
                for row in connection.execute(query)
            ]
