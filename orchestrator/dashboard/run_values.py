"""A metric's value by run, at the moment that a column of the table asks for."""

import itertools
import math
import operator
from collections.abc import Mapping, Sequence

from orchestrator.comparison.measures import Goal, goal_of, value_at
from orchestrator.errors import UsageError
from orchestrator.export.metric_names import Axis, Metric
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
    if moment == "last":
        last = (store.last_values(sweep_id, metric.split, metric.column) for sweep_id in sweep_ids)
        return {run: value for values in last for run, value in values.items()}
    started = [line.id for sweep_id in sweep_ids for line in store.run_lines(sweep_id) if line.fence]
    points = store.metric_points(sorted({*started}), metric.split, metric.column, Axis.STEPS.column)
    found: dict[int, float | None] = {}
    for run_id, own in itertools.groupby(points, key=operator.attrgetter("run_id")):
        pairs = [(float(point.step), point.y) for point in own if point.y is not None]
        if moment == "at":
            steps, values = [at for at, _ in pairs], [value for _, value in pairs]
            if steps and steps[0] <= step <= steps[-1]:
                found[run_id] = value_at(steps, values, step).value
            continue
        finite = [value for _, value in pairs if math.isfinite(value)]
        is_greatest = moment == "max" or (moment == "best" and goal is Goal.HIGHER)
        if finite:
            found[run_id] = max(finite) if is_greatest else min(finite)
    return found
