"""The runs of the database by group: what is compared with what, and what must not be compared."""

import itertools
import statistics
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from hlbgpt_core.evaluation import known_fingerprint
from hlbgpt_core.points import Split
from orchestrator.comparison.measuring.compared_runs import ComparedRun, RunResult
from orchestrator.comparison.measuring.evaluations import EvaluatedRun, evaluated_split
from orchestrator.comparison.measuring.measures import NO_RUN, Measure, Measured, PointChoice, Standing, mean_or_gravest
from orchestrator.comparison.statistics import Summary, summarise
from orchestrator.errors import UsageError
from orchestrator.queue.code import joined
from orchestrator.queue.states import State
from orchestrator.sweep.arm_labels import arm_label, differing_settings
from orchestrator.sweep.baseline import baseline_texts, parse_baseline
from orchestrator.sweep.option_spec import several_of
from orchestrator.sweep.options import setting_name, value_text, with_defaults

# What runs can be grouped by besides settings: facts, by the name that they have in exports.
FACTS: Mapping[str, str] = {
    "data_fingerprint": "data_fingerprint",
    "evaluation_fingerprint": "evaluation_fingerprint",
    "device": "device",
    "device_name": "device_name",
    "resolved_precision": "precision",
    "trainer_path": "path",
}
SWEEP, CODE = "sweep", "code"

Run = TypeVar("Run")
# The values of the settings that vary within a group.
Rest = tuple[Any, ...]


@dataclass(frozen=True, kw_only=True)
class Group:
    """Runs that have the same `values` of the settings grouped by.

    `cells` holds them by the settings that still vary within groups, and then by seed. Where none does, a seed is one
    run; else a seed's number is the mean over `rests`, so that a seed is always one independent draw.
    """

    values: Mapping[str, Any]
    cells: Mapping[Rest, Mapping[int, RunResult]]
    seeds: Collection[int]

    @property
    def label(self) -> str:
        """`depth 4, num_heads 2`."""
        return arm_label(self.values, tuple(self.values)) or "all runs"

    @property
    def rests(self) -> frozenset[Rest]:
        """What it averages over."""
        return frozenset(self.cells)

    @property
    def results(self) -> Sequence[RunResult]:
        """All runs of the group."""
        return [result for cells in self.cells.values() for result in cells.values()]

    def of_seed(self, seed: int, rests: Iterable[Rest]) -> Measured:
        """The seed's number: the mean over `rests`, or the gravest reason why there is none."""
        found = [own.measured if (own := self.cells[rest].get(seed)) is not None else NO_RUN for rest in rests]
        return mean_or_gravest(found)


@dataclass(frozen=True, kw_only=True)
class Grouping:
    """All groups, by what they are told apart, and over which other settings each of them averages. `left_out` counts
    runs of an arm and seed that another run stands for."""

    by: Sequence[str]
    averaged_over: Sequence[str]
    groups: Sequence[Group]
    left_out: int


def check_name(name: str) -> str:
    """A name to group by, with dashes as underscores. Raises SettingsError, naming the nearest, for an unknown one."""
    return setting_name(name, (*FACTS, SWEEP, CODE))


def read_baseline(
    given: Mapping[str, Any] | Sequence[str] | None, known: Callable[[str], str] = check_name
) -> Mapping[str, Any] | None:
    """`["depth=8"]`, or `{"depth": 8}`, as values by name, facts among them; None where nothing was named. Raises as
    `parse_baseline`."""
    if isinstance(given, Mapping):
        given = baseline_texts(given)
    found = parse_baseline([] if given is None else list(map(str, several_of(given))), known)
    number = str(found.get(SWEEP, ""))
    return ({**found, SWEEP: int(number)} if number.isdecimal() else found) or None


def values_of(run: ComparedRun) -> Mapping[str, Any]:
    """Everything that `run` can be grouped by."""
    facts = {**run.facts, "evaluation_fingerprint": known_fingerprint(Split.VAL, run.settings, run.facts) or None}
    named = {name: facts.get(fact) for name, fact in FACTS.items()}
    code = joined(part.digest for part in run.code) or None
    return {**with_defaults(run.settings), **named, SWEEP: run.sweep_id, CODE: code}


def _values_by_kind(runs: Iterable[ComparedRun]) -> dict[tuple[Any, ...], Mapping[str, Any]]:
    return {kind: values_of(run) for kind, run in {run.kind: run for run in runs}.items()}


