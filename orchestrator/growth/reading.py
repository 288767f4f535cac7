"""What the store knows of a policy's arms, as its steps take it."""

from collections.abc import Iterator, Mapping, Sequence

from orchestrator.comparison.judging.policy import DecidePolicy
from orchestrator.comparison.measuring.measures import Measure, Measured, Standing, measure_run
from orchestrator.export.metric_names import find_metric
from orchestrator.growth.search import SearchPolicy
from orchestrator.growth.steps import Results, Stop
from orchestrator.queue.runs import RunFilter, RunRecord
from orchestrator.queue.states import Reason, State
from orchestrator.store import Store


def read_results(store: Store, policy: DecidePolicy, sweep_id: int, first_seed: int) -> Results:
    """What became of the seeds of the policy's arms. Runs that --skip_existing left out count too. A run that more than
    one code computed is no evidence, as in `compare`, and neither is one on other data than the first."""
    import numpy

    rows = {arm: row for row, arm in enumerate(policy.everyone)}
    shape = len(rows), policy.max_seeds
    values, ended, diverged = numpy.full(shape, numpy.nan), numpy.zeros(shape, bool), numpy.zeros(shape, bool)
    same = store.same_code()
    data: dict[str, str] = {}
    newest: dict[int, list[tuple[int, RunRecord]]] = {}
    useless: dict[int, Stop] = {}
    for run, measured in measured_runs(store, policy, sweep_id):
        place = run.seed - first_seed
        if run.arm_key not in rows or not 0 <= place < policy.max_seeds:
            continue
        row = rows[run.arm_key]
        ended[row, place] = measured.standing is not Standing.WAITING
        diverged[row, place] = measured.standing is Standing.DIVERGED
        is_on_other_data = differs_in_data(run, data)
        if measured.value is not None:
            if same.are_mixed(run.code):
                useless[run.id] = Stop.MIXED_CODE
            elif is_on_other_data:
                useless[run.id] = Stop.OTHER_DATA
            else:
                values[row, place] = measured.value
        newest.setdefault(row, []).append((place, run))
    stops = [what_stops(newest.get(row, []), useless) for row in rows.values()]
    for row, stop in enumerate(stops):
        if stop in useless.values() and ended[row].all():
            stops[row] = None  # it has all its seeds, and no person gets it more
    return Results(values=values, ended=ended, diverged=diverged, stops=stops)


def differs_in_data(run: RunRecord, data: dict[str, str]) -> bool:
    """Whether a run is on another version of the data than the first one that was known of its tokenizer, which `data`
    keeps (fingerprints by tokenizer)."""
    fingerprint = str(run.facts.get("data_fingerprint") or "")
    return bool(fingerprint) and data.setdefault(run.settings.get("tokenizer", ""), fingerprint) != fingerprint


def measured_runs(
    store: Store, policy: DecidePolicy | SearchPolicy, sweep_id: int
) -> Iterator[tuple[RunRecord, Measured]]:
    """The sweep's runs, its members among them, each with its number of the policy's metric or why it has none."""
    wanted = RunFilter(sweep_ids=(sweep_id,), with_members=True)
    metric = find_metric(store, wanted, policy.metric)
    measure = Measure(metric=metric, goal=policy.goal)
    for found in store.runs_with_curves(wanted, metric.split, ("step", metric.column), last=True):
        yield found.run, measure_run(found.run, found.curves.get(metric.split), measure)


def what_stops(runs: Sequence[tuple[int, RunRecord]], useless: Mapping[int, Stop]) -> Stop | None:
    """What an arm waits for a person for, if it does: a run is paused, the newest was cancelled, or the two newest
    failed or are `useless` (their numbers, and why): the next one would be too."""
    paused = [run for _, run in runs if run.paused and run.state is State.PENDING]
    if paused:
        return Stop.HELD if all(run.held for run in paused) else Stop.PAUSED
    newest = [run for _, run in sorted(runs, key=lambda pair: pair[0], reverse=True)][:2]
    if newest and was_cancelled(newest[0]):
        return Stop.CANCELLED
    lost = [useless.get(run.id, Stop.FAILED if _has_failed(run) else None) for run in newest]
    return lost[0] if len(lost) == 2 and all(lost) else None


def _has_failed(run: RunRecord) -> bool:
    return run.state is State.FAILED and run.reason is not Reason.DIVERGED


def was_cancelled(run: RunRecord) -> bool:
    """Whether somebody cancelled the run: one that a search stopped early is in the same state."""
    return run.state is State.CANCELLED and run.reason is not Reason.PRUNED
