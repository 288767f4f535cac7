"""The metrics and axes that a page may ask for, by name."""

from hlbgpt_core.points import Split
from orchestrator.errors import ExportError, UsageError
from orchestrator.export.metric_names import Axis, Metric, parse_metric
from orchestrator.store import Store

# In the order in which a page offers them; counters of training say nothing new as val metrics.
_MEASURED = ("loss", "acc", "pplx")
_OF_TRAINING = ("grad_norm", "lr", "weight_decay", "batch_size", "seq_length", "microbatches")
_SAMPLED_RUNS = 5


def sweep_metrics(store: Store, sweep_id: int) -> list[str]:
    """The names of the metrics of a sweep, users' own last."""
    own = store.own_metrics(store.runs_with_points(sweep_id, _SAMPLED_RUNS))
    standard = [f"val_{name}" for name in _MEASURED] + ["val_bits_per_byte"]
    standard += [f"train_{name}" for name in (*_MEASURED, *_OF_TRAINING)]
    return [*standard, *(f"{split.value}_{name}" for name in own for split in (Split.VAL, Split.TRAIN))]


def read_metric(store: Store, sweep_id: int, name: str) -> Metric:
    """The metric of that name. Raises ExportError, naming the nearest, for an unknown one."""
    try:
        return parse_metric(name)  # most are standard ones, which need no reading
    except ExportError:
        return parse_metric(name, store.own_metrics(store.runs_with_points(sweep_id, _SAMPLED_RUNS)))


def read_axis(name: str) -> Axis:
    """The axis of that name. Raises UsageError for an unknown one."""
    if name not in list(Axis):
        raise UsageError(f"there is no axis '{name}'", f"There are {', '.join(Axis)}.")
    return Axis(name)
