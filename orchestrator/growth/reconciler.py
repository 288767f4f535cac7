"""Takes the steps that are due: reads results, asks the pure step, and writes what it says in one transaction.

Reading and computing happen outside any transaction. If somebody else took the step meanwhile, the policy's version no
longer matches: nothing is written, and the results are read again. So each step is taken once, whoever dies.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

from hlbgpt_core.errors import HlbqError
from orchestrator.comparison.measures import Goal, Measure, Standing, measure_run
from orchestrator.comparison.policy import DecidePolicy, State, closure_text, policy_of
from orchestrator.export.metric_names import Metric, find_metric
from orchestrator.growth import decide, race
from orchestrator.growth.standing import arm_labels
from orchestrator.growth.steps import Results
from orchestrator.queue.records import NewArm, PolicyRecord, PolicyStep, RunFilter, RunRecord
from orchestrator.queue.states import Reason as EndReason
from orchestrator.queue.states import State as RunState
from orchestrator.store import Store


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepTaken:
    """What one step did, for people."""

    sweep_id: int
    added: int
    sentences: Sequence[str]
    ends: bool


def take_due_steps(store: Store, *, sweep_ids: Sequence[int] = (), actor: str) -> Iterator[StepTaken]:
    """Take every step that is due, of these sweeps or of all, until none is.

    A step that fails keeps no other sweep from growing: its error is raised at the end.
    """
    failed: dict[int, HlbqError] = {}
    while due := [record for record in store.due_policies(sweep_ids) if record.id not in failed]:
        for record in due:
            try:
                taken = _take_step(store, record, actor)
            except HlbqError as error:
                failed[record.id] = error
                continue
            if taken is not None:
                yield taken
    if failed:
        raise next(iter(failed.values()))


def _take_step(store: Store, record: PolicyRecord, actor: str) -> StepTaken | None:
    policy, state = policy_of(record), State.of(record)
    sweep = store.sweep(record.sweep_id)
    if sweep is None:
        return None
    first_seed = int(sweep.definition["seed"])
    results = read_results(store, policy, record.sweep_id, first_seed)
    next_step = race.next_step if policy.best_arm else decide.next_step
    step = next_step(policy, results, state, workers=len(store.workers()))
    new = step.state.closures[len(state.closures) :]
    labels = arm_labels(store, record.sweep_id) if new else {}
    sentences = [f"{labels.get(one.arm, one.arm)}: {closure_text(one, policy)}" for one in new]
    runs = [(arm, first_seed + place) for arm, seeds in step.seeds.items() for place in range(seeds)]
    added = store.take_step(
        PolicyStep(
            policy_id=record.id,
            version=record.version,
            results=record.results,
            state=dataclasses.asdict(step.state),
            arms=_lent_arms(store, record.sweep_id) if not policy.is_capped else (),
            runs=sorted(runs, key=lambda run: run[1]),  # every arm's next seed before any arm's second next
            events=sentences,
            ended_why="every arm is closed" if step.ends else "",
        ),
        actor,
    )
    if added is None:
        return None
    return StepTaken(sweep_id=record.sweep_id, added=added, sentences=sentences, ends=step.ends)


def read_results(store: Store, policy: DecidePolicy, sweep_id: int, first_seed: int) -> Results:
    """What became of the seeds of the policy's arms. Runs that --skip_existing left out count too."""
    import numpy

    wanted = RunFilter(sweep_ids=(sweep_id,), with_members=True)
    metric = find_metric(store, wanted, policy.metric)
    rows = {arm: row for row, arm in enumerate(policy.everyone)}
    shape = len(rows), policy.max_seeds
    values, ended, diverged = numpy.full(shape, numpy.nan), numpy.zeros(shape, bool), numpy.zeros(shape, bool)
    stopped: dict[int, list[tuple[int, RunRecord]]] = {}
    for run, measured in _measured(store, wanted, metric, policy.goal):
        place = run.seed - first_seed
        if run.arm_key not in rows or not 0 <= place < policy.max_seeds:
            continue
        row = rows[run.arm_key]
        ended[row, place] = measured.standing is not Standing.WAITING
        diverged[row, place] = measured.standing is Standing.DIVERGED
        if measured.value is not None:
            values[row, place] = measured.value
        stopped.setdefault(row, []).append((place, run))
    paused = numpy.array([_is_stopped(stopped.get(row, [])) for row in rows.values()], bool)
    return Results(values=values, ended=ended, diverged=diverged, paused=paused)


def _measured(store: Store, wanted: RunFilter, metric: Metric, goal: Goal | None) -> Iterator[tuple[RunRecord, Any]]:
    measure = Measure(metric=metric, goal=goal)
    for found in store.runs_with_curves(wanted, metric.split, ("step", metric.column), last=True):
        yield found.run, measure_run(found.run, found.curves.get(metric.split), measure)


def _is_stopped(runs: Sequence[tuple[int, RunRecord]]) -> bool:
    """Whether an arm waits for a person: a run is paused, the newest was cancelled, or the two newest failed."""
    if any(run.paused and run.state is RunState.PENDING for _, run in runs):
        return True
    newest = [run for _, run in sorted(runs, key=lambda pair: pair[0], reverse=True)][:2]
    if newest and newest[0].state is RunState.CANCELLED:
        return True
    failed = [run.state is RunState.FAILED and run.reason is not EndReason.DIVERGED for run in newest]
    return len(failed) == 2 and all(failed)


def _lent_arms(store: Store, sweep_id: int) -> list[NewArm]:
    """All arms: to grow, a sweep must have those for itself too of which it has only runs of other sweeps."""
    return [
        NewArm(
            key=arm.key,
            settings=arm.settings,
            num_params=arm.num_params,
            num_non_embedding_params=arm.num_non_embedding_params,
        )
        for arm in store.arms(sweep_id)
    ]
