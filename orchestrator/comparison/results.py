"""The whole answer of `hlbq compare`, read from the store. The fields of Comparison are the keys of `--json`."""

import functools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.comparison.design import design_of
from orchestrator.comparison.judging.contrasts import Contrast, check_margin, is_open
from orchestrator.comparison.judging.declared import declared
from orchestrator.comparison.judging.effects import Shares
from orchestrator.comparison.judging.families import Families, families_of
from orchestrator.comparison.judging.policy import PolicyState, policy_of
from orchestrator.comparison.judging.tune import Tuned
from orchestrator.comparison.measuring.compared_runs import ComparedRun, RunResult
from orchestrator.comparison.measuring.evaluations import refusal_of
from orchestrator.comparison.measuring.groups import (
    SWEEP,
    Grouping,
    GroupResult,
    check_best,
    check_name,
    evaluated,
    group_result,
    group_runs,
)
from orchestrator.comparison.measuring.measures import Measure, PointChoice, Standing, goal_of, measure_run, reached
from orchestrator.comparison.questions import Question
from orchestrator.comparison.reporting.cautions import code_warnings, grouping_warnings, noise_warnings, unit_warnings
from orchestrator.comparison.reporting.extension import Extension, extension_of
from orchestrator.errors import UsageError
from orchestrator.export.metric_names import Axis, find_metric
from orchestrator.growth.standing import standing_lines, standing_of
from orchestrator.queue.code import MIXED
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.sweeps import DECIDE, PolicyRecord
from orchestrator.store import Store
from orchestrator.sweep.baseline import restricted
from orchestrator.sweep.options import value_text
from orchestrator.wording.numbers import counted

if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, kw_only=True)
class Look:
    """An earlier look at the same question, when (seconds since the epoch), and what was seen."""

    at: float
    seen: str


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The answer.

    Of the `runs`, `lent` ones are of other sweeps than `sweeps` (sweep, count): --skip_existing left them out.
    `contrasts` are of arms or groups; `undecided_arms` are the keys of all that take part in undecided ones.
    `policy` says how the sweep's policy stands; `rule` names its bound, where the verdicts on arms are the policy's.
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
    baseline: Mapping[str, Any]
    main_effects: Sequence[Contrast]
    interactions: Sequence[Contrast]
    shares: Shares | None
    contrasts: Sequence[Contrast]
    tune: str
    tuned: Sequence[Tuned]
    margin: float | None
    is_robust: bool
    policy: Sequence[str]
    rule: str
    undecided_arms: Sequence[str]
    earlier_looks: Sequence[Look]
    is_recorded: bool
    waiting: int
    extension: Extension | None
    warnings: Sequence[str]

    @property
    def all_contrasts(self) -> Sequence[Contrast]:
        """Those of every family, in the order in which they are shown."""
        return [*self.main_effects, *self.interactions, *self.contrasts]

    @property
    def has_verdicts(self) -> bool:
        """Whether anything is held against a baseline, so that reading it is a look."""
        return bool(self.all_contrasts or self.tuned)

    @property
    def is_new_look(self) -> bool:
        """Whether reading it is a look that is not written down yet."""
        return self.has_verdicts and not self.is_recorded

    def to_frame(self, table: str = "differences") -> "pandas.DataFrame":
        """The `differences` from the baseline, a row a contrast (`family` says of which table), or the `groups` with
        their means over seeds. Numbers are not rounded."""
        from orchestrator.comparison.reporting.frames import frame_of

        return frame_of(self, table)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from orchestrator.comparison.reporting.frames import html

        return html(self)


def compare(store: Store, wanted: RunFilter, question: Question) -> Comparison:
    """Answer `question` about the runs that `wanted` lets through. Nothing is written: see `record`. Raises UsageError
    or ExportError where no run matches, no run has the metric, or the runs can't be compared."""
    question = replace(question, by=tuple(question.by))  # a list would be another question
    by = list(dict.fromkeys(check_name(name) for name in question.by))
    tune = check_name(question.tune) if question.tune else ""
    check_margin(question.margin)
    measure = _measure(store, wanted, question)
    everything = _read(store, wanted, measure, question.target)
    results, left_out = _of_one_code(store, everything, allow_mixed_code=question.allow_mixed_code)
    runs = [result.run for result in results]
    sweeps = sorted(wanted.sweep_ids or {run.sweep_id for run in runs})
    unlike = _unlike(runs, sweeps, measure, question)
    _check_any_number(results, measure)
    check_best(runs, measure)
    by = [*by, tune] if by and tune and tune not in by else by
    # Numbers that mean different things stand in rows of their own.
    grouping = group_runs(results, by, apart=(SWEEP,) if unlike else ())
    is_whole = wanted.takes_whole_sweeps
    record = _policy(store, question, sweeps[0], measure) if is_whole and len(sweeps) == 1 else None
    races = record is not None and policy_of(record).best_arm
    policy = None if record is None or races else policy_of(record)
    margin = question.margin if policy is None else policy.margin
    asked = replace(
        question,
        goal=measure.goal,
        by=by,
        baseline=question.baseline if policy is None else restricted(policy.baseline, grouping.by),
        arms=question.arms or policy is not None,
        tune=tune,
        margin=margin,
    )
    design = design_of(store, sweeps)
    families = Families() if unlike else families_of(results, grouping, design, asked)
    if record is not None and policy is not None:
        families = replace(families, arms=declared(families.arms, policy, PolicyState.of(record)))
    contrasts = [*families.main_effects, *families.interactions, *families.arms]
    undecided = sorted({arm for one in contrasts if is_open(one) for arm in one.arms})
    text = _question_text(measure, grouping, families, question)
    has_verdicts = bool(contrasts or families.tuned)
    looks = _looks(store, sweeps[-1], text) if has_verdicts else []
    is_recorded = bool(looks) and looks[-1].seen == seen(contrasts, families.tuned)
    return Comparison(
        measure=measure.text,
        question=text,
        sweeps=sweeps,
        runs=len(results),
        lent=sorted(Counter(run.sweep_id for run in runs if run.sweep_id not in sweeps).items()),
        by=grouping.by,
        averaged_over=grouping.averaged_over,
        target=question.target,
        groups=[group_result(group, question.target) for group in grouping.groups],
        baseline=families.baseline,
        main_effects=families.main_effects,
        interactions=families.interactions,
        shares=families.shares,
        contrasts=families.arms,
        tune=tune,
        tuned=families.tuned,
        margin=margin,
        policy=[] if record is None else standing_lines(standing_of(store, record), with_arms=races),
        rule="" if policy is None else policy.rule,
        is_robust=question.robust,
        undecided_arms=undecided,
        earlier_looks=looks[:-1] if is_recorded else looks,
        is_recorded=is_recorded,
        waiting=sum(result.measured.standing is Standing.WAITING for result in results),
        # `hlbq extend --undecided` asks the usual question of one whole sweep.
        extension=extension_of(
            store, wanted, design, runs, contrasts, undecided, is_usual=is_whole and question == Question()
        ),
        warnings=[
            *([unlike] if unlike else []),
            *left_out,
            *families.warnings,
            *code_warnings(store, runs),
            *grouping_warnings(grouping, families.arms, families.baseline if families.arms else {}),
            *noise_warnings(() if question.robust else contrasts),
            *unit_warnings(store, runs, measure, timed=question.target is not None),
        ],
    )


