"""One step of a search: what became of its arms, what the sampler proposes, and what of that exists already."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from operator import itemgetter
from statistics import fmean

from hlbgpt_core.points import Split
from orchestrator.comparison.measuring.measures import Standing
from orchestrator.export.metric_names import parse_metric
from orchestrator.growth.early_stopping import rungs_of, values_at
from orchestrator.growth.reading import is_stopped, measured_runs, was_cancelled
from orchestrator.growth.search import (
    MOST_SEEN,
    OPEN,
    ArmOutcome,
    Result,
    SearchPolicy,
    SearchState,
    SearchStep,
    begun,
    confirmation_of,
    next_step,
    study_of,
)
from orchestrator.growth.search_space import Space
from orchestrator.growth.standing import arm_labels
from orchestrator.queue.runs import RunRecord
from orchestrator.queue.states import Reason
from orchestrator.queue.sweeps import DECIDE, NewPolicy, PolicyRecord, PolicyStep, SweepRecord
from orchestrator.store import Store
from orchestrator.sweep.existing_runs import Existing, find_existing
from orchestrator.sweep.plan import Plan
from orchestrator.wording.numbers import counted

# Of fewer arms, the best 10 % are one.
FEWEST_FOR_IMPORTANCE = 20
_OUTCOMES = {
    Standing.WAITING: ArmOutcome.OPEN,
    Standing.DIVERGED: ArmOutcome.DIVERGED,
    Standing.MISSING: ArmOutcome.FAILED,
    Standing.ABSENT: ArmOutcome.FAILED,
}


def search_step(store: Store, record: PolicyRecord, sweep: SweepRecord) -> PolicyStep:
    """What the next step of a search writes. An arm whose runs are all there with the same data and code costs none."""
    policy, space = SearchPolicy.of(record), Space.of(sweep.definition)
    before = begun(policy, space, SearchState.of(record))
    results, placed = read_search(store, policy, before, sweep)
    if policy.stops_early and not before.rungs:
        before = replace(before, rungs=_rungs(store, policy, results, placed))
    workers = 0 if is_stopped(placed) else max(1, len(store.workers()))
    step = next_step(policy, space, results, before, workers=workers)
    plan = Plan(arms=tuple(step.arms), first_seed=int(sweep.definition["seed"]), num_runs=policy.num_runs)
    existing = find_existing(plan, store) if step.arms else Existing()
    missing = plan.without(existing.runs)
    successor = _confirmation(store, policy, results, step, sweep) if step.ends else None
    if step.ends and policy.confirm and successor is None:
        measured = "no arm but the baseline" if step.state.best else "no arm"
        step = replace(step, ends=f"{step.ends}; nothing to confirm: {measured} was measured")
    return PolicyStep(
        policy_id=record.id,
        version=record.version,
        results=record.results,
        state=asdict(step.state),
        arms=missing.new_arms(),
        runs=[(arm.key, seed) for seed in plan.seeds for arm in plan.arms if (arm.key, seed) not in missing.skipped],
        members=sorted(existing.runs.values()),
        events=_sentences(store, policy, before, step, existing, sweep.id),
        ended_why=step.ends,
        successor=successor,
    )


def read_search(
    store: Store, policy: SearchPolicy, state: SearchState, sweep: SweepRecord
) -> tuple[Mapping[str, Result], Sequence[tuple[int, RunRecord]]]:
    """What became of a search's arms, and its runs with the place of their arm, in the order of the arms."""
    first_seed = int(sweep.definition["seed"])
    places = {arm: place for place, arm in enumerate(state.arms)}
    found: dict[str, list[tuple[Standing, float | None]]] = {}
    placed: list[tuple[int, RunRecord]] = []
    for run, measured in measured_runs(store, policy, sweep.id):
        if run.arm_key in places and first_seed <= run.seed < first_seed + policy.num_runs:
            placed.append((places[run.arm_key], run))
            found.setdefault(run.arm_key, []).append((measured.standing, measured.value))
    placed.sort(key=itemgetter(0))
    results = {arm: _result(seeds, policy.num_runs) for arm, seeds in found.items()}
    results |= _pruned(store, policy, state, placed)
    newest = [run for place, run in placed if place == len(places) - 1]
    if any(was_cancelled(run) for run in newest):
        results[newest[0].arm_key] = OPEN  # nothing follows behind the back of whoever cancelled it
    return results, placed


