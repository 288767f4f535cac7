"""A metric's value by run, at the moment that a column of the table asks for."""

import math
from collections.abc import Mapping, Sequence

from orchestrator.comparison.measuring.measures import Goal, goal_of, value_at
from orchestrator.errors import UsageError
from orchestrator.export.metric_names import Metric
from orchestrator.store import Store

MOMENTS = ("last", "best", "min", "max", "at")


def run_values(
    store: Store, sweep_ids: Sequence[int], metric: Metric, moment: str, step: int
) -> Mapping[int, float | None]:
    """The value of the runs of sweeps that have one: the newest, the best, the least, the greatest finite one, or the
    one at `step`, as `hlbq compare` takes it.

    Raises UsageError for another moment, and for the best of a metric of which nobody said which way is better.
    """
    if moment not in MOMENTS:
        raise UsageError(f"there is no moment '{moment}'", f"There are {', '.join(MOMENTS)}.")
    goal = goal_of(metric)
    if moment == "best" and goal is None:
        raise UsageError(f"is higher or lower better for '{metric.name}'?", "Choose max or min.")
    started = sorted({line.id for sweep_id in sweep_ids for line in store.run_lines(sweep_id) if line.fence})
    curves = store.curves(started, metric.split, (metric.column,), last=moment == "last")
    if moment == "last":
        return {curve.run_id: curve[metric.column][-1] for curve in curves}
    found: dict[int, float | None] = {}
    for curve in curves:
        if metric.column not in curve:
            continue
        points = zip(curve["step"], curve[metric.column], strict=True)
        pairs = [(float(at), value) for at, value in points if value is not None]
        if moment == "at":
            steps, values = [at for at, _ in pairs], [value for _, value in pairs]
            if steps and steps[0] <= step <= steps[-1]:
                found[curve.run_id] = value_at(steps, values, step).value
            continue
        finite = [value for _, value in pairs if math.isfinite(value)]
        is_greatest = moment == "max" or (moment == "best" and goal is Goal.HIGHER)
        if finite:
            found[curve.run_id] = max(finite) if is_greatest else min(finite)
    return found
