"""What the store knows of a policy's arms, as its steps take it."""

from collections.abc import Iterator, Sequence

from orchestrator.comparison.measures import Goal, Measure, Measured, Standing, measure_run
from orchestrator.comparison.policy import DecidePolicy
from orchestrator.export.metric_names import Metric, find_metric
from orchestrator.growth.steps import Results
from orchestrator.queue.runs import RunFilter, RunRecord
from orchestrator.queue.states import Reason, State
from orchestrator.store import Store


def read_results(store: Store, policy: DecidePolicy, sweep_id: int, first_seed: int) -> Results:
    """What became of the seeds of the policy's arms. Runs that --skip_existing left out count too; a run that more than
    one code computed is no evidence, as in `compare`."""
    import numpy

    wanted = RunFilter(sweep_ids=(sweep_id,), with_members=True)
    metric = find_metric(store, wanted, policy.metric)
    rows = {arm: row for row, arm in enumerate(policy.everyone)}
    shape = len(rows), policy.max_seeds
    values, ended, diverged = numpy.full(shape, numpy.nan), numpy.zeros(shape, bool), numpy.zeros(shape, bool)
    same = store.same_code()
    stopped: dict[int, list[tuple[int, RunRecord]]] = {}
    for run, measured in measured_runs(store, wanted, metric, policy.goal):
        place = run.seed - first_seed
        if run.arm_key not in rows or not 0 <= place < policy.max_seeds:
            continue
        row = rows[run.arm_key]
        ended[row, place] = measured.standing is not Standing.WAITING
        diverged[row, place] = measured.standing is Standing.DIVERGED
        if measured.value is not None and not same.are_mixed(run.code):
            values[row, place] = measured.value
        stopped.setdefault(row, []).append((place, run))
    paused = numpy.array([is_stopped(stopped.get(row, [])) for row in rows.values()], bool)
    return Results(values=values, ended=ended, diverged=diverged, paused=paused)


def measured_runs(
    store: Store, wanted: RunFilter, metric: Metric, goal: Goal | None
) -> Iterator[tuple[RunRecord, Measured]]:
    """The runs that match, each with its number or why it has none."""
    measure = Measure(metric=metric, goal=goal)
    for found in store.runs_with_curves(wanted, metric.split, ("step", metric.column), last=True):
        yield found.run, measure_run(found.run, found.curves.get(metric.split), measure)


def is_stopped(runs: Sequence[tuple[int, RunRecord]]) -> bool:
    """Whether an arm waits for a person: a run is paused, the newest was cancelled, or the two newest failed."""
    if any(run.paused and run.state is State.PENDING for _, run in runs):
        return True
    newest = [run for _, run in sorted(runs, key=lambda pair: pair[0], reverse=True)][:2]
    if newest and was_cancelled(newest[0]):
        return True
    failed = [run.state is State.FAILED and run.reason is not Reason.DIVERGED for run in newest]
    return len(failed) == 2 and all(failed)


def was_cancelled(run: RunRecord) -> bool:
    """Whether somebody cancelled the run: one that a search stopped early is in the same state."""
    return run.state is State.CANCELLED and run.reason is not Reason.PRUNED
