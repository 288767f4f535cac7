"""Each group by itself: its number over seeds, and when its runs reached a target."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.comparison.groups import Group, RunResult
from orchestrator.comparison.measures import Standing
from orchestrator.comparison.statistics import Summary, summarise
from orchestrator.queue.states import State


@dataclass(frozen=True, kw_only=True)
class TargetTimes:
    """When a group's runs reached the target. `never` did not by their end; `open` are not through, or failed early.

    The medians are over the runs that reached it and those that never did, which count as later than all others;
    None where half of them or more never did.
    """

    reached: int
    never: int
    open: int
    median_seconds: float | None
    median_tokens: float | None
    median_steps: float | None


@dataclass(frozen=True, kw_only=True)
class GroupResult:
    """A group's number over its seeds, and how many seeds have none because of what."""

    values: Mapping[str, Any]
    label: str
    summary: Summary
    diverged: int
    waiting: int
    missing: int
    target: TargetTimes | None


def group_result(group: Group, target: float | None) -> GroupResult:
    """The group in short, with its times to the target if there is one."""
    seeds = [group.of_seed(seed, group.rests) for seed in group.cells]
    standings = [seed.standing for seed in seeds]
    return GroupResult(
        values=group.values,
        label=group.label,
        summary=summarise([seed.value for seed in seeds if seed.value is not None]),
        diverged=standings.count(Standing.DIVERGED),
        waiting=standings.count(Standing.WAITING),
        missing=standings.count(Standing.MISSING),
        target=None if target is None else _target_times(group.results),
    )


def _target_times(results: Sequence[RunResult]) -> TargetTimes:
    times = [result.reached for result in results if result.reached is not None]
    late = [one for one in results if one.reached is None]
    never = sum(one.run.state is State.COMPLETED or one.measured.standing is Standing.DIVERGED for one in late)

    def median(values: list[float]) -> float | None:
        return statistics.median(values + [float("inf")] * never) if len(values) > never else None

    return TargetTimes(
        reached=len(times),
        never=never,
        open=len(results) - len(times) - never,
        median_seconds=median([time.seconds for time in times]),
        median_tokens=median([time.tokens for time in times]),
        median_steps=median([time.steps for time in times]),
    )
