"""How a policy stands, for people: arms open and closed and why, runs spent of at most so many. Loads nothing heavy."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.growth.policy import REJECTED, Closure, DecidePolicy, Reason, policy_of, state_of
from orchestrator.queue.records import PolicyRecord, RunFilter
from orchestrator.sweep.arm_labels import arm_label, differing_settings
from orchestrator.wording.numbers import counted

if TYPE_CHECKING:
    from orchestrator.store import Store


@dataclass(frozen=True, kw_only=True)
class ArmStanding:
    """One arm: open (`reason` is None), or closed and why, in a sentence."""

    label: str
    reason: Reason | None
    text: str


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A policy as of its last step. `runs` exist now; `most_runs` are those of all arms at the cap.

    `waits` says that open arms wait for a person: what they lack is paused, cancelled or failed.
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


def standing_of(store: "Store", record: PolicyRecord) -> Standing:
    """How the policy stands."""
    policy, state = policy_of(record), state_of(record)
    labels = arm_labels(store, record.sweep_id)
    closed = {closure.arm: closure for closure in state.closures}
    counts = store.counts(RunFilter(sweep_ids=(record.sweep_id,)))
    is_open = record.ended_at is None
    return Standing(
        sweep=record.sweep_id,
        metric=policy.metric,
        rule=policy.bound.text,
        round=state.round,
        arms=[_arm_standing(arm, labels.get(arm, arm), closed.get(arm), policy) for arm in policy.arms],
        runs=sum(counts.values()),
        most_runs=len(policy.everyone) * policy.max_seeds,
        is_open=is_open,
        waits=is_open and not store.waiting([record.sweep_id]) and not store.may_grow([record.sweep_id]),
    )


def standing_lines(standing: Standing) -> list[str]:
    """The standing in sentences, an arm a line."""
    closed = [arm for arm in standing.arms if arm.reason is not None]
    open_arms = len(standing.arms) - len(closed)
    state = f"{counted(open_arms, 'arm')} open after {counted(standing.round, 'seed')}" if standing.is_open else "done"
    lines = [
        f"sweep {standing.sweep}: {standing.metric} decides ({standing.rule}); {state}, "
        f"{counted(standing.runs, 'run')} of at most {standing.most_runs:,}",
        *(f"  {arm.label}: {arm.text}" for arm in standing.arms),
    ]
    if standing.waits:
        lines.append(
            f"  open arms wait for runs that are paused, cancelled or failed: hlbq status --sweep {standing.sweep}, "
            "then hlbq unpause or hlbq retry"
        )
    return lines


def _arm_standing(arm: str, label: str, closure: Closure | None, policy: DecidePolicy) -> ArmStanding:
    if closure is None:
        return ArmStanding(label=label, reason=None, text="open")
    return ArmStanding(label=label, reason=closure.reason, text=closure_text(closure, policy))


def arm_labels(store: "Store", sweep_id: int) -> Mapping[str, str]:
    """The arms of a sweep, by key, as what sets them apart."""
    arms = store.arms(sweep_id)
    names = differing_settings(arm.settings for arm in arms)
    return {arm.key: arm_label(arm.settings, names) for arm in arms}


def closure_text(closure: Closure, policy: DecidePolicy) -> str:
    """Why an arm is closed: `better by 0.021 after 6 seeds`, `closed: 8 % chance of a verdict by 20 seeds; ...`."""
    after = f"after {counted(closure.seeds, 'seed')}"
    interval = _interval(closure)
    if closure.reason in REJECTED:
        less = f", by less than {policy.margin:g}" if closure.within_margin else ""
        return f"{closure.reason}{less} {after}: difference {_signed(closure.mean)}{interval}"
    if closure.reason is Reason.NO_DIFFERENCE:
        return f"no difference larger than {policy.margin:g} {after}{interval}"
    if closure.reason is Reason.FUTILE:
        chance = f"{100 * (closure.chance or 0):.0f} % chance of a verdict by {counted(policy.max_seeds, 'seed')}"
        return f"closed {after}: {chance}{interval}"
    if closure.reason is Reason.CAP:
        word = "not surely worse than the best" if policy.best_arm else "undecided"
        return f"{word} at the cap of {counted(policy.max_seeds, 'seed')}{interval}"
    if closure.reason is Reason.NO_PAIRS:
        return f"closed {after}: none of them gave a pair with a number of {policy.metric}"
    if closure.reason is Reason.HELD_BACK:
        return f"closed {after}: it would look decided, but one side diverged more often{interval}"
    if closure.reason is Reason.BEST:
        return f"the best {after}"
    return f"surely not the best {after}"


def _interval(closure: Closure) -> str:
    if closure.low is None or closure.high is None:
        return ""
    return f"; interval {_signed(closure.low)} to {_signed(closure.high)}"


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.4g}"
