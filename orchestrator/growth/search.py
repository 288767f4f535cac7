"""`search`: arms that a sampler proposes from the results so far. One step, a pure function of results.

The sampler is Optuna's. Its study is rebuilt in memory for every proposal, from the trials in the order in which they
were proposed, and its seed is made of the search's own and the number of arms proposed so far. So a proposal depends on
nothing but the declaration, the trials before it and what is known of them.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from orchestrator.comparison.judging.policy import DecidePolicy
from orchestrator.comparison.measuring.measures import Goal
from orchestrator.errors import UsageError
from orchestrator.growth.search_space import Choices, Space
from orchestrator.queue.sweeps import PolicyRecord
from orchestrator.sweep.plan import PlannedArm
from orchestrator.wording.numbers import counted

if TYPE_CHECKING:
    from optuna.samplers import BaseSampler
    from optuna.study import Study

SAMPLERS = ("tpe", "random")
NEVER = "off"
STOPPERS = ("asha", NEVER)
# The sampler sees the newest trials: its time grows with them.
MOST_SEEN = 1_000
# Proposals that are invalid or there already, before the rest of the space is gone through.
TRIES = 200
MOST_LISTED = 100_000


class ArmOutcome(StrEnum):
    """What is known of an arm's runs."""

    OPEN = "open"
    MEASURED = "measured"
    PRUNED = "pruned"
    DIVERGED = "diverged"
    FAILED = "failed"
    OTHER_DATA = "other data"
    MIXED_CODE = "mixed code"


# What became of arms that ended without a number that counts, in words.
WITHOUT_A_NUMBER: Mapping[ArmOutcome, str] = {
    ArmOutcome.PRUNED: "stopped early",
    ArmOutcome.DIVERGED: "diverged",
    ArmOutcome.FAILED: "failed",
    ArmOutcome.OTHER_DATA: "on other data",
    ArmOutcome.MIXED_CODE: "of mixed code",
}
# Why a search waits for a person, and the way on.
DATA_CHANGED = "it waits because its data changed: restore the first data, then hlbq decide {sweep}; or search again"
# Of these the sampler learns nothing.
_SAYS_NOTHING = frozenset({ArmOutcome.FAILED, ArmOutcome.OTHER_DATA, ArmOutcome.MIXED_CODE})


@dataclass(frozen=True, kw_only=True)
class Result:
    """What became of an arm; `value` is the mean of its seeds where it was measured. Of one that was stopped early it
    is the value at the `rung`, in tokens seen, at which it was."""

    outcome: ArmOutcome
    value: float | None = None
    rung: int | None = None

    @property
    def final(self) -> float | None:
        """The value of an arm that was measured to its end."""
        return self.value if self.outcome is ArmOutcome.MEASURED else None


OPEN = Result(outcome=ArmOutcome.OPEN)
# By arm key; an arm that is not there is open.
SearchResults = Mapping[str, Result]


@dataclass(frozen=True, kw_only=True)
class SearchPolicy:
    """A declaration: how many arms are tried, by what, from where on (`first`), and how the best are confirmed.
    `confirmation` are fields of a DecidePolicy; `confirm` is how many arms it is declared for, 0 for none."""

    metric: str
    goal: Goal
    trials: int
    sampler: str
    seed: int
    num_runs: int
    first: Choices
    confirm: int = 0
    confirmation: Mapping[str, Any] = field(default_factory=dict)
    stop_early: str = NEVER
    reduction: int = 3
    first_rung: float = 0.5

    @classmethod
    def of(cls, record: PolicyRecord) -> "SearchPolicy":
        """The declaration of a stored policy."""
        return cls(**{**record.definition, "goal": Goal(record.definition["goal"])})

    @property
    def stops_early(self) -> bool:
        """Whether arms are stopped at rungs."""
        return self.stop_early != NEVER

    def is_better(self, value: float, other: float) -> bool:
        """Whether `value` is the better one."""
        return value < other if self.goal is Goal.LOWER else value > other


@dataclass(frozen=True, kw_only=True)
class Trial:
    """A proposal; `arm` is its key, empty for a combination that can't be trained."""

    arm: str
    choices: Choices


