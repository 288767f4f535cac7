"""Rows to records: how JSON columns, checkpoints and non-finite numbers are written and read back."""

import functools
import json
import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import Any

from sqlalchemy import Row, Select, and_, select

from hlbgpt_core.points import Phase, Point, SavedCheckpoint, Split
from orchestrator.queue.attempts import AttemptRecord
from orchestrator.queue.code import CodePart, parts_up_to
from orchestrator.queue.points import ReceivedPoint, StoredPoint
from orchestrator.queue.runs import Bookkeeping, RunRecord
from orchestrator.queue.states import Limits, Reason, Spent, State
from orchestrator.queue.workers import DeviceReading, WorkerIdentity, WorkerRecord
from orchestrator.store.base import to_json
from orchestrator.store.tables import arms, attempts, points, runs, sweeps

NAN, PLUS_INFINITY, MINUS_INFINITY = "nan", "+inf", "-inf"
_METRICS = ("loss", "acc", "pplx", "cumulative_time", "epoch", "lr", "weight_decay", "grad_norm", "bits_per_byte")
_COUNTERS = ("tokens_seen", "batch_size", "seq_length", "microbatches")
_NUMBERS = (*_METRICS, *_COUNTERS)
# By place and all at once: a sync reads tens of thousands of points, and a row's names are slow to look up.
_POINT_COLUMNS = ("run_id", "split", "step", "fence", "extra", "nonfinite", *_NUMBERS)
_point_of = operator.itemgetter(*(points.c.keys().index(name) for name in _POINT_COLUMNS))
_IDENTITY = [
    "host",
    "hostname",
    "pid",
    "start_ticks",
    "device",
    "device_name",
    "slot",
    "slots",
    "program_version",
    "job",
]

# The run with all that a RunRecord holds but its settings: its arm, its sweep's bookkeeping, its newest attempt.
RUNS_OF_ARMS: Select[Any] = (
    select(
        *runs.c,
        arms.c.number.label("arm_number"),
        arms.c.key.label("arm_key"),
        arms.c.num_params,
        arms.c.num_non_embedding_params,
        sweeps.c.bookkeeping,
        sweeps.c.tags.label("sweep_tags"),
        attempts.c.step,
        attempts.c.phase,
        attempts.c.fraction,
        attempts.c.tokens_per_second,
        attempts.c.tokens_seen,
        attempts.c.memory_bytes,
        attempts.c.last_train_loss,
        attempts.c.last_val_loss,
        attempts.c.error_type,
        attempts.c.error_message,
    )
    .join(arms, arms.c.id == runs.c.arm_id)
    .join(sweeps, sweeps.c.id == runs.c.sweep_id)
    .outerjoin(attempts, and_(attempts.c.run_id == runs.c.id, attempts.c.fence == runs.c.fence))
)
RUN_ROWS: Select[Any] = RUNS_OF_ARMS.add_columns(arms.c.settings)
_RUN_ROW = tuple(RUN_ROWS.selected_columns.keys())
# What a RunRecord holds as it stands in the row.
_AS_STORED = tuple(
    "id uid sweep_id arm_id arm_number arm_key num_params num_non_embedding_params run_num seed priority paused alone "
    "backoff_until fence created_at started_at ended_at worker_id held across_code note".split()
)


def run_record(row: Row[Any], settings: Mapping[str, Any] | None = None) -> RunRecord:
    """A row of RUNS_OF_ARMS with its arm's settings, or of RUN_ROWS. Of a pending run, `step` is where its next attempt
    will start."""
    # By place and all at once: a row's names are slow to look up, and there are a hundred thousand runs.
    found = dict(zip(_RUN_ROW, row, strict=False))
    state = State(found["state"])
    waits = state is State.PENDING
    checkpoint = _checkpoint(found, "checkpoint")
    resume_step = checkpoint.step if checkpoint else 0
    step = resume_step if waits else found["step"] or 0
    return RunRecord(
        **{name: found[name] for name in _AS_STORED},
        settings=json.loads(found["settings"]) if settings is None else settings,
        state=state,
        reason=Reason(found["reason"]) if found["reason"] else None,
        spent=_spent(found["errors"], found["losses"]),
        bookkeeping=read_bookkeeping(found["bookkeeping"]),
        facts=read_facts(found["facts"]),
        checkpoint=checkpoint,
        previous_checkpoint=_checkpoint(found, "previous"),
        step=step,
        last_train_loss=read_number(found["last_train_loss"]),
        last_val_loss=read_number(found["last_val_loss"]),
        tokens_per_second=0.0 if waits else found["tokens_per_second"] or 0.0,
        fraction=0.0 if waits else found["fraction"] or 0.0,
        phase=Phase(found["phase"]) if found["phase"] and state is State.RUNNING else None,
        error_type=found["error_type"] or "",
        error_message=found["error_message"] or "",
        tokens_seen=found["tokens_seen"] or 0,
        memory_bytes=found["memory_bytes"] or 0,
        code=parts_up_to(read_code(found["code"]), step),
        tags=read_tags(found["tags"], found["sweep_tags"]),
    )


@functools.lru_cache(maxsize=64)
def read_tags(own: str, of_sweep: str) -> tuple[str, ...]:
    """A run's tags and its sweep's, each once."""
    return tuple(sorted({*own.split(), *of_sweep.split()}))


