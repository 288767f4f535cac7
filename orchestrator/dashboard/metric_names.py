"""The metrics that a page may ask for, by name."""

from collections.abc import Mapping, Sequence
from typing import Any

from hlbgpt_core.evaluation import FIRST_HALF, WHOLE_TEXT, fingerprint_of
from hlbgpt_core.points import Split
from hlbgpt_core.text.sources import WIKITEXT
from orchestrator.comparison.measuring.evaluations import EvaluatedRun, mixed_evaluations
from orchestrator.errors import UsageError
from orchestrator.export.metric_names import Metric, find_metric
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.sweeps import ArmRecord
from orchestrator.store import Store

# In the order in which a page offers them; counters of training say nothing new as val metrics.
_MEASURED = ("loss", "acc", "pplx")
_OF_TRAINING = ("grad_norm", "lr", "weight_decay", "batch_size", "seq_length", "microbatches")
_SAMPLED_RUNS = 5


def sweep_metrics(store: Store, sweep_ids: Sequence[int], arms: Sequence[ArmRecord]) -> list[str]:
    """The names of the metrics of sweeps, users' own last."""
    own = sorted(set().union(*(store.own_metrics(sweep_id, _SAMPLED_RUNS) for sweep_id in sweep_ids)))
    standard = [f"val_{name}" for name in _MEASURED] + ["val_bits_per_byte"]
    splits = [Split.VAL, Split.TRAIN]
    if any(arm.settings.get("test_tokens") for arm in arms):
        standard += [f"test_{name}" for name in (*_MEASURED, "bits_per_byte")]
        splits.append(Split.TEST)
    standard += [f"train_{name}" for name in (*_MEASURED, *_OF_TRAINING)]
    return [*standard, *(f"{split.value}_{name}" for name in own for split in splits)]


def mixed_evaluations_of(arms: Sequence[ArmRecord]) -> Mapping[str, str]:
    """By split, what the evaluations of a sweep's arms differ in, as far as their settings tell it."""
    found = {}
    for split in (Split.VAL, Split.TEST):
        evaluated = [
            EvaluatedRun(
                settings=arm.settings,
                data_fingerprint=f"{arm.settings.get('dataset')} {arm.settings.get('tokenizer')}",
                evaluation_fingerprint=fingerprint_of(split, arm.settings, text="the same", part=_part(arm.settings)),
            )
            for arm in arms
            if split is Split.VAL or arm.settings.get("test_tokens")
        ]
        mixed = mixed_evaluations(evaluated, f"{split}_loss")
        if mixed is not None:
            found[split.value] = mixed.differ_in
    return found


def _part(settings: Mapping[str, Any]) -> str:
    """What validation reads of its text; whether a hub's dataset has a test split of its own is not known here."""
    is_local = not str(settings.get("dataset")).startswith(("hf:", WIKITEXT))
    return FIRST_HALF if settings.get("test_tokens") and is_local else WHOLE_TEXT


def read_metric(store: Store, sweep_ids: Sequence[int], name: str) -> Metric:
    """The metric of that name. Raises UnknownMetricError, naming the nearest, for another one."""
    return find_metric(store, RunFilter(sweep_ids=tuple(sweep_ids), with_members=True), name)


def read_weight(text: str) -> float:
    """A weight of the past for smoothing, from 0 to below 1. Raises UsageError for anything else."""
    try:
        weight = float(text)
    except ValueError:
        weight = -1.0
    if not 0 <= weight < 1:
        raise UsageError(f"smooth '{text}' is not a number from 0 to below 1")
    return weight
