"""One step of a search: what became of its arms, what the sampler proposes, and what of that exists already."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from importlib.util import find_spec
from statistics import fmean

from hlbgpt_core.points import Split
from orchestrator.comparison.measuring.measures import Measured, Standing
from orchestrator.export.metric_names import parse_metric
from orchestrator.growth.early_stopping import rungs_of, values_at
from orchestrator.growth.reading import differs_in_data, measured_runs, was_cancelled, what_stops
from orchestrator.growth.search import (
    DATA_CHANGED,
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
from orchestrator.sweep.existing_runs import Existing, cached_fingerprint, find_existing
from orchestrator.sweep.plan import Plan
from orchestrator.wording.numbers import counted

# Of fewer arms, the best 10 % are one.
FEWEST_FOR_IMPORTANCE = 20
_OUTCOMES = {
    Standing.WAITING: ArmOutcome.OPEN,
    Standing.MEASURED: ArmOutcome.MEASURED,
    Standing.DIVERGED: ArmOutcome.DIVERGED,
    Standing.MISSING: ArmOutcome.FAILED,
    Standing.ABSENT: ArmOutcome.FAILED,
}
# Of an arm's seeds the first of these is what is told of it.
_GRAVITY = (
    *(ArmOutcome.OPEN, ArmOutcome.OTHER_DATA, ArmOutcome.MIXED_CODE),
    *(ArmOutcome.DIVERGED, ArmOutcome.FAILED, ArmOutcome.MEASURED),
)


def search_step(store: Store, record: PolicyRecord, sweep: SweepRecord) -> PolicyStep:
    """What the next step of a search writes. An arm whose runs are all there with the same data and code costs none."""
    policy, space = SearchPolicy.of(record), Space.of(sweep.definition)
    before = begun(policy, space, SearchState.of(record))
    runs = read_search(store, policy, before, sweep)
    if policy.stops_early and not before.rungs:
        before = replace(before, rungs=_rungs(store, policy, runs))
    lost = _newest_on_other_data(runs)
    workers = 0 if what_stops(runs.placed, {}) or len(lost) > 1 else max(1, len(store.workers()))
    step = next_step(policy, space, runs.results, before, workers=workers)
    # Seeds that confirm would be on the other data too.
    waits = bool(lost) if step.ends and policy.confirm else len(lost) > 1 and not step.ends
    state = replace(step.state, data=runs.data, waits_for_data=waits)
    step = replace(step, state=state, ends="" if waits else step.ends)
    plan = Plan(arms=tuple(step.arms), first_seed=int(sweep.definition["seed"]), num_runs=policy.num_runs)
    existing = find_existing(plan, store) if step.arms else Existing()
    missing = plan.without(existing.runs)
    successor = _confirmation(store, policy, runs.results, step, sweep) if step.ends else None
    if step.ends and policy.confirm and successor is None:
        measured = "no arm but the baseline" if step.state.best else "no arm"
        step = replace(step, ends=f"{step.ends}; nothing to confirm: {measured} was measured")
    return PolicyStep(
        read=record,
        state=asdict(step.state),
        arms=missing.new_arms(),
        runs=[(arm.key, seed) for seed in plan.seeds for arm in plan.arms if (arm.key, seed) not in missing.skipped],
        members=sorted(existing.runs.values()),
        events=_sentences(store, policy, before, step, existing, sweep.id),
        ended_why=step.ends,
        successor=successor,
    )


@dataclass(frozen=True, kw_only=True)
class SearchRuns:
    """What became of a search's arms, and its runs, each with the place of its arm, in the order of the arms.

    The numbers of `useless` runs do not belong with the others. `data` are the fingerprints, by tokenizer, of the data
    that these others were trained on: those of the baseline.
    """

    results: Mapping[str, Result]
    placed: Sequence[tuple[int, RunRecord]]
    useless: Mapping[int, ArmOutcome]
    data: Mapping[str, str]


def read_search(store: Store, policy: SearchPolicy, state: SearchState, sweep: SweepRecord) -> SearchRuns:
    """What became of a search's arms. As in `decide`, a run that more than one code computed gives its arm no number,
    nor does one on other data than the baseline."""
    first_seed = int(sweep.definition["seed"])
    places = {arm: place for place, arm in enumerate(state.arms)}
    placed: list[tuple[int, RunRecord]] = []
    numbers: dict[int, Measured] = {}
    for run, measured in measured_runs(store, policy, sweep.id):
        if run.arm_key in places and first_seed <= run.seed < first_seed + policy.num_runs:
            placed.append((places[run.arm_key], run))
            numbers[run.id] = measured
    placed.sort(key=lambda pair: pair[0])
    useless, data = _useless(store, placed)
    found: dict[str, list[tuple[ArmOutcome, float | None]]] = {}
    for _, run in placed:
        outcome = _OUTCOMES[numbers[run.id].standing]
        outcome = outcome if outcome is ArmOutcome.OPEN else useless.get(run.id, outcome)
        found.setdefault(run.arm_key, []).append((outcome, numbers[run.id].value))
    results = {arm: _result(seeds, policy.num_runs) for arm, seeds in found.items()}
    results |= _pruned(store, policy, state, [run for _, run in placed if run.id not in useless])
    newest = [run for place, run in placed if place == len(places) - 1]
    if any(was_cancelled(run) for run in newest):
        results[newest[0].arm_key] = OPEN  # nothing follows behind the back of whoever cancelled it
    return SearchRuns(results=results, placed=placed, useless=useless, data=data)


def _useless(
    store: Store, placed: Sequence[tuple[int, RunRecord]]
) -> tuple[Mapping[int, ArmOutcome], Mapping[str, str]]:
    """The runs, by number, whose numbers do not belong with the baseline's, and the data of those that do."""
    same, data, found = store.same_code(), dict[str, str](), dict[int, ArmOutcome]()
    for _, run in placed:
        if differs_in_data(run, data):
            found[run.id] = ArmOutcome.OTHER_DATA
        elif same.are_mixed(run.code):
            found[run.id] = ArmOutcome.MIXED_CODE
    return found, data


