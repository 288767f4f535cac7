"""Rows to records: how JSON columns, checkpoints and losses are written and read back."""

import functools
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from typing import TYPE_CHECKING, Any, TypeVar

from sqlalchemy import Row, Select, select

from hlbgpt_core.points import Phase, SavedCheckpoint
from orchestrator.queue.attempts import AttemptRecord
from orchestrator.queue.code import CodePart, parts_up_to
from orchestrator.queue.runs import Bookkeeping, RunRecord
from orchestrator.queue.states import Limits, Reason, Spent, State
from orchestrator.store.base import to_json
from orchestrator.store.filters import OF_NEWEST_ATTEMPT
from orchestrator.store.tables import arms, attempts, runs, sweeps

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_Record = TypeVar("_Record", bound="DataclassInstance")
_OF_ATTEMPT = (
    "step phase fraction tokens_per_second tokens_seen memory_bytes last_train_loss last_val_loss error_type "
    "error_message".split()
)

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
        *(attempts.c[name] for name in _OF_ATTEMPT),
    )
    .join(arms, arms.c.id == runs.c.arm_id)
    .join(sweeps, sweeps.c.id == runs.c.sweep_id)
    .outerjoin(attempts, OF_NEWEST_ATTEMPT)
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
    return None if path is None else SavedCheckpoint(path=path, sha256=sha256, step=step)


def checkpoint_columns(prefix: str, checkpoint: SavedCheckpoint | None) -> dict[str, Any]:
    """The three columns that hold a checkpoint pointer; `prefix` is `checkpoint` or `previous`."""
    values = asdict(checkpoint) if checkpoint else {}
    return {f"{prefix}_{name}": values.get(name) for name in ("path", "sha256", "step")}


@functools.lru_cache(maxsize=64)
def read_bookkeeping(text: str) -> Bookkeeping:
    """Bookkeeping from its JSON column; fields that a newer program added take their defaults."""
    values = json.loads(text)
    limits = Limits(**values.pop("limits", {}))
    return Bookkeeping(**values, limits=limits)


def record_of(kind: type[_Record], row: Any, /, **own: Any) -> _Record:
    """A record of this kind: the columns of a row that have the names of its fields, and `own` fields."""
    names = (field.name for field in fields(kind) if field.name not in own)
    return kind(**{name: getattr(row, name) for name in names}, **own)


def attempt_record(row: Row[Any]) -> AttemptRecord:
    """A row of `attempts`."""
    reason = Reason(row.reason) if row.reason else None
    return record_of(AttemptRecord, row, reason=reason, provenance=json.loads(row.provenance))


def write_number(value: float | None) -> str | None:
    """A loss as text that reads back as the same number, non-finite ones too."""
    return None if value is None else repr(float(value))


def read_number(text: str | None) -> float | None:
    """The number that `write_number` wrote."""
    return None if text is None else float(text)
