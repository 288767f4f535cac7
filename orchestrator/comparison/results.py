"""The whole answer of `hlbq compare`, read from the store. The fields of Comparison are the keys of `--json`."""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from orchestrator.comparison.cautions import code_warnings, grouping_warnings, unit_warnings
from orchestrator.comparison.contrasts import PAIRS_TO_BEGIN_WITH, Contrast, contrasts_of
from orchestrator.comparison.groups import SWEEP, Group, Grouping, RunResult, check_comparable, check_name, group_runs
from orchestrator.comparison.measures import Goal, Measure, PointChoice, Standing, goal_of, measure_run, reached
from orchestrator.comparison.statistics import Summary, summarise
from orchestrator.errors import ExportError, UsageError
from orchestrator.export.blocks import runs_with_curves
from orchestrator.export.metric_names import Axis, parse_metric
from orchestrator.queue.code import MIXED
from orchestrator.queue.records import RunFilter
from orchestrator.queue.states import State
from orchestrator.store import Store
from orchestrator.sweep.baseline import baseline_of, restricted
from orchestrator.sweep.options import value_text
from orchestrator.wording.numbers import counted


@dataclass(frozen=True, kw_only=True)
class Question:
    """What is asked: the number of a run, the groups, and the baseline (None: the sweep's own, if it has one).

    An empty `by` stands for the settings that differ; a `goal` of None for what is usual for the metric.
    """

    metric: str = "val_loss"
    moment: PointChoice = PointChoice.LAST
    axis: Axis | None = None
    place: float | None = None
    goal: Goal | None = None
    by: Sequence[str] = ()
    baseline: Mapping[str, Any] | None = None
    target: float | None = None
    allow_mixed_data: bool = False
    allow_mixed_evaluation: bool = False
    allow_mixed_code: bool = False


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


@dataclass(frozen=True, kw_only=True)
class Extension:
    """What `hlbq extend` is to be told."""

    sweep: int
    num_runs: int


