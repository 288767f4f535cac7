"""The columns of the tables that hlbq exports: one row per run, or one per point.

The original tool's CSV had two forms. The first columns of a run are those of its first form, in its order, so scripts
written for that still work. Since June 2024 it has one list for both splits (`tokens_seen` instead of
`tokens_seen_train` and `tokens_seen_val`): `--layout original` writes that form, and `in_own_columns` reads it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any

from hlbgpt_core import settings
from hlbgpt_core.evaluation import known_fingerprint
from hlbgpt_core.points import Split
from orchestrator.queue.code import SameCode, joined
from orchestrator.queue.runs import RunRecord
from orchestrator.queue.states import Reason, State
from orchestrator.store.reading.curves import CURVE_COLUMNS, RECORDED_AT, Curve
from orchestrator.sweep.options import with_defaults


class Kind(Enum):
    """What the values of a column are."""

    INTEGER = "integer"
    NUMBER = "number"
    TRUTH = "truth"
    TEXT = "text"
    INTEGERS = "list of integers"
    NUMBERS = "list of numbers"


@dataclass(frozen=True, kw_only=True)
class Column:
    """A column by its name. `split` and `metric` say which curve a list holds."""

    name: str
    kind: Kind
    split: Split | None = None
    metric: str = ""


LISTS = frozenset({Kind.INTEGERS, Kind.NUMBERS})
INTEGER_METRICS = frozenset({"step", "tokens_seen", "batch_size", "seq_length", "microbatches"})

# The first columns of a run, settings among them.
_FIRST = (
    *("last_val_loss", "model_scale", "depth", "width", "num_params", "num_non_embedding_params", "num_heads"),
    *("linear_value", "seed", "run_num"),
)
# Columns of curves: (name with {} for the split, metric), those of the original tool first.
_MEASURED = (("{}_loss", "loss"), ("{}_acc", "acc"), ("{}_pplx", "pplx"), ("grad_norm", "grad_norm"))
# (Name with {} for the split, the one name for both splits in the original tool's newest form, metric.)
_PLACES = (
    ("cumulative_time_{}", "cumulative_time", "cumulative_time"),
    ("tokens_seen_{}", "tokens_seen", "tokens_seen"),
    ("epochs_{}", "epoch", "epoch"),
    ("batch_sizes_{}", "batch_size", "batch_size"),
    ("seq_lengths_{}", "seq_length", "seq_length"),
    ("lrs_{}", "learning_rate", "lr"),
    ("weight_decays_{}", "weight_decay", "weight_decay"),
)
_SETTINGS_OF_ORIGINAL = ("max_epochs", "max_steps", "max_tokens", "max_time_seconds", "gpu_capacity_scalar")
# Of the one point of the test split: what it measures, and where it stands.
_CURVES_OF_TEST = (
    *(("{}_" + name, name) for name in ("loss", "acc", "pplx", "bits_per_byte")),
    *(("steps_{}", "step"), ("cumulative_time_{}", "cumulative_time")),
    *(("tokens_seen_{}", "tokens_seen"), ("epochs_{}", "epoch")),
)
_CURVES_BESIDES = (("steps_{}", "step"), ("microbatches_{}", "microbatches"), ("{}_bits_per_byte", "bits_per_byte"))
_ONLY_SPLIT: Mapping[str, Split] = {"grad_norm": Split.TRAIN, "microbatches": Split.TRAIN, "bits_per_byte": Split.VAL}

_BOOKKEEPING = (
    *("run_id", "uid", "sweep", "state", "reason", "arm", "arm_key", "priority", "paused", "fence", "attempts"),
    *("last_step", "created_at", "started_at", "ended_at", "error_type", "error_message"),
    *("code", "git_commit", "mixed_code", "tags"),
)
CODE_OF_POINTS = ("code", "git_commit")
_FACTS = (
    *("data_fingerprint", "evaluation_fingerprint", "test_fingerprint", "test_evaluation_fingerprint"),
    *("train_tokens", "val_tokens", "val_bytes", "device", "device_name", "precision", "path", "threads"),
    "deterministic",
)
# Facts whose names are settings' too.
NAMES_OF_FACTS: Mapping[str, str] = {"precision": "resolved_precision", "path": "trainer_path"}
# Those that are no settings; the others are texts.
_KIND_OF: Mapping[str, Kind] = (
    dict.fromkeys(("num_params", "num_non_embedding_params", "seed", "run_num"), Kind.INTEGER)
    | dict.fromkeys(("run_id", "sweep", "arm", "priority", "fence", "attempts", "last_step"), Kind.INTEGER)
    | dict.fromkeys(("train_tokens", "val_tokens", "val_bytes", "threads"), Kind.INTEGER)
    | dict.fromkeys(("last_val_loss", "created_at", "started_at", "ended_at"), Kind.NUMBER)
    | dict.fromkeys(("paused", "mixed_code", "deterministic"), Kind.TRUTH)
)

_KINDS: Mapping[type, Kind] = {int: Kind.INTEGER, float: Kind.NUMBER, bool: Kind.TRUTH, str: Kind.TEXT}


def run_columns(extra: Sequence[tuple[Split, str]] = ()) -> tuple[Column, ...]:
    """The columns of the table with one row per run; `extra` are users' own metrics, which follow as
    `train_NAME`, `val_NAME`, `test_NAME`."""
    others = [name for name in settings.specs() if name not in _FIRST]
    facts = [NAMES_OF_FACTS.get(fact, fact) for fact in _FACTS]
    own = [Column(name=f"{split}_{name}", kind=Kind.NUMBERS, split=split, metric=name) for split, name in extra]
    return (
        *map(_column, _FIRST),
        *_curve_columns((*_MEASURED, *((name, metric) for name, _, metric in _PLACES))),
        *map(_column, (*others, *_BOOKKEEPING, *facts)),
        *_curve_columns(_CURVES_BESIDES),
        *(_curve_column(name, metric, Split.TEST) for name, metric in _CURVES_OF_TEST),
        *own,
    )


def original_columns() -> tuple[Column, ...]:
    """The columns of the original tool's newest form: those, and no others, since its --append writes no header."""
    return (
        *map(_column, (*_FIRST, *_SETTINGS_OF_ORIGINAL)),
        *_curve_columns(_MEASURED),
        *(_curve_column(shared, metric, Split.VAL) for _, shared, metric in _PLACES),
    )


