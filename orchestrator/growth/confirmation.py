"""What a search believed of its best arms, beside what seeds say that had no part in the choice."""

from collections.abc import Mapping
from statistics import fmean
from typing import TYPE_CHECKING

from orchestrator.comparison.policy import DecidePolicy
from orchestrator.comparison.statistics import paired_difference
from orchestrator.export.metric_names import find_metric
from orchestrator.growth.reading import measured_runs
from orchestrator.queue.records import RunFilter
from orchestrator.wording.numbers import counted

if TYPE_CHECKING:
    from orchestrator.store import Store


def confirmed_texts(store: "Store", sweep_id: int, policy: DecidePolicy) -> Mapping[str, str]:
    """`searched 2.412, confirmed 2.437 +- 0.006 (6 seeds)` of each arm of the policy with such numbers, by its key.

    The interval is always valid, as those of the verdicts are.
    """
    wanted = RunFilter(sweep_ids=(sweep_id,), with_members=True)
    metric = find_metric(store, wanted, policy.metric)
    values: dict[tuple[str, bool], list[float]] = {}
    for run, measured in measured_runs(store, wanted, metric, policy.goal):
        if measured.value is not None and run.arm_key in policy.arms:
            values.setdefault((run.arm_key, run.seed >= (policy.first_seed or 0)), []).append(measured.value)
    found = {}
    for arm in policy.arms:
        seen, fresh = values.get((arm, False), []), values.get((arm, True), [])
        if seen and fresh:
            interval = paired_difference(fresh, evidence=policy.bound.evidence(1)).always_valid_interval
            around = "" if interval is None else f" +- {(interval.high - interval.low) / 2:.2g}"
            seeds = counted(len(fresh), "seed")
            found[arm] = f"searched {fmean(seen):.4g}, confirmed {fmean(fresh):.4g}{around} ({seeds})"
    return found
