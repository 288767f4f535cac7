"""How a policy stands, for people: arms open and closed and why, runs spent of at most so many. Loads nothing heavy."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from orchestrator.comparison.judging.policy import ClosureReason, DecidePolicy, PolicyState, closure_text, policy_of
from orchestrator.comparison.statistics import paired_difference
from orchestrator.growth.policy_runs import codes_caution, waiting_texts
from orchestrator.growth.reading import differs_in_data, measured_runs
from orchestrator.growth.search import DATA_CHANGED, WITHOUT_A_NUMBER, ArmOutcome, SearchPolicy, SearchState
from orchestrator.queue import states
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.sweeps import SEARCH, PolicyRecord
from orchestrator.store import Store
from orchestrator.sweep.arm_labels import arm_label, differing_settings
from orchestrator.wording.commands import naming_database
from orchestrator.wording.numbers import counted, duration

_RUNS_FOR_SPEED = 200
# In the line of what was best so far, the newest.
_IMPROVEMENTS = 6
_WAITS = "the missing runs are paused, cancelled or failed: hlbq unpause or hlbq retry lets them go on"


@dataclass(frozen=True, kw_only=True)
class ArmStanding:
    """One arm: open (`reason` is None), or closed and why, in a sentence."""

    label: str
    reason: ClosureReason | None
    text: str


@dataclass(frozen=True, kw_only=True)
class PolicyStanding:
    """A policy as of its last step. `runs` exist now and count; `most_runs` are those of all arms at the cap.

    `waits` says that open arms wait for a person, and `waits_for` for what, each with the way on.
    `seconds_left` is the most that it may still take; None where that is not known. `codes` is a caution where runs of
    different codes count.
    """

    sweep: int
    metric: str
    rule: str
    round: int
    arms: Sequence[ArmStanding]
    runs: int
    most_runs: int
    is_open: bool
    waits: bool
    waits_for: Sequence[str]
    seconds_left: float | None
    codes: str


@dataclass(frozen=True, kw_only=True)
class SearchStanding:
    """A search as of its last step: how many of its `most_arms` had which outcome, and which arm has the best number.

    `best_value` was chosen for being the best: it is too good on average, by luck. `baseline_value` is set for another
    best than the baseline. `left_out` counts combinations that can't be trained, by reason. Since a search ended,
    `gone_on` of the arms that it had stopped early were sent on by somebody. `waits_for_data` says that it waits since
    its newest arms are on other data than the baseline. `codes` is a caution where runs of different codes are ranked.
    """

    sweep: int
    metric: str
    sampler: str
    outcomes: Mapping[str, int]
    most_arms: int
    left_out: Mapping[str, int]
    best: str
    best_value: float | None
    baseline_value: float | None
    improvements: Sequence[tuple[int, float]]
    is_open: bool
    ended_why: str
    waits: bool
    waits_for_data: bool
    gone_on: int
    codes: str


def standing_of(store: Store, record: PolicyRecord) -> PolicyStanding | SearchStanding:
    """How the policy stands."""
    if record.kind == SEARCH:
        return _search_standing(store, record)
    policy, state = policy_of(record), PolicyState.of(record)
    labels = arm_labels(store, record.sweep_id)
    closed = {closure.arm: closure for closure in state.closures}
    told = {arm: closure_text(closure, policy) for arm, closure in closed.items()}
    beside = {} if policy.first_seed is None else _confirmed_texts(store, record.sweep_id, policy)
    runs = [seed for key, seed in store.runs_by_seed(record.sweep_id) if key in policy.everyone]
    seeds, waits = _own_seeds(store, record.sweep_id, policy), _waits(store, record)
    return PolicyStanding(
        sweep=record.sweep_id,
        metric=policy.metric,
        rule=policy.rule,
        round=state.round,
        arms=[
            ArmStanding(
                label=labels.get(arm, arm),
                reason=closed[arm].reason if arm in closed else None,
                text="; ".join(filter(None, (beside.get(arm), told.get(arm, "open")))),
            )
            for arm in policy.arms
        ],
        runs=sum(seed in seeds for seed in runs),
        most_runs=len(policy.everyone) * policy.max_seeds,
        is_open=record.ended_at is None,
        waits=waits,
        waits_for=waiting_texts(store, policy, state, record.sweep_id, seeds.start) if waits else (),
        seconds_left=_seconds_left(store, record, policy, state),
        codes=codes_caution(store, record.sweep_id, policy.everyone, seeds),
    )


def _own_seeds(store: Store, sweep_id: int, policy: DecidePolicy) -> range:
    """The seeds that may count for the policy."""
    sweep = store.sweep(sweep_id)
    first = policy.begins_at(0 if sweep is None else int(sweep.definition.get("seed", 0)))
    return range(first, first + policy.max_seeds)


def _confirmed_texts(store: Store, sweep_id: int, policy: DecidePolicy) -> Mapping[str, str]:
    """`searched 2.412, confirmed 2.437 +- 0.006 (6 seeds)` of each arm of the policy with such numbers, by its key:
    what a search believed, and what seeds say that had no part in its choice, with their always-valid interval. Both
    are of runs that count: on one version of the data, and each by one code."""
    values: dict[tuple[str, range], list[float]] = {}
    first = policy.first_seed or 0
    # Between these two are seeds that somebody added meanwhile: the search saw none of them.
    own, later = _seeds_of_search(store, sweep_id), range(first, first + policy.max_seeds)
    same, data = store.same_code(), {own: dict[str, str](), later: dict[str, str]()}
    for run, measured in measured_runs(store, policy, sweep_id):
        for part in (own, later):
            if run.arm_key not in policy.everyone or run.seed not in part or differs_in_data(run, data[part]):
                continue
            if measured.value is not None and not same.are_mixed(run.code):
                values.setdefault((run.arm_key, part), []).append(measured.value)
    found = {}
    for arm in policy.arms:
        seen, fresh = values.get((arm, own), []), values.get((arm, later), [])
        if seen and fresh:
            evidence = policy.evidence_of_interval(len(fresh))
            interval = paired_difference(fresh, evidence=evidence).always_valid_interval
            around = "" if interval is None else f" +- {(interval.high - interval.low) / 2:.2g}"
            seeds = counted(len(fresh), "seed")
            found[arm] = f"searched {fmean(seen):.4g}, confirmed {fmean(fresh):.4g}{around} ({seeds})"
    return found


def _seeds_of_search(store: Store, sweep_id: int) -> range:
    """The seeds by which a sweep's search chose; none where it had no search."""
    sweep = store.sweep(sweep_id)
    searches = [SearchPolicy.of(record) for record in store.policies((sweep_id,)) if record.kind == SEARCH]
    first = int(sweep.definition["seed"]) if sweep is not None and searches else 0
    return range(first, first + (searches[-1].num_runs if searches else 0))


