"""What a notice says: one JSON object, and a line for people. Pure."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orchestrator.queue.attempts import AttemptRecord
from orchestrator.queue.notices import Notice, NoticeKind
from orchestrator.queue.runs import RunRecord
from orchestrator.queue.states import State
from orchestrator.queue.sweeps import SweepRecord
from orchestrator.sweep.definition import swept_axes
from orchestrator.wording.numbers import counted

# Changes when a key changes its name or meaning; new keys may come under the same number.
SCHEMA = 1
_LONGEST_ERROR = 4_000
_LONGEST_LINE = 300


@dataclass(frozen=True, kw_only=True)
class Told:
    """A notice with what the database knows of it. For a failed run, `attempt` is the one that failed."""

    notice: Notice
    sweep: SweepRecord
    run: RunRecord | None
    attempt: AttemptRecord | None
    best: RunRecord | None
    database: str
    next_command: str


def message(told: Told) -> Mapping[str, Any]:
    """The JSON object: every key is there for every event, `null` where it does not apply."""
    counts = told.notice.counts
    return {
        "schema": SCHEMA,
        "id": f"{told.sweep.uid}-{told.notice.id}",
        "event": told.notice.kind.value,
        "at": told.notice.at,
        "summary": summary(told),
        "sweep": {
            "number": told.sweep.id,
            "uid": told.sweep.uid,
            "name": told.sweep.name,
            "note": told.sweep.note,
            "counts": {state.value: counts.get(state, 0) for state in State},
            "total": sum(counts.values()),
        },
        "run": _failed_run(told.run, told.attempt, told.sweep) if told.run and told.attempt else None,
        "best": _best_run(told.best, told.sweep) if told.best else None,
        "database": told.database,
        "next_command": told.next_command,
    }


def message_text(told: Told) -> str:
    """The message as one line of strict JSON."""
    return json.dumps(message(told), ensure_ascii=False, allow_nan=False) + "\n"


def summary(told: Told) -> str:
    """The notice in one line without control characters."""
    name = f"sweep {told.sweep.id}" + (f" '{told.sweep.name}'" if told.sweep.name else "")
    if told.notice.kind is NoticeKind.RUN_FAILED and told.run and told.attempt:
        values = ", ".join(f"{key}={value}" for key, value in _swept(told.run, told.sweep).items())
        arm = f"{values}, seed {told.run.seed}" if values else f"seed {told.run.seed}"
        failed = f"run {told.run.id} of {name} failed ({told.attempt.reason}; {arm})"
        parts = (failed, told.attempt.error_type, told.attempt.error_message)
        return _shortened(one_line(": ".join(filter(None, parts))))
    counts = ", ".join(f"{number:,} {state}" for state in State if (number := told.notice.counts.get(state, 0)))
    best = ""
    if told.best is not None and told.best.last_val_loss is not None:
        best = f"; best validation loss {told.best.last_val_loss:.4f} (run {told.best.id})"
    return _shortened(one_line(f"{name} ended: {counted(sum(told.notice.counts.values()), 'run')}, {counts}{best}"))


def _failed_run(run: RunRecord, attempt: AttemptRecord, sweep: SweepRecord) -> Mapping[str, Any]:
    return {
        "number": run.id,
        "uid": run.uid,
        "arm": run.arm_number,
        "swept": _swept(run, sweep),
        "settings": dict(run.settings),
        "seed": run.seed,
        "attempts": attempt.fence,
        "step": attempt.step,
        "reason": attempt.reason.value if attempt.reason else None,
        "error_type": attempt.error_type,
        "error_message": attempt.error_message[:_LONGEST_ERROR],
    }


def _best_run(run: RunRecord, sweep: SweepRecord) -> Mapping[str, Any]:
    loss = run.last_val_loss
    return {
        "val_loss": loss if loss is not None and math.isfinite(loss) else None,
        "run": run.id,
        "arm": run.arm_number,
        "swept": _swept(run, sweep),
        "seed": run.seed,
    }


def _swept(run: RunRecord, sweep: SweepRecord) -> dict[str, Any]:
    """The run's values of the settings that the sweep varies."""
    return {name: run.settings.get(name) for name in swept_axes(sweep.definition)}


def one_line(text: str) -> str:
    """A text in one line without control characters."""
    return " ".join("".join(letter if letter.isprintable() else " " for letter in text).split())


def _shortened(line: str) -> str:
    return line if len(line) <= _LONGEST_LINE else f"{line[: _LONGEST_LINE - 1]}…"