@functools.lru_cache(maxsize=64)
def read_code(text: str | None) -> tuple[CodePart, ...]:
    """The parts of a run from their JSON column. The runs of a sweep share most of these texts."""
    parts = json.loads(text or "[]")
    return tuple(CodePart(digest=digest, after=after, git_commit=commit) for digest, after, commit in parts)


def code_json(parts: Sequence[CodePart]) -> str:
    """The parts of a run as their JSON column."""
    return to_json([[part.digest, part.after, part.git_commit] for part in parts])


@functools.lru_cache(maxsize=64)
def _spent(errors: int, losses: int) -> Spent:
    return Spent(errors=errors, losses=losses)


@functools.lru_cache(maxsize=64)
def read_facts(text: str | None) -> Mapping[str, Any]:
    """A run's facts from their JSON column. The runs of a sweep share most of these texts."""
    facts: Mapping[str, Any] = json.loads(text or "{}")
    return facts


def _checkpoint(row: Mapping[str, Any], prefix: str) -> SavedCheckpoint | None:
    path, sha256, step = row[f"{prefix}_path"], row[f"{prefix}_sha256"], row[f"{prefix}_step"]
    if path is None or sha256 is None or step is None:
        return None
    return SavedCheckpoint(path=path, sha256=sha256, step=step)


def checkpoint_columns(prefix: str, checkpoint: SavedCheckpoint | None) -> dict[str, Any]:
    """The three columns that hold a checkpoint pointer; `prefix` is `checkpoint` or `previous`."""
    values = asdict(checkpoint) if checkpoint else {}
    return {f"{prefix}_{name}": values.get(name) for name in ("path", "sha256", "step")}


def bookkeeping_json(bookkeeping: Bookkeeping) -> str:
    """Bookkeeping as its JSON column."""
    return to_json(asdict(bookkeeping))


@functools.lru_cache(maxsize=64)
def read_bookkeeping(text: str) -> Bookkeeping:
    """Bookkeeping from its JSON column; fields that a newer program added take their defaults."""
    values = json.loads(text)
    limits = Limits(**values.pop("limits", {}))
    return Bookkeeping(**values, limits=limits)


def attempt_record(row: Row[Any]) -> AttemptRecord:
    """A row of `attempts`."""
    names = [
        "id",
        "run_id",
        "fence",
        "worker_id",
        "started_at",
        "ended_at",
        "start_step",
        "step",
        "shared_slots",
        "log_path",
    ]
    return AttemptRecord(
        **{name: getattr(row, name) for name in names},
        reason=Reason(row.reason) if row.reason else None,
        provenance=json.loads(row.provenance),
        error_type=row.error_type,
        error_message=row.error_message,
        error_traceback=row.error_traceback,
    )


def worker_record(row: Row[Any]) -> WorkerRecord:
    """A row of `workers` with the `run_id` that it holds."""
    names = ["id", "started_at", "beat", "beat_at", "lease_seconds", "ended_at", "ended_why", "run_id"]
    identity = WorkerIdentity(**{name: getattr(row, name) for name in _IDENTITY})
    return WorkerRecord(identity=identity, reading=read_reading(row), **{name: getattr(row, name) for name in names})


def read_reading(row: Row[Any]) -> DeviceReading:
    """A row's columns of a device's state."""
    return DeviceReading(**{field.name: getattr(row, field.name) for field in fields(DeviceReading)})


def write_number(value: float | None) -> str | None:
    """A loss as text that reads back as the same number, non-finite ones too."""
    return None if value is None else repr(float(value))


def read_number(text: str | None) -> float | None:
    """The number that `write_number` wrote."""
    return None if text is None else float(text)


def point_row(run_id: int, fence: int, point: Point) -> dict[str, Any]:
    """A point as its row. SQLite turns nan into NULL, so non-finite numbers are NULL plus a code."""
    row: dict[str, Any] = {"run_id": run_id, "fence": fence, "split": point.split.value, "step": point.step}
    row["recorded_at"] = point.recorded_at if isinstance(point, ReceivedPoint) else None
    codes: dict[str, str] = {}
    for name in _METRICS:
        value = getattr(point, name)
        if value is not None and not math.isfinite(value):
            codes[name] = _code(value)
            value = None
        row[name] = value
    for name in _COUNTERS:
        row[name] = getattr(point, name)
    extra = {name: _finite_or_code(value) for name, value in point.extra.items()}
    row["extra"] = to_json(extra) if extra else None
    row["nonfinite"] = to_json(codes) if codes else None
    return row


def read_point(row: Row[Any]) -> StoredPoint:
    """A row that begins with the columns of `points`."""
    run_id, split, step, fence, extra, nonfinite, *numbers = _point_of(row)
    values: dict[str, Any] = dict(zip(_NUMBERS, numbers, strict=True))
    if nonfinite:
        values |= {name: float(code) for name, code in json.loads(nonfinite).items()}
    more = {name: float(value) for name, value in json.loads(extra).items()} if extra else {}
    return StoredPoint(run_id=run_id, fence=fence, point=Point(split=Split(split), step=step, extra=more, **values))


def _finite_or_code(value: float) -> float | str:
    return value if math.isfinite(value) else _code(value)


def _code(value: float) -> str:
    if math.isnan(value):
        return NAN
    return PLUS_INFINITY if value > 0 else MINUS_INFINITY
