"""What is recorded of a run, and the Reporter that passes it on from the trainer.

Only the standard library is imported here: the queue and its readers use these values too.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Protocol

# The folder of a run's best evaluation, beside its other checkpoints: checkpoints/<uid>/best.
BEST_CHECKPOINT = "best"


class Split(StrEnum):
    """Which tokens a point was measured on. A run has one point of the test split at most, at its end."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


class Phase(StrEnum):
    """What the trainer is doing. Every phase counts as life."""

    DATA = "data"
    COMPILE = "compile"
    TRAIN = "train"
    EVALUATE = "evaluate"


class Directive(StrEnum):
    """What the supervisor wants of the trainer, asked before every microbatch."""

    CONTINUE = "continue"
    CHECKPOINT = "checkpoint"
    RELEASE = "release"
    CANCEL = "cancel"


@dataclass(frozen=True, kw_only=True)
class Point:
    """One record of metrics of a run, after `step` completed optimizer steps.

    `loss` is in nats a token, `pplx` is e**loss, `cumulative_time` is seconds of training without
    evaluation, `epoch` is tokens seen / training tokens, `lr` is the decay group's. A val point carries
    the training counters of its moment. `extra` holds every group's lr (`lr_<group>`) and users' metrics.
    """

    split: Split
    step: int
    loss: float
    acc: float
    pplx: float
    cumulative_time: float
    tokens_seen: int
    epoch: float
    batch_size: int
    seq_length: int
    lr: float
    weight_decay: float
    grad_norm: float | None = None
    microbatches: int | None = None
    bits_per_byte: float | None = None
    extra: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known only where a run starts; fixed at its first claim for the run's life.

    What evaluations read has a fingerprint (see evaluation.py); those of the test text are empty without one.
    """

    data_fingerprint: str
    train_tokens: int
    val_tokens: int
    val_bytes: int
    device: str
    device_name: str
    precision: str
    path: str
    threads: int
    deterministic: bool
    evaluation_fingerprint: str = ""
    test_fingerprint: str = ""
    test_evaluation_fingerprint: str = ""
    provenance: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Progress:
    """A sign of life. `fraction` is how much of the run is done, 0 to 1, by the nearest stop rule."""

    phase: Phase
    step: int = 0
    microbatch: int = 0
    tokens_seen: int = 0
    tokens_per_second: float = 0.0
    fraction: float = 0.0
    memory_bytes: int = 0


@dataclass(frozen=True, kw_only=True)
class SavedCheckpoint:
    """A checkpoint on disk: its folder relative to the state folder, the sha256 of its manifest, its step."""

    path: str
    sha256: str
    step: int


class Reporter(Protocol):
    """How the trainer reports to the process that runs it. Calls must be cheap: they happen between steps."""

    def resumed(self, checkpoint: SavedCheckpoint | None) -> None:
        """Called once, first, if checkpoints were offered: with the one used, or None for step 0."""

    def facts(self, facts: Facts) -> None:
        """Called once, before the first step."""

    def point(self, point: Point) -> None:
        """Called for every point, in the order of steps."""

    def progress(self, progress: Progress) -> Directive:
        """Called at least before every microbatch; returns what the trainer should do."""

    def note(self, action: str, text: str) -> None:
        """Called with what people should know of the run; `action` is what happened, in a word or two."""

    def checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        """Called after a checkpoint is complete on disk, and after every point up to its step."""


class Outcome(StrEnum):
    """How a training run that raised no error ended."""

    FINISHED = "finished"
    RELEASED = "released"
    CANCELLED = "cancelled"


@dataclass(frozen=True, kw_only=True)
class TrainingResult:
    """The end of a training run. `stopped_by` names the setting whose limit was reached, if one was."""

    outcome: Outcome
    steps: int
    tokens_seen: int
    training_seconds: float
    stopped_by: str = ""
