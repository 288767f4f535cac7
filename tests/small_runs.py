"""Training runs small enough to test: made-up text, tiny models, and a reporter that is a list."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from hlbgpt_core.points import Directive, Facts, Phase, Point, Progress, SavedCheckpoint
from hlbgpt_core.settings import Settings
from hlbgpt_core.text.data import TokenData
from hlbgpt_core.training.checkpoint import Checkpointing
from hlbgpt_core.training.trajectory import made_up_tokens

# Sequences double after steps 5 and 9, and the tiny model soon wants all the microbatches that it may have.
SMALL: dict[str, Any] = {
    "dataset": "pystdlib",
    "tokenizer": "bytes",
    "width": 64,
    "depth": 1,
    "num_heads": 1,
    "max_sequence_length": 32,
    "initial_sequence_length": 8,
    "sequence_growth_steps": 4,
    "max_microbatches": 3,
    "num_eval_tokens": 128,
    "max_steps": 14,
    "max_epochs": 1000,
    "max_epochs_between_evals": 1000,
    "log_every": 1,
    "eval_every": 5,
}
SMALL_BY_RECIPE: dict[str, dict[str, Any]] = {
    "0.4.1": {"gpu_capacity_scalar": 0.002, "lr_mult": 0.3, "microbatch_sample_every": 2, "microbatch_scale_lr": 1.0},
    "0.3.0": {"gpu_capacity_scalar": 1 / 16, "total_train_steps": 20, "warmup_percent": 0.2},
}


def small_settings(recipe: str = "0.4.1", **changes: Any) -> Settings:
    """Settings of a run of under a second, but for `changes`."""
    return Settings.from_dict({"recipe": recipe, **SMALL, **SMALL_BY_RECIPE.get(recipe, {}), **changes})


def small_data(*, train_tokens: int = 5000, val_tokens: int = 1000, fingerprint: str = "made-up") -> TokenData:
    """Made-up text that a model can learn."""
    return TokenData(
        train=made_up_tokens(1, train_tokens, 257).astype(np.uint16),
        val=made_up_tokens(2, val_tokens, 257).astype(np.uint16),
        vocab_size=257,
        train_bytes=train_tokens,
        val_bytes=val_tokens,
        fingerprint=fingerprint,
    )


class Recorder:
    """A reporter that keeps everything in lists; `direct` is asked for each progress, with its number from 0."""

    def __init__(self, direct: Callable[[int, Progress], Directive] = lambda _, __: Directive.CONTINUE) -> None:
        self._direct = direct
        self.calls: list[str] = []
        self.points: list[Point] = []
        self.progresses: list[Progress] = []
        self.saved: list[SavedCheckpoint] = []
        self.taken_up: list[SavedCheckpoint | None] = []
        self.known: list[Facts] = []
        self.notes: list[tuple[str, str]] = []

    def resumed(self, checkpoint: SavedCheckpoint | None) -> None:
        self.calls.append("resumed")
        self.taken_up.append(checkpoint)

    def note(self, action: str, text: str) -> None:
        self.notes.append((action, text))

    def facts(self, facts: Facts) -> None:
        self.calls.append("facts")
        self.known.append(facts)

    def point(self, point: Point) -> None:
        self.calls.append("point")
        self.points.append(point)

    def progress(self, progress: Progress) -> Directive:
        self.calls.append("progress")
        self.progresses.append(progress)
        return self._direct(len(self.progresses) - 1, progress)

    def checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        self.calls.append("checkpoint")
        self.saved.append(checkpoint)


def release_at(number: int) -> Callable[[int, Progress], Directive]:
    """Directions that release the run at the progress of this number, from 0."""
    return lambda asked, _: Directive.RELEASE if asked == number else Directive.CONTINUE


def checkpointing_in(folder: Path, *, fence: int = 1, every_seconds: float = 1e9) -> Checkpointing:
    """Checkpoints in `folder`; by default none but those that are asked for."""
    return Checkpointing(state_folder=folder, uid="a1b2", fence=fence, every_seconds=every_seconds)


def without_time(points: list[Point]) -> list[Point]:
    """The points but for their seconds, which no two runs share."""
    return [dataclasses.replace(point, cumulative_time=0.0) for point in points]


def one_curve(first: Recorder, second: Recorder, resumed_at: int) -> list[Point]:
    """What readers see of two attempts: the first's points up to the checkpoint, then the second's."""
    return without_time([point for point in first.points if point.step <= resumed_at] + second.points)


def is_training(progress: Progress) -> bool:
    """Whether the progress stands before a training microbatch."""
    return progress.phase is Phase.TRAIN
