"""How a policy stands, for people: arms open and closed and why, runs spent of at most so many. Loads nothing heavy."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.comparison.policy import Closure, DecidePolicy, Reason, State, closure_text, policy_of
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
    policy, state = policy_of(record), State.of(record)
    labels = arm_labels(store, record.sweep_id)
    closed = {closure.arm: closure for closure in state.closures}
    counts = store.counts(RunFilter(sweep_ids=(record.sweep_id,)))
    return Standing(
        sweep=record.sweep_id,
        metric=policy.metric,
        rule=policy.rule,
        round=state.round,
        arms=[_arm_standing(arm, labels.get(arm, arm), closed.get(arm), policy) for arm in policy.arms],
        runs=sum(counts.values()),
        most_runs=len(policy.everyone) * policy.max_seeds,
        is_open=record.ended_at is None,
        waits=_waits(store, record),
    )


def summary_lines(store: "Store", sweep_ids: Sequence[int], latest: int | None) -> list[str]:
    """A line for each policy that may still add runs to these sweeps (none: to any), and for that of the latest one."""
    records = {record.sweep_id: record for record in store.policies(sweep_ids, only_open=True)}
    newest = None if latest is None or latest in records else store.policy(latest)
    return [_summary(store, record) for record in [*records.values(), *([newest] if newest else [])]]


def _summary(store: "Store", record: PolicyRecord) -> str:
    """`sweep 1 decides by val_loss: 2 of 3 arms open after 4 seeds (1 worse); at most 40 runs`."""
    policy, state = policy_of(record), State.of(record)
    counts = Counter(closure.reason.value for closure in state.closures)
    closed = ", ".join(f"{number} {reason}" for reason, number in counts.items())
    open_arms = len(policy.arms) - len(state.closures)
    after = f"after {counted(state.round, 'seed')}" + (f" ({closed})" if closed else "")
    if record.ended_at is not None:
        return f"sweep {record.sweep_id} is decided {after}: hlbq compare --sweep {record.sweep_id}"
    wait = _waits(store, record)
    told = "; what is missing is paused, cancelled or failed: hlbq unpause or hlbq retry lets it go on" if wait else ""
    most = len(policy.everyone) * policy.max_seeds
    return (
        f"sweep {record.sweep_id} decides by {policy.metric}: {open_arms} of {counted(len(policy.arms), 'arm')} open "
        f"{after}; at most {most:,} runs{told}"
    )


def _waits(store: "Store", record: PolicyRecord) -> bool:
    """Whether an open policy can go on only if a person does something."""
    return record.ended_at is None and not store.may_grow([record.sweep_id])


def standing_lines(standing: Standing, *, with_arms: bool = True) -> list[str]:
    """The standing in sentences, an arm a line."""
    closed = [arm for arm in standing.arms if arm.reason is not None]
    open_arms = len(standing.arms) - len(closed)
    state = f"{counted(open_arms, 'arm')} open after {counted(standing.round, 'seed')}" if standing.is_open else "done"
    lines = [
        f"sweep {standing.sweep}: {standing.metric} decides, verdicts and intervals by {standing.rule}; {state}, "
        f"{counted(standing.runs, 'run')} of at most {standing.most_runs:,}",
        *(f"  {arm.label}: {arm.text}" for arm in standing.arms if with_arms),
    ]
    best = [arm.label for arm in standing.arms if arm.reason is Reason.BEST]
    if best:
        others = [arm.label for arm in standing.arms if arm.reason is Reason.CAP]
        lines.append(f"best: {best[0]}" + (f"; not surely worse: {', '.join(others)}" if others else ""))
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