@dataclass(frozen=True, kw_only=True)
class SearchState:
    """What earlier steps wrote: the trials in their order, why some were left out, and how the others stood.

    `rungs` are in tokens seen; there are none before an arm has ended. `improvements` are the arms, by number from 1,
    that are better than all before them, with their values. `data` are the fingerprints, by tokenizer, of what the
    numbers that count were measured on; `waits_for_data` says that the newest runs are on other data.
    """

    trials: Sequence[Trial] = ()
    left_out: Mapping[str, int] = field(default_factory=dict)
    outcomes: Mapping[str, int] = field(default_factory=dict)
    best: str = ""
    best_value: float | None = None
    baseline_value: float | None = None
    is_used_up: bool = False
    rungs: Sequence[int] = ()
    improvements: Sequence[tuple[int, float]] = ()
    data: Mapping[str, str] = field(default_factory=dict)
    waits_for_data: bool = False

    @classmethod
    def of(cls, record: PolicyRecord) -> "SearchState":
        """What the steps of a stored policy wrote."""
        trials = tuple(Trial(**trial) for trial in record.state.get("trials", ()))
        return cls(**{**record.state, "trials": trials})

    @property
    def arms(self) -> Sequence[str]:
        """The keys of the arms proposed so far, the baseline first."""
        return [trial.arm for trial in self.trials if trial.arm]


@dataclass(frozen=True, kw_only=True)
class SearchStep:
    """What is to be written: the state after it, and the arms that the sweep should get. `ends` says why it is over."""

    state: SearchState
    arms: Sequence[PlannedArm] = ()
    ends: str = ""


def begun(policy: SearchPolicy, space: Space, state: SearchState) -> SearchState:
    """The state with the baseline, which submit checked, as the first trial: its run is there before any step."""
    arm = space.arm(policy.first)
    if state.trials or isinstance(arm, str):
        return state
    return replace(state, trials=(Trial(arm=arm.key, choices=policy.first),))


