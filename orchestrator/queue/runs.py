"""Runs as stored, which of them a command means, and what happened to them.

Times are seconds since the epoch (UTC) by the writer's wall clock: for people, never to judge a lease.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from hlbgpt_core.points import Phase, SavedCheckpoint
from orchestrator.queue.code import CodePart
from orchestrator.queue.states import Limits, Reason, Spent, State

# The action in the events that outlive what was deleted.
DELETE = "delete"
LARGEST_PRIORITY = 10**6


@dataclass(frozen=True, kw_only=True)
class Bookkeeping:
    """What a run needs in addition to its settings; fixed at submit, one JSON column of the run."""

    checkpoint_every_seconds: float = 60.0
    keep_checkpoints: bool = False
    keep_best: bool = False
    stall_timeout_seconds: float = 600.0
    resume_across_code: bool = False
    limits: Limits = field(default_factory=Limits)


@dataclass(frozen=True, kw_only=True, slots=True)
class RunRecord:
    """A run as stored, its arm's settings and its newest attempt's progress with it. `tags` are its own and its
    sweep's.

    Readers hold a hundred thousand of them: the runs of an arm share their settings, and equal facts, bookkeeping and
    code are one object too.
    """

    id: int
    uid: str
    sweep_id: int
    arm_id: int
    arm_number: int
    arm_key: str
    settings: Mapping[str, Any]
    num_params: int
    num_non_embedding_params: int
    run_num: int
    seed: int
    state: State
    reason: Reason | None
    priority: int
    paused: bool
    alone: bool
    backoff_until: float | None
    fence: int
    spent: Spent
    bookkeeping: Bookkeeping
    facts: Mapping[str, Any]
    checkpoint: SavedCheckpoint | None
    previous_checkpoint: SavedCheckpoint | None
    created_at: float
    started_at: float | None
    ended_at: float | None
    worker_id: int | None
    step: int
    last_train_loss: float | None
    last_val_loss: float | None
    tokens_per_second: float
    fraction: float
    phase: Phase | None
    error_type: str
    error_message: str
    tokens_seen: int = 0
    memory_bytes: int = 0
    code: Sequence[CodePart] = ()
    held: str = ""
    across_code: bool = False
    note: str = ""
    tags: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class RunFilter:
    """Which runs a command means. Empty fields do not restrict; all that are set must hold. Of several `tags` one is
    enough, on the run or on its sweep. A sweep or run that is named twice counts once.

    `with_members`, which readers set, takes the members of `sweep_ids` for runs of theirs: runs of other sweeps that
    --skip_existing left out.
    """

    sweep_ids: tuple[int, ...] = ()
    run_ids: tuple[int, ...] = ()
    states: tuple[State, ...] = ()
    reasons: tuple[Reason, ...] = ()
    where: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    with_members: bool = False

    def __post_init__(self) -> None:
        # From Python, numbers may be numpy's, and states and reasons words.
        for name, kind in {"sweep_ids": int, "run_ids": int, "states": State, "reasons": Reason}.items():
            object.__setattr__(self, name, tuple(dict.fromkeys(map(kind, getattr(self, name)))))

    @property
    def takes_whole_sweeps(self) -> bool:
        """Whether nothing but `sweep_ids` restricts it."""
        return not (self.run_ids or self.states or self.reasons or self.where or self.tags)


@dataclass(frozen=True, kw_only=True)
class CompletedRun:
    """What makes a completed run the same as another. Texts are empty where nothing is known."""

    arm_key: str
    seed: int
    data_fingerprint: str
    code: tuple[CodePart, ...]


@dataclass(frozen=True, kw_only=True)
class EventRecord:
    """Who moved what, when and why."""

    id: int
    at: float
    actor: str
    action: str
    sweep_id: int | None
    run_id: int | None
    worker_id: int | None
    why: str


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """What `delete` removes, or removed. `sweeps` are those that go with their last run; `on_wandb` counts the runs of
    which W&B holds points."""

    run_ids: Sequence[int]
    sweeps: Sequence[int]
    points: int
    on_wandb: int