def _seconds_left(store: Store, record: PolicyRecord, policy: DecidePolicy, state: PolicyState) -> float | None:
    """The most that an open policy may still take: all seeds up to the cap, each as long as runs of this sweep took so
    far, shared by the live workers. None where nothing of that is known."""
    workers = 0 if record.ended_at is not None else len(store.workers())
    if not workers:
        return None
    ended = store.samples([record.sweep_id], states.State.COMPLETED, _RUNS_FOR_SPEED).get(record.sweep_id, ())
    if not ended:
        return None
    still_open = len(policy.everyone) - len(state.closures)
    seconds = sum(sample.worked_seconds for sample in ended) / sum(sample.runs for sample in ended)
    return seconds * still_open * (policy.max_seeds - state.round) / workers


def _latest_end(seconds_left: float | None) -> str:
    return "" if seconds_left is None else f", ends in {duration(seconds_left)} at the latest"


def summary_lines(store: Store, sweep_ids: Sequence[int], latest: int | None) -> list[str]:
    """A line for each policy that may still add runs to these sweeps (none: to any), and for that of the latest one."""
    records = {record.sweep_id: record for record in store.policies(sweep_ids, only_open=True)}
    newest = None if latest is None or latest in records else store.policy(latest)
    return [_summary(store, record) for record in [*records.values(), *([newest] if newest else [])]]