def in_own_columns(row: Mapping[str, Any]) -> Mapping[str, Any]:
    """A row of the original tool's newest form under the names of `run_columns`; any other row as it is."""
    if not {"last_val_loss", "cumulative_time"} <= row.keys():
        return row
    shared = {name: own for own, name, _ in _PLACES}
    return {
        own: value
        for name, value in row.items()
        for own in ([shared[name].format(split) for split in ("train", "val")] if name in shared else [name])
    }


def _curve_columns(named: Sequence[tuple[str, str]]) -> list[Column]:
    columns = []
    for name, metric in named:
        for split in [_ONLY_SPLIT[metric]] if metric in _ONLY_SPLIT else [Split.TRAIN, Split.VAL]:
            columns.append(_curve_column(name, metric, split))
    return columns


def _curve_column(name: str, metric: str, split: Split) -> Column:
    kind = Kind.INTEGERS if metric in INTEGER_METRICS else Kind.NUMBERS
    return Column(name=name.format(split.value), kind=kind, split=split, metric=metric)


def _column(name: str) -> Column:
    """A column of single values: of a setting, or of what else is known of a run."""
    spec = settings.specs().get(name)
    return Column(name=name, kind=_KIND_OF.get(name, Kind.TEXT) if spec is None else _KINDS[spec.type])


def point_columns(extra: Sequence[str] = ()) -> tuple[Column, ...]:
    """The columns of the table with one row per point; `extra` are users' own metrics."""
    return (
        *map(_column, ("run_id", "split")),
        *(Column(name=name, kind=Kind.INTEGER if name in INTEGER_METRICS else Kind.NUMBER) for name in CURVE_COLUMNS),
        *map(_column, CODE_OF_POINTS),
        *(Column(name=name, kind=Kind.NUMBER) for name in (*extra, RECORDED_AT)),
    )


def text_columns() -> frozenset[str]:
    """The columns of either table whose cells are texts."""
    return frozenset(column.name for column in (*run_columns(), *point_columns()) if column.kind is Kind.TEXT)


def run_values(run: RunRecord, curves: Mapping[Split, Curve], columns: Sequence[Column], same: SameCode) -> list[Any]:
    """A run's row under `columns`. A split without points has empty lists, which scripts read like any other; a metric
    that its points lack is None."""
    scalars = _scalars(run, curves, same)
    return [_curve_values(column, curves) if column.split else scalars[column.name] for column in columns]


def _curve_values(column: Column, curves: Mapping[Split, Curve]) -> Sequence[Any] | None:
    curve = curves.get(column.split) if column.split else None
    if curve is None:
        return ()
    values = curve.columns.get(column.metric) or curve.extra.get(column.metric)
    if values is None or (values[0] is None and all(value is None for value in values)):
        return None
    return values


def _final_loss(run: RunRecord, last: float | None) -> float | None:
    """The last loss of a completed run, and of one that diverged what shows it. Others would be read as runs that are
    done, after less training."""
    shows_it = run.reason is Reason.DIVERGED and last is not None and not math.isfinite(last)
    return last if run.state is State.COMPLETED or shows_it else None


def _scalars(run: RunRecord, curves: Mapping[Split, Curve], same: SameCode) -> dict[str, Any]:
    val = curves.get(Split.VAL)
    plain = "num_params num_non_embedding_params seed run_num uid arm_key priority paused fence"
    plain += " created_at started_at ended_at"
    return {
        **with_defaults(run.settings),
        **{name: getattr(run, name) for name in plain.split()},
        # An empty text is a cell without a value in every format.
        **{NAMES_OF_FACTS.get(fact, fact): None if (value := run.facts.get(fact)) == "" else value for fact in _FACTS},
        "evaluation_fingerprint": known_fingerprint(Split.VAL, run.settings, run.facts) or None,
        "last_val_loss": _final_loss(run, val["loss"][-1]) if val else None,
        "run_id": run.id,
        "sweep": run.sweep_id,
        "state": run.state.value,
        "reason": run.reason.value if run.reason else None,
        "arm": run.arm_number,
        "attempts": run.fence,
        "last_step": run.step,
        "error_type": run.error_type or None,
        "error_message": run.error_message or None,
        "code": joined(part.digest for part in run.code) or None,
        "git_commit": joined(part.git_commit for part in run.code) or None,
        "mixed_code": same.are_mixed(run.code),
        "tags": " ".join(run.tags) or None,
    }
