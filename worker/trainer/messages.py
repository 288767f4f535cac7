"""The protocol between supervisor and trainer process: one JSON object per line, over two pipes.

Any program that speaks it can replace the trainer (the fault suite does). A message's `kind` is the name of its class.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from hlbgpt_core.errors import HlbqError
from hlbgpt_core.points import Directive, Facts, Phase, Point, Progress, SavedCheckpoint, Split
from worker.trainer.blame import Blame


class ProtocolError(HlbqError):
    """A line that is no message of this protocol."""


@dataclass(frozen=True, kw_only=True)
class AboutRun:
    """What every message about a run carries, so that a late one of an earlier run is recognised."""

    run_id: int
    fence: int


@dataclass(frozen=True, kw_only=True)
class Start(AboutRun):
    """Train a run. `settings` are resolved; `resume` lists checkpoints to try, newest first. After an evaluation at or
    past one of `rungs` (tokens seen) the trainer waits a moment for a directive: the run may be stopped there."""

    uid: str
    settings: Mapping[str, Any]
    seed: int
    log_path: str
    state_folder: str
    checkpoint_every_seconds: float
    resume: Sequence[SavedCheckpoint] = ()
    fixed_facts: Mapping[str, Any] = field(default_factory=dict)
    keep_checkpoints: bool = False
    keep_best: bool = False
    rungs: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True)
class Direct(AboutRun):
    """What the supervisor wants of the run at hand."""

    directive: Directive


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Stop before the next step and wait: the supervisor can no longer prove that it holds the run."""


@dataclass(frozen=True, kw_only=True)
class Resume:
    """Go on after a pause."""


@dataclass(frozen=True, kw_only=True)
class ShutDown:
    """End the process; sent between runs."""


@dataclass(frozen=True, kw_only=True)
class Ready:
    """The trainer process has loaded its code; `core_digest` names it."""

    pid: int
    core_digest: str


@dataclass(frozen=True, kw_only=True)
class LoadFailed:
    """The trainer process could not load its code, and ends. `blame` is a value of worker.trainer.blame.Blame."""

    pid: int
    blame: str
    error_type: str
    error_message: str
    error_traceback: str


@dataclass(frozen=True, kw_only=True)
class Noted(AboutRun):
    """Something that people should know of: what happened in two words, and all of it."""

    action: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Resumed(AboutRun):
    """The checkpoint that the run goes on from; None for step 0."""

    checkpoint: SavedCheckpoint | None


@dataclass(frozen=True, kw_only=True)
class FactsFound(AboutRun):
    """What is known of the run only where it runs."""

    facts: Facts


@dataclass(frozen=True, kw_only=True)
class PointMade(AboutRun):
    """One record of metrics."""

    point: Point


@dataclass(frozen=True, kw_only=True)
class ProgressMade(AboutRun):
    """A sign of life."""

    progress: Progress


@dataclass(frozen=True, kw_only=True)
class CheckpointMade(AboutRun):
    """A checkpoint is whole on disk; every point up to its step went before."""

    checkpoint: SavedCheckpoint


@dataclass(frozen=True, kw_only=True)
class Ended(AboutRun):
    """The run's end, last of its messages. `reason` is a value of orchestrator.queue.states.Reason.

    `permanent` says that another try would end the same way (data or settings that are of no use). `blame` is a value
    of worker.trainer.blame.Blame: a run that is not to blame is released.
    """

    reason: str
    error_type: str = ""
    error_message: str = ""
    error_traceback: str = ""
    permanent: bool = False
    blame: str = Blame.RUN.value


ToTrainer = Start | Direct | Pause | Resume | ShutDown
FromTrainer = Ready | LoadFailed | Noted | Resumed | FactsFound | PointMade | ProgressMade | CheckpointMade | Ended
Message = ToTrainer | FromTrainer
_KINDS: Mapping[str, type[Message]] = {message.__name__: message for message in get_args(Message)}


def encode(message: Message) -> bytes:
    """The message as one line of UTF-8 JSON. Non-finite numbers stay themselves (NaN, Infinity)."""
    return _to_json({"kind": type(message).__name__, **vars(message)}).encode() + b"\n"


# How the fields that hold records are made anew from their JSON.
_READERS: Mapping[str, Callable[[Any], Any]] = {
    "point": lambda value: Point(**{**value, "split": Split(value["split"])}),
    "facts": lambda value: Facts(**value),
    "progress": lambda value: Progress(**{**value, "phase": Phase(value["phase"])}),
    "directive": Directive,
    "checkpoint": lambda value: SavedCheckpoint(**value) if value is not None else None,
    "resume": lambda value: tuple(SavedCheckpoint(**one) for one in value),
}


def decode(line: bytes) -> Message:
    """The message in a line. Raises ProtocolError for anything else."""
    try:
        body = json.loads(line)
        message = _KINDS[body.pop("kind")]
        return message(**{name: _READERS[name](value) if name in _READERS else value for name, value in body.items()})
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ProtocolError(f"not a message: {line[:200]!r} ({error})") from error


def _plain(value: Any) -> dict[str, Any]:
    # Records are read through vars, not asdict: that copies deeply, and this runs beside the training loop.
    return dict(value) if isinstance(value, Mapping) else vars(value)


# Made once: this runs beside the training loop, a message a step.
_to_json = json.JSONEncoder(separators=(",", ":"), default=_plain).encode