def _summary(store: Store, record: PolicyRecord) -> str:
    """`sweep 1 decides by val_loss: 2 of 3 arms open after 4 seeds (1 worse); at most 40 runs`."""
    if record.kind == SEARCH:
        return "; ".join(_search_sentences(_search_standing(store, record)))
    policy, state = policy_of(record), PolicyState.of(record)
    counts = Counter(closure.reason.value for closure in state.closures)
    closed = ", ".join(f"{number} {reason}" for reason, number in counts.items())
    open_arms = len(policy.arms) - len(state.closures)
    after = f"after {counted(state.round, 'seed')}" + (f" ({closed})" if closed else "")
    seeds = _own_seeds(store, record.sweep_id, policy)
    codes = codes_caution(store, record.sweep_id, policy.everyone, seeds)
    beside = f"; {codes}" if codes else ""
    if record.ended_at is not None:
        return f"sweep {record.sweep_id} is done {after}: hlbq compare --sweep {record.sweep_id}{beside}"
    if _waits(store, record):
        told = f"; {'; '.join(waiting_texts(store, policy, state, record.sweep_id, seeds.start))}"
    else:
        told = _latest_end(_seconds_left(store, record, policy, state))
    arms = f"{open_arms} of {counted(len(policy.arms), 'arm')} open {after}"
    most = f"at most {len(policy.everyone) * policy.max_seeds:,} runs{told}{beside}"
    return f"sweep {record.sweep_id} decides by {policy.metric}: {arms}; {most}"


def _waits(store: Store, record: PolicyRecord) -> bool:
    return record.ended_at is None and not store.may_grow([record.sweep_id])


def standing_lines(
    standing: PolicyStanding | SearchStanding,
    *,
    with_arms: bool = True,
    with_codes: bool = True,
    database_option: str = "",
) -> list[str]:
    """The standing in sentences, an arm a line. `compare` says by itself which codes stand beside each other. Commands
    in them name the database by `database_option`."""
    if isinstance(standing, SearchStanding):
        lines = _lines_of_search(standing)
    else:
        lines = _lines_of_policy(standing, with_arms=with_arms, with_codes=with_codes)
    return [naming_database(line, database_option) for line in lines]


def _lines_of_search(standing: SearchStanding) -> list[str]:
    first, *others = _search_sentences(standing)
    if len(standing.improvements) > 1:
        newest = [f"{value:.4g} (arm {number})" for number, value in standing.improvements[-_IMPROVEMENTS:]]
        others.append(f"best so far, arm by arm: {', '.join(newest)}")
    reasons = [f"left out: {why} ({counted(number, 'combination')})" for why, number in standing.left_out.items()]
    return [first, *(f"  {line}" for line in (*others, *reasons))]


def _lines_of_policy(standing: PolicyStanding, *, with_arms: bool, with_codes: bool) -> list[str]:
    closed = [arm for arm in standing.arms if arm.reason is not None]
    open_arms = len(standing.arms) - len(closed)
    state = f"{counted(open_arms, 'arm')} open after {counted(standing.round, 'seed')}" if standing.is_open else "done"
    lines = [
        f"sweep {standing.sweep}: {standing.metric} decides, verdicts and intervals by {standing.rule}; {state}, "
        f"{counted(standing.runs, 'run')} of at most {standing.most_runs:,}"
        + _latest_end(None if standing.waits else standing.seconds_left),
        *(f"  {arm.label}: {arm.text}" for arm in standing.arms if with_arms),
    ]
    best = [arm.label for arm in standing.arms if arm.reason is ClosureReason.BEST]
    if best:
        others = [arm.label for arm in standing.arms if arm.reason is ClosureReason.CAP]
        lines.append(f"best: {best[0]}" + (f"; not surely worse: {', '.join(others)}" if others else ""))
    if standing.codes and with_codes:
        lines.append(f"  {standing.codes}")
    lines += [f"  {text}" for text in standing.waits_for]
    return lines


