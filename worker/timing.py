"""A worker's time intervals, in one frozen value so that tests can shorten them together."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Timing:
    """Intervals in seconds.

    The order matters for safety: a worker that cannot beat stops training (`self_fence_seconds`) before
    anyone may give its run away (`lease_seconds`).
    """

    beat_seconds: float = 10.0
    lease_seconds: float = 60.0
    self_fence_seconds: float = 45.0
    busy_timeout_seconds: float = 20.0
    flush_seconds: float = 2.0
    flush_points: int = 200
    idle_poll_seconds: float = 1.0
    release_grace_seconds: float = 60.0
    kill_grace_seconds: float = 5.0
    database_retry_seconds: float = 1.0
    faulty_code_seconds: float = 600.0
