"""Points as the store takes and gives them, and how far those of a run were sent to W&B."""

from collections.abc import Sequence
from dataclasses import dataclass

from hlbgpt_core.points import Point
from orchestrator.queue.runs import RunRecord


@dataclass(frozen=True, kw_only=True)
class ReceivedPoint(Point):
    """A point with the time at which the supervisor received it."""

    recorded_at: float


@dataclass(frozen=True, kw_only=True)
class StoredPoint:
    """A point with the fence of the attempt that made it."""

    fence: int
    point: Point


@dataclass(frozen=True, kw_only=True)
class SyncMark:
    """How far a run was sent to W&B. Points are counted in rows: by step, `train` before `val`.

    `planned_step` and `planned_fence` name the last point that was ever about to be sent, and the attempt that wrote
    it; `told` is what W&B knows of the run's end. A change of `leased_at` shows that the holder lives.
    """

    generation: int = 0
    rows_sent: int = 0
    last_step: int = 0
    planned_step: int = 0
    planned_fence: int = 0
    told: str = ""
    lease_owner: str = ""
    leased_at: float | None = None


@dataclass(frozen=True, kw_only=True)
class Sendable:
    """A run and its final points, by step and split. `ending` is empty until it has ended."""

    run: RunRecord
    points: Sequence[StoredPoint]
    ending: str