def _newest_on_other_data(runs: SearchRuns) -> Sequence[RunRecord]:
    """The newest runs that have ended, as far back as all are on other data than the baseline: the next would be so
    too. None if the data on this host have changed since."""
    ended = [run for _, run in runs.placed if run.ended_at is not None]
    newest = sorted(ended, key=lambda run: run.id, reverse=True)  # not by their ends: a clock may be set back
    lost = list(itertools.takewhile(lambda run: runs.useless.get(run.id) is ArmOutcome.OTHER_DATA, newest))
    if not lost:
        return ()
    here = cached_fingerprint(lost[0].settings["dataset"], lost[0].settings["tokenizer"])
    return lost if here in (None, lost[0].facts["data_fingerprint"]) else ()


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
        runs = read_search(store, policy, state, sweep)
        return cls(policy=policy, state=state, space=Space.of(sweep.definition), results=runs.results)


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


def _pruned(store: Store, policy: SearchPolicy, state: SearchState, runs: Sequence[RunRecord]) -> Mapping[str, Result]:
    """The arms that were stopped early, with the value at the last rung that each has reached, where the sampler may
    see it."""
    pruned = {run.id: run.arm_key for run in runs if run.reason is Reason.PRUNED}
    results = dict.fromkeys(pruned.values(), Result(outcome=ArmOutcome.PRUNED))
    seen = list(pruned)[-MOST_SEEN:]
    for run_id, values in values_at(store, seen, parse_metric(policy.metric), state.rungs) if seen else ():
        rung = max(values)
        results[pruned[run_id]] = Result(outcome=ArmOutcome.PRUNED, value=values[rung], rung=rung)
    return results


def _rungs(store: Store, policy: SearchPolicy, runs: SearchRuns) -> Sequence[int]:
    """The rungs, by the tokens of the first arm that was measured; none before."""
    measured = [run.id for _, run in runs.placed if runs.results[run.arm_key].outcome is ArmOutcome.MEASURED]
    for curve in store.curves(measured[:1], Split.VAL, ("tokens_seen",)):
        return rungs_of(policy, int(curve["tokens_seen"][-1]))
    return ()


def _result(seeds: Sequence[tuple[ArmOutcome, float | None]], num_runs: int) -> Result:
    if len(seeds) < num_runs:
        return OPEN
    outcome = min((outcome for outcome, _ in seeds), key=_GRAVITY.index)
    if outcome is not ArmOutcome.MEASURED:
        return Result(outcome=outcome)
    return Result(outcome=outcome, value=fmean(value for _, value in seeds if value is not None))


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
        found.append(f"{counted(len(existing.runs), 'run')} completed before with the same data and code: used again")
    lost = [state.outcomes.get(ArmOutcome.OTHER_DATA, 0) for state in (before, step.state)]
    if lost[1] > lost[0]:
        found.append(f"{counted(lost[1] - lost[0], 'arm')} on other data than the baseline: not ranked")
    if step.state.waits_for_data and not before.waits_for_data:
        found.append(DATA_CHANGED.format(sweep=sweep_id))
    return found + ([step.ends] if step.ends else [])
