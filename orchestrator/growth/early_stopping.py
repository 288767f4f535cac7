"""Early stopping of a search's arms: Optuna's successive halving over our points.

A rung is a number of tokens seen. Whoever trains a run that has reached one asks here whether it goes on: it does if it
is among the best 1 / reduction of the runs that have reached the rung by then. The rungs are shares of the tokens of
the first arm that ended, as a rule of the baseline; before that nothing is stopped. The baseline never is.
"""

import itertools
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec

from hlbgpt_core.points import Split
from orchestrator.comparison.measuring.measures import Goal, value_at
from orchestrator.export.metric_names import Metric, parse_metric
from orchestrator.growth.search import MOST_SEEN, SearchPolicy, SearchState, new_study
from orchestrator.queue.runs import RunRecord
from orchestrator.queue.states import Reason
from orchestrator.queue.sweeps import SEARCH, PolicyRecord
from orchestrator.store import Store
from orchestrator.store.reading.curves import Curve
from orchestrator.store.rows import read_code

# The action of the events that say how a run stood at a rung from which it goes on.
RUNG = "rung"
_RUNS_AT_A_TIME = 50


@dataclass(frozen=True, kw_only=True)
class Halving:
    """What one run is judged by: its search, and the rungs in tokens seen at which it was not judged yet.

    `data` are the fingerprints of the data of the runs that count; empty where they are not known.
    """

    policy: SearchPolicy
    seed: int
    rungs: Sequence[int]
    data: Collection[str] = ()


@dataclass(frozen=True, kw_only=True)
class RungVerdict:
    """Whether a run goes on from a rung, and why, in a sentence."""

    goes_on: bool
    text: str


def rungs_of(policy: SearchPolicy, length_tokens: int) -> Sequence[int]:
    """The rungs of runs of this length: the first one, then each `reduction` times as far."""
    places = (
        max(1, round(policy.first_rung * length_tokens)) * policy.reduction**number for number in itertools.count()
    )
    return tuple(itertools.takewhile(lambda place: place < length_tokens, places))


def goes_on(policy: SearchPolicy, rung: int, value: float, others: Sequence[float]) -> bool:
    """Optuna's word on a run with this value at a rung that others have reached with theirs."""
    import optuna
    from optuna.pruners import SuccessiveHalvingPruner

    study = new_study(policy)
    states = optuna.trial.TrialState
    for other in others:
        # What Optuna itself notes of a trial that has passed its first rung: here each rung is one of its own.
        study.add_trial(optuna.create_trial(state=states.RUNNING, system_attrs={"completed_rung_0": other}))
    study.add_trial(optuna.create_trial(state=states.RUNNING, intermediate_values={rung: value}))
    pruner = SuccessiveHalvingPruner(min_resource=rung, reduction_factor=policy.reduction)
    return not pruner.prune(study, study.get_trials(deepcopy=False)[-1])


def halving_of(store: Store, record: PolicyRecord, run: RunRecord) -> Halving | None:
    """What a claimed run of a search is judged by; None for one that is never stopped. Those are the baseline, seeds
    past the search's own, and a run that somebody has put back although it was stopped."""
    if record.ended_at is not None:
        return None
    policy, state = SearchPolicy.of(record), SearchState.of(record)
    sweep = store.sweep(run.sweep_id)
    if not policy.stops_early or not state.rungs or sweep is None or run.arm_key not in state.arms[1:]:
        return None
    seed = int(sweep.definition["seed"])
    was_stopped = any(attempt.reason is Reason.PRUNED for attempt in store.attempts(run.id))
    if run.seed != seed or was_stopped or find_spec("optuna") is None:
        return None
    # By what they say, not by their number: one whose answer was lost was written twice.
    told = [event.why for event in store.events(run_id=run.id, limit=1000) if event.action == RUNG]
    ahead = tuple(rung for rung in state.rungs if not any(_place(policy, rung) in why for why in told))
    known = run.settings.get("tokenizer", "") in state.data
    data = frozenset(state.data.values()) if known else frozenset[str]()
    return Halving(policy=policy, seed=seed, rungs=ahead, data=data)


def _place(policy: SearchPolicy, rung: int) -> str:
    return f"{policy.metric} after {rung:,} tokens"


def judge(store: Store, run: RunRecord, halving: Halving, rung: int) -> RungVerdict:
    """Whether a run whose points up to the rung are stored goes on, by what all runs had there that are stored now, on
    the same data and each by one code."""
    policy, metric = halving.policy, parse_metric(halving.policy.metric)
    record = store.policy(run.sweep_id)
    if record is None or record.kind != SEARCH:
        return RungVerdict(goes_on=True, text=f"no {_place(policy, rung)}: the search was replaced; goes on")
    alike = _alike(store, run, halving)
    place = _place(policy, rung)
    if run.id not in alike:
        return RungVerdict(goes_on=True, text=f"no {place} that compares with the others; goes on")
    at_rungs = values_at(store, alike, metric, [rung])
    at_rung = {run_id: found[rung] for run_id, found in at_rungs}
    value = at_rung.pop(run.id, None)
    if value is None:
        return RungVerdict(goes_on=True, text=f"no {place}: no evaluation came before; goes on")
    sign = 1 if policy.goal is Goal.LOWER else -1
    rank = 1 + sum(sign * other < sign * value for other in at_rung.values())
    promoted = goes_on(policy, rung, value, list(at_rung.values()))
    reached = 1 + len(at_rung)
    told = f"{place}: {value:.4g}, place {rank} of {reached}; the best {max(1, reached // policy.reduction)} go on"
    return RungVerdict(goes_on=promoted, text=told)


def _alike(store: Store, run: RunRecord, halving: Halving) -> Sequence[int]:
    """The runs of the search's own seed that began and whose numbers belong with each other; `run` last, if it does."""
    same = store.same_code()
    lines = [line for line in store.run_lines(run.sweep_id) if line.seed == halving.seed and line.fence]
    newest = [line for line in lines if line.id != run.id][-MOST_SEEN:]
    chosen = [*newest, *(line for line in lines if line.id == run.id)]
    data = store.data_of([line.id for line in chosen]) if halving.data else {}
    return [
        line.id
        for line in chosen
        if data.get(line.id, "") in ("", *halving.data) and not same.are_mixed(read_code(line.code))
    ]


def values_at(
    store: Store, run_ids: Sequence[int], metric: Metric, rungs: Sequence[int]
) -> Iterator[tuple[int, Mapping[int, float]]]:
    """Each run that has reached a rung, with the metric at each that it has reached."""
    for first in range(0, len(run_ids), _RUNS_AT_A_TIME):
        for curve in store.curves(run_ids[first : first + _RUNS_AT_A_TIME], Split.VAL, ("tokens_seen", metric.column)):
            if found := dict(_at_rungs(curve, metric.column, rungs)):
                yield curve.run_id, found


def _at_rungs(curve: Curve, column: str, rungs: Sequence[int]) -> Iterator[tuple[int, float]]:
    """The rungs that a curve has reached, with the metric on the line between the points around each."""
    pairs = [pair for pair in zip(curve["tokens_seen"], curve[column], strict=True) if None not in pair]
    xs, ys = [float(x) for x, _ in pairs], [float(y) for _, y in pairs]
    for rung in rungs:
        value = value_at(xs, ys, rung).value if xs and rung <= xs[-1] else None
        if value is not None:
            yield rung, value
