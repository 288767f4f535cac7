"""What W&B gets of a run: pure functions of the database's content.

A row of W&B's history is one point. The order of rows never changes (by step, then `train`, `val`, `test`), nor do
points before a run's checkpoint. So row n of a run is the same row in every sync, and is line n in W&B.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hlbgpt_core.points import Point, Split
from orchestrator.export.columns import NAMES_OF_FACTS
from orchestrator.queue.points import Sendable, StoredPoint, SyncMark
from orchestrator.queue.runs import RunRecord
from orchestrator.queue.states import Reason, State
from orchestrator.queue.sweeps import SweepRecord
from orchestrator.sweep.arm_labels import arm_label

# The x axes of curves; the first is W&B's default.
AXES = ("tokens_seen", "step", "epoch", "cumulative_time")
# What the original tool logs with each evaluation under names of its own: a point's value, and that name.
_ORIGINAL_NAMES = {
    "batch_size": "batch_size",
    "seq_length": "sequence_length",
    "lr": "learning_rate",
    "weight_decay": "weight_decay",
}
GROUPS_OF_METRICS = ("train/*", "val/*", "test/*", "lr/*", *_ORIGINAL_NAMES.values())
LONGEST_TAG = 64

_METRICS = {
    Split.TRAIN: ("loss acc pplx grad_norm lr weight_decay batch_size seq_length microbatches".split()),
    Split.VAL: "loss acc pplx bits_per_byte".split(),
    Split.TEST: "loss acc pplx bits_per_byte".split(),
}
# By split: a point's numbers, and their names at W&B.
_NAMES = {
    split: {
        **dict(zip(AXES, AXES, strict=True)),
        **{name: f"{split}/{name}" for name in names},
        **(_ORIGINAL_NAMES if split is Split.VAL else {}),
    }
    for split, names in _METRICS.items()
}
# Exit codes as W&B reads them: 255 means an interrupted run.
_EXIT_CODES = {State.COMPLETED: 0, State.FAILED: 1, State.CANCELLED: 255}


@dataclass(frozen=True, kw_only=True)
class Upload:
    """All that one session sends to W&B. `rows` are all rows from the first; `exit_code` is None while the run goes
    on."""

    id: str
    project: str
    group: str
    name: str
    notes: str
    tags: Sequence[str]
    config: Mapping[str, Any]
    rows: Sequence[dict[str, float | int]]
    summary: Mapping[str, Any]
    exit_code: int | None


def upload_of(
    sendable: Sendable, sweep: SweepRecord, generation: int, *, project: str, varying: Sequence[str]
) -> Upload:
    """What W&B should hold of a run after a session. `varying` are the settings in which the sweep's arms differ."""
    run = sendable.run
    return Upload(
        id=wandb_id(run.uid, generation),
        project=project,
        # One a sweep; its uid separates sweeps of the same name in other databases.
        group=f"{sweep.name or f'sweep-{sweep.id}'}-{sweep.uid[:8]}",
        name=", ".join(filter(None, [arm_label(run.settings, varying), f"seed {run.seed}"])),
        notes=sweep.note,
        tags=tags_of(sendable, sweep),
        config=config_of(run, sweep),
        rows=[row_of(one.point) for one in sendable.points],
        summary=summary_of(sendable),
        exit_code=_EXIT_CODES[run.state] if sendable.ending else None,
    )


def wandb_id(uid: str, generation: int) -> str:
    """The run's id at W&B: its uid, then `<uid>-2` after it restarted below the mark."""
    return uid if generation == 0 else f"{uid}-{generation + 1}"


def tags_of(sendable: Sendable, sweep: SweepRecord) -> Sequence[str]:
    """`hlbq`, the sweep's name, the tags of both, and how the run ended unless it was completed."""
    run = sendable.run
    ending = [run.state.value, *([run.reason.value] if run.reason else [])] if sendable.ending else []
    wanted = ["hlbq", sweep.name, *run.tags, *(ending if run.state is not State.COMPLETED else [])]
    return tuple(dict.fromkeys(tag[:LONGEST_TAG] for tag in wanted if tag))


def config_of(run: RunRecord, sweep: SweepRecord) -> Mapping[str, Any]:
    """Settings, the facts logged at the first claim, and what identifies the run in the database."""
    facts = {NAMES_OF_FACTS.get(name, name): value for name, value in run.facts.items() if name != "provenance"}
    return {
        **{name if name not in run.settings else f"fact_{name}": value for name, value in facts.items()},
        **run.settings,
        "seed": run.seed,
        "run_num": run.run_num,
        "num_params": run.num_params,
        "num_non_embedding_params": run.num_non_embedding_params,
        "arm": run.arm_number,
        "arm_key": run.arm_key,
        "run_id": run.id,
        "uid": run.uid,
        "sweep": sweep.id,
        "sweep_uid": sweep.uid,
    }


def row_of(point: Point) -> dict[str, float | int]:
    """A point under W&B's names: `train/loss`, `val/loss`, `lr/<group>`, and users' metrics as `train/NAME`.

    An evaluation carries the four values that the original tool logs beside it.
    """
    values = {name: getattr(point, of_point) for of_point, name in _NAMES[point.split].items()}
    row: dict[str, float | int] = {name: value for name, value in values.items() if value is not None}
    for name, value in point.extra.items():
        group = name.removeprefix("lr_")
        if group == name:
            row[f"{point.split}/{name}"] = value
        elif point.split is Split.TRAIN:
            row[f"lr/{group}"] = value
    return row


def summary_of(sendable: Sendable) -> Mapping[str, Any]:
    """The run's state, its last and best validation loss, and its test loss."""
    run = sendable.run
    summary: dict[str, Any] = {"state": run.state.value if sendable.ending else State.RUNNING.value}
    if sendable.ending:
        summary["reason"] = run.reason.value if run.reason else ""
        summary["error_type"] = run.error_type
    evaluations = [one.point for one in sendable.points if one.point.split is Split.VAL]
    if evaluations and run.reason is not Reason.PRUNED:
        summary["last_val_loss"] = evaluations[-1].loss
    tested = [one.point for one in sendable.points if one.point.split is Split.TEST]
    if tested:
        summary["test_loss"] = tested[-1].loss
    finite = [point for point in evaluations if math.isfinite(point.loss)]
    if finite:
        best = min(finite, key=lambda point: point.loss)
        summary |= {"best_val_loss": best.loss, "best_val_step": best.step}
    return summary


def still_holds(mark: SyncMark, points: Sequence[StoredPoint]) -> bool:
    """Whether everything that may have been sent is still part of the run.

    If the run restarted below the mark, the last planned point is gone, or a later attempt wrote it. Of two points of
    one step the earlier counts: an evaluation may follow a checkpoint in the next attempt.
    """
    if mark.planned_fence == 0:
        return True
    fences = [one.fence for one in points if one.point.step == mark.planned_step]
    return bool(fences) and min(fences) == mark.planned_fence
