"""Workers and their devices, as stored and as they judge each other.

Times are seconds since the epoch (UTC) by the writer's wall clock, those of beats by the database server's: for people,
never to judge a lease.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from orchestrator.queue.states import Reason

# The device of a worker without a GPU. Those of GPUs are `gpu0`, `gpu1-5f3a2b1c` and so on.
CPU = "cpu"


@dataclass(frozen=True, kw_only=True)
class WorkerIdentity:
    """Who a worker is. `host` is boot id and pid namespace: pids are unique only within it.

    `start_ticks` is the process's start time from the kernel, so a reused pid is recognised.
    """

    host: str
    hostname: str
    pid: int
    start_ticks: int
    device: str
    device_name: str = ""
    slot: int = 0
    slots: int = 1
    program_version: str = ""
    job: str = ""


@dataclass(frozen=True, kw_only=True)
class DeviceReading:
    """What a device's driver reports; None if it reports nothing."""

    temperature_celsius: float | None = None
    use_percent: float | None = None
    memory_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class WorkerRecord:
    """A worker as stored. `ended_at` is None while it lives; `beat` only ever grows.

    `beat_age_seconds` is how old its last beat was when this was read, by the clock that dated the beat.
    """

    id: int
    identity: WorkerIdentity
    started_at: float
    beat: int
    beat_at: float
    lease_seconds: float
    ended_at: float | None
    ended_why: str
    run_id: int | None
    reading: DeviceReading = field(default_factory=DeviceReading)
    beat_age_seconds: float = 0.0

    @property
    def silent(self) -> bool:
        """Whether its last beat is older than its lease: for people, never to judge."""
        return self.ended_at is None and self.beat_age_seconds > self.lease_seconds


@dataclass(frozen=True, kw_only=True)
class Watch:
    """Which of the live workers one of them looks after: all of its `host`, and a `share` (0 to 1) of the others.

    Workers lie on a circle by a hash of their number; the share is the arc that begins at `start` (0 to 1).
    """

    host: str
    share: float
    start: float


@dataclass(frozen=True, kw_only=True)
class DeviceSample:
    """How a device was at a moment (seconds since the epoch), as a worker on it saw it."""

    hostname: str
    device: str
    device_name: str
    at: float
    reading: DeviceReading


@dataclass(frozen=True, kw_only=True)
class DeviceHours:
    """What attempts took of devices, in hours; of a device with several slots, each has its part. `other`: no GPUs."""

    gpu: float = 0.0
    other: float = 0.0


@dataclass(frozen=True, kw_only=True)
class DeviceEnding:
    """How one attempt on a device ended, for judging the device."""

    run_id: int
    arm_id: int
    reason: Reason
    error_type: str = ""
    error_message: str = ""


@dataclass(frozen=True, kw_only=True)
class ArmMemory:
    """An arm that waits, and the most memory that a run of it held; 0 where nobody measured."""

    settings: Mapping[str, Any]
    num_params: int
    measured_bytes: int