@dataclass(frozen=True, kw_only=True)
class SearchReading:
    """A stored search, and what became of its arms by now."""

    policy: SearchPolicy
    state: SearchState
    space: Space
    results: Mapping[str, Result]

    @classmethod
    def of(cls, store: Store, record: PolicyRecord, sweep: SweepRecord) -> "SearchReading":
        """Read it."""
        policy, state = SearchPolicy.of(record), SearchState.of(record)
        results, _ = read_search(store, policy, state, sweep)
        return cls(policy=policy, state=state, space=Space.of(sweep.definition), results=results)


def what_mattered(search: SearchReading) -> str:
    """How much each setting had to do with an arm being among the best, in a sentence; empty while too little is known,
    and where Optuna is missing."""
    state = search.state
    if state.outcomes.get(ArmOutcome.MEASURED, 0) < FEWEST_FOR_IMPORTANCE or find_spec("optuna") is None:
        return ""
    from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances

    study = study_of(search.policy, search.space, search.results, state.trials)
    shares = get_param_importances(study, evaluator=PedAnovaImportanceEvaluator())
    told = ", ".join(f"{name} {share:.2f}" for name, share in shares.items())
    return f"what mattered for being among the best 10 % of arms (PED-ANOVA): {told}"


def _pruned(
    store: Store, policy: SearchPolicy, state: SearchState, placed: Sequence[tuple[int, RunRecord]]
) -> Mapping[str, Result]:
    """The arms that were stopped early, with the value at the last rung that each has reached, where the sampler may
    see it."""
    pruned = {run.id: run.arm_key for _, run in placed if run.reason is Reason.PRUNED}
    results = dict.fromkeys(pruned.values(), Result(outcome=ArmOutcome.PRUNED))
    seen = list(pruned)[-MOST_SEEN:]
    for run_id, values in values_at(store, seen, parse_metric(policy.metric), state.rungs) if seen else ():
        rung = max(values)
        results[pruned[run_id]] = Result(outcome=ArmOutcome.PRUNED, value=values[rung], rung=rung)
    return results


def _rungs(
    store: Store, policy: SearchPolicy, results: Mapping[str, Result], placed: Sequence[tuple[int, RunRecord]]
) -> Sequence[int]:
    """The rungs, by the tokens of the first arm that was measured; none before."""
    measured = [run.id for _, run in placed if results[run.arm_key].outcome is ArmOutcome.MEASURED]
    for curve in store.curves(measured[:1], Split.VAL, ("tokens_seen",)):
        return rungs_of(policy, int(curve["tokens_seen"][-1]))
    return ()


def _result(seeds: Sequence[tuple[Standing, float | None]], num_runs: int) -> Result:
    standings = {standing for standing, _ in seeds}
    if len(seeds) < num_runs:
        return OPEN
    for standing, outcome in _OUTCOMES.items():
        if standing in standings:
            return Result(outcome=outcome)
    return Result(outcome=ArmOutcome.MEASURED, value=fmean(value for _, value in seeds if value is not None))


def _confirmation(
    store: Store, policy: SearchPolicy, results: Mapping[str, Result], step: SearchStep, sweep: SweepRecord
) -> NewPolicy | None:
    """The policy that follows the search: on seeds past all that the sweep has."""
    if not policy.confirm:
        return None
    last = max(seed for _, seed in store.runs_by_seed(sweep.id))
    following = confirmation_of(policy, results, step.state.arms, first_seed=last + 1)
    return None if following is None else NewPolicy(kind=DECIDE, definition=asdict(following))


def _sentences(
    store: Store, policy: SearchPolicy, before: SearchState, step: SearchStep, existing: Existing, sweep_id: int
) -> list[str]:
    found = []
    if step.state.best and step.state.best != before.best:
        label = arm_labels(store, sweep_id).get(step.state.best, step.state.best)
        found.append(f"the luckiest so far is {label or 'the baseline'}: {policy.metric} {step.state.best_value:.4g}")
    if existing.runs:
        found.append(f"{counted(len(existing.runs), 'run')} completed before with the same data and code: taken as is")
    return found + ([step.ends] if step.ends else [])