def group_runs(results: Sequence[RunResult], by: Sequence[str], apart: Sequence[str] = ()) -> Grouping:
    """`results` by the values of `by`, in order; of an empty `by`, by the settings in which they differ. In any case by
    those of `apart` too."""
    values = _values_by_kind(result.run for result in results)
    differing = differing_settings(values.values())
    by = tuple(dict.fromkeys([*(by or differing), *apart]))
    others = [name for name in differing if name not in by]
    keys = {kind: tuple(own[name] for name in by) for kind, own in values.items()}
    rests = {kind: tuple(own[name] for name in others) for kind, own in values.items()}
    found: dict[tuple[Any, ...], set[Rest]] = {}
    for kind, key in keys.items():
        found.setdefault(key, set()).add(rests[kind])
    varies = [any(len({rest[place] for rest in own}) > 1 for own in found.values()) for place in range(len(others))]
    varying = list(itertools.compress(others, varies))
    rests = {kind: tuple(itertools.compress(rest, varies)) for kind, rest in rests.items()}
    cells: dict[tuple[Any, ...], dict[Rest, dict[int, RunResult]]] = {}
    seeds: dict[tuple[Any, ...], dict[int, None]] = {}
    for result in results:
        kind, seed = result.run.kind, result.run.seed
        arm = cells.setdefault(keys[kind], {}).setdefault(rests[kind], {})
        arm[seed] = preferred(arm.get(seed), result, _is_through)
        seeds.setdefault(keys[kind], {})[seed] = None
    groups = [
        Group(values=dict(zip(by, key, strict=True)), cells=own, seeds=seeds[key].keys())
        for key, own in sorted(cells.items(), key=lambda item: tuple(map(sortable, item[0])))
    ]
    kept = sum(len(group.results) for group in groups)
    return Grouping(by=by, averaged_over=varying, groups=groups, left_out=len(results) - kept)


def preferred(first: Run | None, second: Run, is_through: Callable[[Run], bool]) -> Run:
    """Of two runs of the same arm and seed: the newest of those that are through, so that nobody chooses by outcome."""
    return second if first is None or is_through(second) or not is_through(first) else first


def _is_through(result: RunResult) -> bool:
    return result.measured.standing in (Standing.MEASURED, Standing.DIVERGED)


def sortable(value: Any) -> tuple[int, float, str]:
    """A key by which numbers come before texts."""
    return (0, float(value), "") if isinstance(value, int | float) else (1, 0.0, str(value))


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
    rests = group.rests
    seeds = [group.of_seed(seed, rests) for seed in group.seeds]
    standings = [seed.standing for seed in seeds]
    return GroupResult(
        values=group.values,
        label=group.label,
        summary=summarise([seed.value for seed in seeds if seed.value is not None]),
        diverged=standings.count(Standing.DIVERGED),
        waiting=standings.count(Standing.WAITING),
        missing=standings.count(Standing.MISSING) + standings.count(Standing.ABSENT),
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


def evaluated(runs: Iterable[ComparedRun], metric: str) -> list[EvaluatedRun]:
    """What tells the data of the runs, and their evaluations where `metric` is measured on them: each kind once."""
    split = evaluated_split(metric)
    return [
        EvaluatedRun(
            settings=with_defaults(run.settings),
            data_fingerprint=str(run.facts.get("data_fingerprint") or ""),
            evaluation_fingerprint="" if split is None else known_fingerprint(split, run.settings, run.facts),
        )
        for run in {run.kind: run for run in runs}.values()
    ]


def check_best(runs: Iterable[ComparedRun], measure: Measure) -> None:
    """Raise UsageError for the best points of runs that were evaluated at different intervals: the best of more
    evaluations is better by luck."""
    if measure.moment is not PointChoice.BEST:
        return
    kinds = _values_by_kind(runs).values()
    for name in ("eval_every", "max_epochs_between_evals"):
        found = sorted({values[name] for values in kinds})
        if len(found) > 1:
            every = f"the runs were evaluated at different intervals ({name} {', '.join(map(value_text, found))})"
            hint = f"Leave --best out, or choose one: --where {name}={value_text(found[0])}"
            raise UsageError(f"--best: {every}, and the best of more evaluations is better by luck", hint)
