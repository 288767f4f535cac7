"""The runs that a question is about, read from the store and measured."""

import functools
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from orchestrator.comparison.measuring.compared_runs import ComparedRun, RunResult
from orchestrator.comparison.measuring.evaluations import refusal_of
from orchestrator.comparison.measuring.groups import check_best, evaluated
from orchestrator.comparison.measuring.measures import Measure, PointChoice, Standing, goal_of, measure_run, reached
from orchestrator.comparison.questions import Question
from orchestrator.errors import UsageError
from orchestrator.export.metric_names import Axis, find_metric
from orchestrator.queue.code import MIXED
from orchestrator.queue.runs import RunFilter
from orchestrator.store import Store
from orchestrator.wording.numbers import counted

MOST_NAMED_SWEEPS = 20


@dataclass(frozen=True, kw_only=True)
class ReadResults:
    """The results of the runs of `sweeps`, and of those lent by other sweeps.

    `left_out` warns of runs that two codes computed. `unlike` says why the lent ones can't be compared with the sweep's
    own; it is empty if they can.
    """

    measure: Measure
    results: Sequence[RunResult]
    left_out: Sequence[str]
    sweeps: Sequence[int]
    unlike: str

    @property
    def runs(self) -> Sequence[ComparedRun]:
        """What is known of each run besides its number."""
        return [result.run for result in self.results]

    @property
    def lent(self) -> Sequence[tuple[int, int]]:
        """The other sweeps, each with how many of its runs are taken."""
        return sorted(Counter(run.sweep_id for run in self.runs if run.sweep_id not in self.sweeps).items())

    @property
    def waiting(self) -> int:
        """How many runs will have their number later."""
        return sum(result.measured.standing is Standing.WAITING for result in self.results)


def results_for(store: Store, wanted: RunFilter, question: Question) -> ReadResults:
    """What `question` is about. Raises UsageError or ExportError where no run matches, none has the metric, or the runs
    can't be compared."""
    measure = _measure(store, wanted, question)
    everything = _read(store, wanted, measure, question.target)
    results, left_out = _of_one_code(store, everything, allow_mixed_code=question.allow_mixed_code)
    runs = [result.run for result in results]
    sweeps = sorted(wanted.sweep_ids or {run.sweep_id for run in runs})
    unlike = _unlike(runs, sweeps, measure, question)
    _check_any_number(results, measure)
    check_best(runs, measure)
    return ReadResults(measure=measure, results=results, left_out=left_out, sweeps=sweeps, unlike=unlike)


def _measure(store: Store, wanted: RunFilter, question: Question) -> Measure:
    metric = find_metric(store, wanted, question.metric)
    goal = question.goal or goal_of(metric)
    if question.target is not None and goal is None:
        hint = "For --target, add --goal higher or --goal lower."
        raise UsageError(f"is higher or lower better for '{metric.name}'?", hint)
    return Measure(metric=metric, moment=question.moment, axis=question.axis, place=question.place, goal=goal)


def _read(store: Store, wanted: RunFilter, measure: Measure, target: float | None) -> list[RunResult]:
    """The runs with their numbers. Raises UsageError where there is none."""
    last = target is None and measure.moment is PointChoice.LAST
    axes = [measure.axis or Axis.STEPS] if target is None else [*Axis]
    names = [*(axis.column for axis in axes), measure.metric.column]
    results = []
    for found in store.runs_with_curves(wanted, measure.metric.split, names, last=last):
        curve = found.curves.get(measure.metric.split)
        when = None if target is None else reached(curve, measure, target)
        measured = measure_run(found.run, curve, measure)
        results.append(RunResult(run=ComparedRun.of(found.run), measured=measured, reached=when))
    if not results:
        raise UsageError("no run matches", "hlbq status shows what there is.")
    return results


def _of_one_code(
    store: Store, results: Sequence[RunResult], *, allow_mixed_code: bool
) -> tuple[list[RunResult], list[str]]:
    """The results of runs that one code computed, and a warning of the others. Digests of the same code become one.
    Raises UsageError where no run is left."""
    as_one = functools.cache(store.same_code().as_one)
    named = []
    for result in results:
        code = as_one(tuple(result.run.code))
        is_named = code == result.run.code
        named.append(result if is_named else replace(result, run=replace(result.run, code=code)))
    mixed = [result for result in named if len(result.run.code) > 1]
    if not mixed or allow_mixed_code:
        return named, []
    kept = [result for result in named if len(result.run.code) <= 1]
    which = ", ".join(str(result.run.id) for result in mixed)
    told = f"{counted(len(mixed), 'run')} of {MIXED} left out ({which})"
    if not kept:
        raise UsageError(f"nothing is left to compare: {told}", "Add --allow_mixed_code to compare them anyway.")
    return kept, [f"{told}; --allow_mixed_code includes them"]


def _unlike(runs: Sequence[ComparedRun], sweeps: Sequence[int], measure: Measure, question: Question) -> str:
    """Why the runs lent by other sweeps can't be compared with the sweep's own; empty if they can. Raises UsageError
    where its own can't be compared with each other."""
    metric = measure.metric.name

    def refusal(some: Sequence[ComparedRun]) -> tuple[str, str] | None:
        return refusal_of(
            evaluated(some, metric),
            metric,
            allow_mixed_data=question.allow_mixed_data,
            allow_mixed_evaluation=question.allow_mixed_evaluation,
        )

    found = refusal(runs)
    if found is None:
        return ""
    own = [run for run in runs if run.sweep_id in sweeps]
    of_own = found if len(own) in (0, len(runs)) else refusal(own)
    if of_own is not None:
        raise UsageError(*of_own)
    message, hint = found
    return f"no differences: with those of other sweeps, {message}. {hint}"


def _naming(sweeps: Collection[int]) -> str:
    """The sweeps as a command names them; all of them where they are many."""
    return " --all" if len(sweeps) > MOST_NAMED_SWEEPS else f" --sweep {' '.join(map(str, sorted(sweeps)))}"


def _check_any_number(results: Sequence[RunResult], measure: Measure) -> None:
    standings = {result.measured.standing for result in results}
    if Standing.MEASURED in standings or standings <= {Standing.DIVERGED}:
        return
    reasons = sorted({result.measured.why for result in results})
    these = _naming({result.run.sweep_id for result in results})
    hint = f"See which points there are: hlbq export points.csv --layout points{these}"
    if Standing.WAITING in standings:
        hint = f"hlbq status{these} shows how far they are. hlbq compare counts running runs too with --at_step, "
        hint += "--at_tokens or --at_seconds."
    raise UsageError(f"no run has a number for '{measure.text}' ({'; '.join(reasons[:3])})", hint)