def _policy(store: Store, question: Question, sweep_id: int, measure: Measure) -> PolicyRecord | None:
    """The policy of the sweep, if the question is the one that it answers: nothing else is named."""
    record = store.policy(sweep_id)
    if record is None or record.kind != DECIDE:
        return None
    policy = policy_of(record)
    usual = replace(question, metric="val_loss", margin=None, arms=False, effects=False) == Question()
    same = measure.metric.name == policy.metric and question.margin in (None, policy.margin)
    return record if usual and same else None


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


def record(store: Store, comparison: Comparison) -> Comparison:
    """Write the look down, unless it is there already; returns the comparison as a recorded one."""
    if not comparison.is_new_look:
        return comparison
    told = seen(comparison.all_contrasts, comparison.tuned)
    store.record_look(comparison.sweeps, f"{comparison.question}: {told}")
    return replace(comparison, is_recorded=True)


def seen(contrasts: Sequence[Contrast], tuned: Sequence[Tuned] = ()) -> str:
    """What the record of a look says: every verdict, with its pairs and difference."""
    found = [f"{one.label} {one.verdict} ({counted(one.seeds, 'seed')})" for one in tuned if one.verdict]
    return "; ".join([*map(_seen, contrasts), *found])


def _check_any_number(results: Sequence[RunResult], measure: Measure) -> None:
    standings = {result.measured.standing for result in results}
    if Standing.MEASURED in standings or standings <= {Standing.DIVERGED}:
        return
    reasons = sorted({result.measured.why for result in results})
    hint = (
        "hlbq status shows how far they are. hlbq compare takes running runs too: --at_step, --at_tokens, --at_seconds."
    )
    raise UsageError(f"no run has a number for '{measure.text}' ({'; '.join(reasons[:3])})", hint)


def _measure(store: Store, wanted: RunFilter, question: Question) -> Measure:
    metric = find_metric(store, wanted, question.metric)
    goal = question.goal or goal_of(metric)
    if question.target is not None and goal is None:
        hint = "--target needs to know: --goal higher or --goal lower."
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
        raise UsageError(f"nothing is left to compare: {told}", "Add --allow_mixed_code to compare them all the same.")
    return kept, [f"{told}; --allow_mixed_code takes them"]


def _question_text(measure: Measure, grouping: Grouping, families: Families, question: Question) -> str:
    against = ", ".join(f"{name} {value_text(value)}" for name, value in families.baseline.items())
    kinds = {
        "main effects": families.main_effects,
        "interactions": families.interactions,
        "arms": families.arms if families.main_effects else (),
        f"each at its best {question.tune}": families.tuned,
        f"margin {question.margin}": question.margin is not None,
        "by signs": question.robust,
    }
    told = "".join(f", {kind}" for kind, there in kinds.items() if there)
    return f"{measure.text} by {', '.join(grouping.by)}" + (f" against {against}" if against else "") + told


def _seen(contrast: Contrast) -> str:
    if contrast.wins is not None:
        seeds = counted(contrast.wins.seeds, "seed")
        return f"{contrast.label} {contrast.wins.verdict} ({contrast.wins.won} of {seeds})"
    mean = contrast.finding.difference.summary.mean
    difference = "" if mean is None else f", difference {mean:+.4g}"
    pairs = counted(len(contrast.pairs.differences), "pair")
    return f"{contrast.label} {contrast.finding.verdict} ({pairs}{difference})"


def _looks(store: Store, sweep_id: int, question: str) -> list[Look]:
    asked = f"{question}: "
    events = [event for event in store.looks(sweep_id) if event.why.startswith(asked)]
    return [Look(at=event.at, seen=event.why.removeprefix(asked)) for event in events]