@dataclass(frozen=True, kw_only=True)
class Look:
    """An earlier look at the same question, when (seconds since the epoch), and what was seen."""

    at: float
    seen: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The answer.

    Of the `runs`, `lent` ones are of other sweeps than `sweeps` (sweep, count): --skip_existing left them out.
    `earlier_looks` are those at the same question with other numbers; `is_recorded` says that this very look is
    written down. Only comparisons with a baseline are looks.
    """

    measure: str
    question: str
    sweeps: Sequence[int]
    runs: int
    lent: Sequence[tuple[int, int]]
    by: Sequence[str]
    averaged_over: Sequence[str]
    target: float | None
    groups: Sequence[GroupResult]
    contrasts: Sequence[Contrast]
    earlier_looks: Sequence[Look]
    is_recorded: bool
    waiting: int
    extension: Extension | None
    warnings: Sequence[str]


def compare(store: Store, wanted: RunFilter, question: Question) -> Comparison:
    """Answer `question` about the runs that `wanted` lets through. Nothing is written: see `record`.

    Raises UsageError or ExportError where no run matches, no run has the metric, or the runs can't be compared.
    """
    by = list(dict.fromkeys(check_name(name) for name in question.by))
    measure = _measure(store, wanted, question)
    everything = _read(store, wanted, measure, question.target)
    if not everything:
        raise UsageError("no run matches", "hlbq status shows what there is.")
    results, left_out = _of_one_code(store, everything, allow_mixed_code=question.allow_mixed_code)
    sweeps = sorted(wanted.sweep_ids or {result.run.sweep_id for result in results})
    unlike = _unlike(results, sweeps, measure, question)
    _check_any_number(results, measure)
    # Numbers that mean different things stand in rows of their own.
    grouping = group_runs(results, by, apart=(SWEEP,) if unlike else ())
    found = _NONE_AGAINST if unlike else _contrasts(store, sweeps, grouping, question, measure.goal)
    contrasts, baseline, told = found
    text = _question_text(measure, grouping, baseline)
    looks = _looks(store, sweeps[-1], text) if contrasts else []
    is_recorded = bool(looks) and looks[-1].seen == seen(contrasts)
    return Comparison(
        measure=measure.text,
        question=text,
        sweeps=sweeps,
        runs=len(results),
        lent=sorted(Counter(one.run.sweep_id for one in results if one.run.sweep_id not in sweeps).items()),
        by=grouping.by,
        averaged_over=grouping.averaged_over,
        target=question.target,
        groups=[_group_result(group, question.target) for group in grouping.groups],
        contrasts=contrasts,
        earlier_looks=looks[:-1] if is_recorded else looks,
        is_recorded=is_recorded,
        waiting=sum(result.measured.standing is Standing.WAITING for result in results),
        extension=_extension(store, wanted, sweeps, results, contrasts),
        warnings=[
            *(text for text in (unlike, told) if text),
            *left_out,
            *code_warnings(store, [result.run for result in results]),
            *grouping_warnings(grouping, contrasts, baseline),
            *unit_warnings(store, results, measure, timed=question.target is not None),
        ],
    )


def _unlike(results: Sequence[RunResult], sweeps: Sequence[int], measure: Measure, question: Question) -> str:
    """Why the runs lent by other sweeps can't be compared with the sweep's own; empty if they can.

    Raises UsageError where its own can't be compared with each other.
    """
    check = partial(
        check_comparable,
        metric=measure.metric.name,
        allow_mixed_data=question.allow_mixed_data,
        allow_mixed_evaluation=question.allow_mixed_evaluation,
    )
    try:
        check(results)
    except UsageError as error:
        own = [result for result in results if result.run.sweep_id in sweeps]
        if len(own) in (0, len(results)):
            raise
        check(own)
        return f"no differences: with those of other sweeps, {error.message}. {error.hint}"
    return ""


_Against = tuple[Sequence[Contrast], Mapping[str, Any], str]
_NONE_AGAINST: _Against = (), {}, ""


def _contrasts(
    store: Store, sweeps: Sequence[int], grouping: Grouping, question: Question, goal: Goal | None
) -> _Against:
    """The contrasts, the baseline that they are with, and why there are none if the sweep's own baseline fits no group.

    Raises UsageError for a baseline in the question that fits none.
    """
    if question.baseline is not None:
        return contrasts_of(grouping, question.baseline, goal), question.baseline, ""
    stored = store.sweep(sweeps[0]) if len(sweeps) == 1 else None
    baseline = restricted(baseline_of(stored.definition), grouping.by) if stored else {}
    if not baseline or len(grouping.groups) < 2:
        return _NONE_AGAINST
    try:
        return contrasts_of(grouping, baseline, goal), baseline, ""
    except UsageError as error:
        return (), {}, f"no differences from the sweep's baseline: {error.message}. Name another one: --baseline"


def record(store: Store, comparison: Comparison) -> Comparison:
    """Write the look down, unless it is there already; returns the comparison as a recorded one."""
    if not comparison.contrasts or comparison.is_recorded:
        return comparison
    store.record_look(comparison.sweeps, f"{comparison.question}: {seen(comparison.contrasts)}")
    return replace(comparison, is_recorded=True)


def seen(contrasts: Sequence[Contrast]) -> str:
    """What the record of a look says: every verdict, with its pairs and difference."""
    return "; ".join(_seen(contrast) for contrast in contrasts)


def _check_any_number(results: Sequence[RunResult], measure: Measure) -> None:
    standings = {result.measured.standing for result in results}
    if Standing.MEASURED in standings or standings <= {Standing.DIVERGED}:
        return
    reasons = sorted({result.measured.why for result in results})
    raise UsageError(
        f"no run has a number for '{measure.text}' ({'; '.join(reasons[:3])})",
        "hlbq status shows how far they are; --at_step, --at_tokens and --at_seconds take running runs too.",
    )


def _measure(store: Store, wanted: RunFilter, question: Question) -> Measure:
    try:
        metric = parse_metric(question.metric)
    except ExportError:
        metric = parse_metric(question.metric, _extra_names(store, wanted))
    goal = question.goal or goal_of(metric)
    if question.target is not None and goal is None:
        raise UsageError(
            f"is higher or lower better for '{metric.name}'?", "--target needs to know: --goal higher or --goal lower."
        )
    return Measure(metric=metric, moment=question.moment, axis=question.axis, place=question.place, goal=goal)


def _extra_names(store: Store, wanted: RunFilter) -> Sequence[str]:
    found = runs_with_curves(store, wanted)
    return sorted({name for pair in found for curve in pair.curves.values() for name in curve.extra})


def _read(store: Store, wanted: RunFilter, measure: Measure, target: float | None) -> list[RunResult]:
    results = []
    for found in runs_with_curves(store, wanted, measure.metric.split):
        curve = found.curves.get(measure.metric.split)
        results.append(
            RunResult(
                run=found.run,
                measured=measure_run(found.run, curve, measure),
                reached=None if target is None else reached(curve, measure, target),
            )
        )
    return results


def _of_one_code(
    store: Store, results: Sequence[RunResult], *, allow_mixed_code: bool
) -> tuple[list[RunResult], list[str]]:
    """The results of runs that one code computed, and a warning of the others. Digests of the same code become one.

    Raises UsageError where no run is left.
    """
    same = store.same_code()
    named = [replace(result, run=replace(result.run, code=same.as_one(result.run.code))) for result in results]
    mixed = [result for result in named if len(result.run.code) > 1]
    if not mixed or allow_mixed_code:
        return named, []
    kept = [result for result in named if len(result.run.code) <= 1]
    which = ", ".join(str(result.run.id) for result in mixed)
    told = f"{counted(len(mixed), 'run')} of {MIXED} left out ({which})"
    if not kept:
        raise UsageError(f"nothing is left to compare: {told}", "Add --allow_mixed_code to compare them all the same.")
    return kept, [f"{told}; --allow_mixed_code takes them"]


def _group_result(group: Group, target: float | None) -> GroupResult:
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
    never = sum(result.reached is None and _has_run_out(result) for result in results)

    def median(values: list[float]) -> float | None:
        if 2 * len(values) <= len(values) + never:
            return None
        return statistics.median(values + [float("inf")] * never)

    return TargetTimes(
        reached=len(times),
        never=never,
        open=len(results) - len(times) - never,
        median_seconds=median([time.seconds for time in times]),
        median_tokens=median([time.tokens for time in times]),
        median_steps=median([time.steps for time in times]),
    )


def _has_run_out(result: RunResult) -> bool:
    return result.run.state is State.COMPLETED or result.measured.standing is Standing.DIVERGED


def _extension(
    store: Store,
    wanted: RunFilter,
    sweeps: Sequence[int],
    results: Sequence[RunResult],
    contrasts: Sequence[Contrast],
) -> Extension | None:
    """The seeds that undecided contrasts want, besides those that are under way.

    None across several sweeps, and where filters may hide seeds that the sweep has: those come first.
    """
    asked = [
        one.finding.further_seeds - one.pairs.waiting for one in contrasts if one.finding.further_seeds is not None
    ]
    if not contrasts and all(result.run.run_num == 1 for result in results):
        asked = [PAIRS_TO_BEGIN_WITH - 1]
    by_run = wanted.run_ids or wanted.states or wanted.reasons or wanted.tags
    hides_seeds = by_run or {"seed", "run_num"} & set(wanted.where)
    if len(sweeps) > 1 or hides_seeds or max(asked, default=0) <= 0:
        return None
    longest = max(run.run_num for run in store.runs(RunFilter(sweep_ids=(sweeps[0],))))
    return Extension(sweep=sweeps[0], num_runs=longest + max(asked))


def _question_text(measure: Measure, grouping: Grouping, baseline: Mapping[str, Any]) -> str:
    against = ", ".join(f"{name} {value_text(value)}" for name, value in baseline.items())
    return f"{measure.text} by {', '.join(grouping.by)}" + (f" against {against}" if against else "")


def _seen(contrast: Contrast) -> str:
    mean = contrast.finding.difference.summary.mean
    difference = "" if mean is None else f", difference {mean:+.4g}"
    pairs = counted(len(contrast.pairs.differences), "pair")
    return f"{contrast.label} {contrast.finding.verdict} ({pairs}{difference})"


def _looks(store: Store, sweep_id: int, question: str) -> list[Look]:
    asked = f"{question}: "
    return [
        Look(at=event.at, seen=event.why.removeprefix(asked))
        for event in store.looks(sweep_id)
        if event.why.startswith(asked)
    ]