def _search_standing(store: Store, record: PolicyRecord) -> SearchStanding:
    policy, state = SearchPolicy.of(record), SearchState.of(record)
    label = arm_labels(store, record.sweep_id).get(state.best, "")
    is_baseline, waits = state.best in state.arms[:1], _waits(store, record)
    if is_baseline:
        label = f"the baseline{f' ({label})' if label else ''}"
    return SearchStanding(
        sweep=record.sweep_id,
        metric=policy.metric,
        sampler=policy.sampler,
        outcomes=state.outcomes,
        most_arms=policy.trials,
        left_out=state.left_out,
        best=label,
        best_value=state.best_value,
        baseline_value=None if is_baseline else state.baseline_value,
        improvements=state.improvements,
        is_open=record.ended_at is None,
        ended_why=record.ended_why,
        waits=waits,
        waits_for_data=state.waits_for_data and waits,
        gone_on=0 if record.ended_at is None else _gone_on(store, record.sweep_id, state),
        codes=codes_caution(store, record.sweep_id, state.arms, _seeds_of_search(store, record.sweep_id)),
    )


def _gone_on(store: Store, sweep_id: int, state: SearchState) -> int:
    stopped = state.outcomes.get(ArmOutcome.PRUNED, 0)
    still = RunFilter(sweep_ids=(sweep_id,), reasons=(states.Reason.PRUNED,))
    return stopped and max(0, stopped - store.matching(still))


def _search_sentences(standing: SearchStanding) -> list[str]:
    """`sweep 1 searches by val_loss (tpe): 12 of 60 arms ended, 1 diverged`, and what it found."""
    outcomes = dict(standing.outcomes)
    ended = sum(outcomes.values()) - outcomes.get(ArmOutcome.OPEN, 0)
    lost = [f"{outcomes[one]} {words}" for one, words in WITHOUT_A_NUMBER.items() if outcomes.get(one)]
    left_out = sum(standing.left_out.values())
    lost += [f"{counted(left_out, 'combination')} left out"] if left_out else []
    told = ", ".join([f"{ended} of {counted(standing.most_arms, 'arm')} ended", *lost])
    verb = "searches" if standing.is_open else "has searched"
    lines = [f"sweep {standing.sweep} {verb} by {standing.metric} ({standing.sampler}): {told}"]
    if standing.best_value is not None:
        beside = "" if standing.baseline_value is None else f" (the baseline: {standing.baseline_value:.4g})"
        lines.append(f"the luckiest so far: {standing.best}: {standing.metric} {standing.best_value:.4g}{beside}")
    if not standing.is_open:
        lines.append(standing.ended_why)
    if standing.gone_on:
        arms = f"{counted(standing.gone_on, 'arm')} that it had stopped early"
        lines.append(f"since its end {arms} went on, and {'is' if standing.gone_on == 1 else 'are'} no part of this")
    if outcomes.get(ArmOutcome.OTHER_DATA):
        lines.append("arms on other data than the baseline are not ranked")
    if standing.codes:
        lines.append(standing.codes)
    if standing.waits_for_data:
        lines.append(DATA_CHANGED.format(sweep=standing.sweep))
    return [*lines, _WAITS] if standing.waits and not standing.waits_for_data else lines


def arm_labels(store: Store, sweep_id: int) -> Mapping[str, str]:
    """The arms of a sweep, by key, as what sets them apart."""
    arms = store.arms(sweep_id)
    names = differing_settings(arm.settings for arm in arms)
    return {arm.key: arm_label(arm.settings, names) for arm in arms}