def next_step(
    policy: SearchPolicy, space: Space, results: SearchResults, state: SearchState, *, workers: int = 1
) -> SearchStep:
    """Propose as many arms as `workers` (none: somebody stopped the search) need, and end where nothing can follow."""
    trials = [*begun(policy, space, state).trials]
    left_out = Counter(state.left_out)
    new: list[PlannedArm] = []
    is_used_up = state.is_used_up
    arms = [trial.arm for trial in trials if trial.arm]
    open_arms = sum(results.get(arm, OPEN).outcome is ArmOutcome.OPEN for arm in arms)
    wanted = -(-workers // policy.num_runs)
    while open_arms < wanted and len(arms) < policy.trials and not is_used_up:
        found, invalid = _propose(policy, space, results, trials)
        trials += [trial for trial, _ in invalid]
        left_out.update(why for _, why in invalid)
        is_used_up = found is None
        if found is not None:
            trials.append(found[0])
            new.append(found[1])
            arms.append(found[0].arm)
            open_arms += 1
    after = replace(
        _tallied(policy, results, arms),
        trials=tuple(trials),
        left_out=dict(left_out),
        is_used_up=is_used_up,
        rungs=state.rungs,
    )
    tried = f"{counted(len(arms), 'arm')} were tried"
    why = ""
    if not open_arms and len(arms) >= policy.trials:
        why = f"all {tried}"
    elif not open_arms and is_used_up:
        why = f"no further arm can be trained: {tried}"
    return SearchStep(state=after, arms=new, ends=why)


def best_arms(policy: SearchPolicy, results: SearchResults, arms: Sequence[str]) -> list[str]:
    """Those of the arms that were measured, the best first; of equals the earlier one."""
    sign = 1 if policy.goal is Goal.LOWER else -1
    measured = [arm for arm in arms if results.get(arm, OPEN).outcome is ArmOutcome.MEASURED]
    return sorted(measured, key=lambda arm: sign * (results[arm].value or 0.0))


def confirmation_of(
    policy: SearchPolicy, results: SearchResults, arms: Sequence[str], *, first_seed: int
) -> DecidePolicy | None:
    """What decides the best arms against the baseline, on seeds from `first_seed` on, which the search must not have
    seen. None where nothing is to be confirmed."""
    baseline, *others = arms
    best = best_arms(policy, results, others)[: policy.confirm]
    against = {"arms": best, "baselines": [baseline] * len(best), **policy.confirmation}
    return DecidePolicy(metric=policy.metric, goal=policy.goal, first_seed=first_seed, **against) if best else None


def study_of(policy: SearchPolicy, space: Space, results: SearchResults, trials: Sequence[Trial]) -> "Study":
    """Optuna's study of these trials, with the sampler for the next one. An arm that diverged is infinitely bad; a
    combination that can't be trained counts as pruned, without a value. A run that failed says nothing of its arm, nor
    does one whose number does not belong with the others. Raises UsageError where Optuna is missing."""
    check_optuna()
    import optuna

    study = new_study(policy, sampler_of(policy, sum(bool(trial.arm) for trial in trials)))
    distributions = space.distributions()
    states = optuna.trial.TrialState
    worst = float("inf") if policy.goal is Goal.LOWER else float("-inf")
    for trial in trials[-MOST_SEEN:]:
        result = results.get(trial.arm, OPEN)
        if result.outcome in _SAYS_NOTHING:
            continue
        is_pruned = not trial.arm or result.outcome is ArmOutcome.PRUNED
        is_over = not is_pruned and result.outcome is not ArmOutcome.OPEN
        at_rung = {} if result.rung is None or result.value is None else {result.rung: result.value}
        study.add_trial(
            optuna.create_trial(
                state=states.PRUNED if is_pruned else states.COMPLETE if is_over else states.RUNNING,
                value=(worst if result.outcome is ArmOutcome.DIVERGED else result.value) if is_over else None,
                params=dict(trial.choices),
                distributions=distributions,
                intermediate_values=at_rung,
            )
        )
    return study


def check_optuna() -> None:
    """Raise UsageError where Optuna is missing."""
    if find_spec("optuna") is None:
        raise UsageError("a search needs optuna, which is not installed", "pip install 'hlbq[search]'")


def new_study(policy: SearchPolicy, sampler: "BaseSampler | None" = None) -> "Study":
    """An empty study in the policy's direction; None stands for Optuna's own sampler."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    direction = "minimize" if policy.goal is Goal.LOWER else "maximize"
    return optuna.create_study(direction=direction, sampler=sampler)


def sampler_of(policy: SearchPolicy, number: int) -> "BaseSampler":
    """The sampler for the next arm after `number` of them: a seed that was used before would repeat its point."""
    from optuna.samplers import RandomSampler, TPESampler

    digest = hashlib.sha256(f"{policy.seed} {number}".encode()).digest()
    seed = int.from_bytes(digest[:4], "big")
    return TPESampler(seed=seed) if policy.sampler == "tpe" else RandomSampler(seed=seed)


def _propose(
    policy: SearchPolicy, space: Space, results: SearchResults, trials: Sequence[Trial]
) -> tuple[tuple[Trial, PlannedArm] | None, list[tuple[Trial, str]]]:
    """The next trial with its arm, None where there is none; and those before it that can't be trained, with why."""
    from optuna.trial import TrialState

    known = {trial.arm for trial in trials}
    refused = {frozenset(trial.choices.items()) for trial in trials if not trial.arm}
    study, distributions = study_of(policy, space, results, trials), space.distributions()
    invalid: list[tuple[Trial, str]] = []
    for _ in range(TRIES):
        asked = study.ask(distributions)
        choices = space.kept(asked.params)
        arm = space.arm(choices)
        if isinstance(arm, PlannedArm):
            if arm.key not in known:
                return (Trial(arm=arm.key, choices=choices), arm), invalid
            continue  # stays in this study as one that is running, so that the sampler goes elsewhere
        study.tell(asked, state=TrialState.PRUNED)
        if (chosen := frozenset(choices.items())) not in refused:
            refused.add(chosen)
            invalid.append((Trial(arm="", choices=choices), arm))
    for listed in itertools.islice(space.every(), MOST_LISTED):
        arm = space.arm(listed)
        if isinstance(arm, PlannedArm) and arm.key not in known:
            return (Trial(arm=arm.key, choices=listed), arm), invalid
    return None, invalid


def _tallied(policy: SearchPolicy, results: SearchResults, arms: Sequence[str]) -> SearchState:
    found = [results.get(arm, OPEN) for arm in arms]
    best = next(iter(best_arms(policy, results, arms)), "")
    return SearchState(
        outcomes=dict(Counter(result.outcome.value for result in found)),
        best=best,
        best_value=results[best].value if best else None,
        baseline_value=found[0].value,  # it is never stopped early
        improvements=improvements_of(policy, found),
    )


def improvements_of(policy: SearchPolicy, results: Sequence[Result]) -> Sequence[tuple[int, float]]:
    """The arms, by number from 1, that are better than all before them, with their values."""
    found: list[tuple[int, float]] = []
    for number, result in enumerate(results, start=1):
        value = result.final
        if value is not None and (not found or policy.is_better(value, found[-1][1])):
            found.append((number, value))
    return found
