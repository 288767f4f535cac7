"""The whole answer of `hlbq compare`, read from the store. The fields of Comparison are the keys of `--json`."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from orchestrator.comparison.design import Design, design_of
from orchestrator.comparison.judging.contrasts import Contrast, check_margin, is_open
from orchestrator.comparison.judging.declared import declared
from orchestrator.comparison.judging.effects import Shares
from orchestrator.comparison.judging.families import Families, families_of
from orchestrator.comparison.judging.policy import DecidePolicy, PolicyState, policy_of
from orchestrator.comparison.judging.tune import Tuned
from orchestrator.comparison.measuring.groups import (
    SWEEP,
    Grouping,
    GroupResult,
    check_name,
    group_result,
    group_runs,
)
from orchestrator.comparison.measuring.measures import Measure
from orchestrator.comparison.measuring.reading import ReadResults, results_for
from orchestrator.comparison.questions import Question
from orchestrator.comparison.reporting.cautions import code_warnings, grouping_warnings, noise_warnings, unit_warnings
from orchestrator.comparison.reporting.extension import Extension, extension_of
from orchestrator.errors import DatabaseError
from orchestrator.growth.standing import standing_lines, standing_of
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.sweeps import DECIDE, PolicyRecord
from orchestrator.store import Store
from orchestrator.sweep.baseline import restricted, with_zipped
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
    def families(self) -> Mapping[str, Sequence[Contrast]]:
        """The contrasts by what they are called, in the order in which they are shown."""
        return {"main effect": self.main_effects, "interaction": self.interactions, "arm": self.contrasts}

    @property
    def all_contrasts(self) -> Sequence[Contrast]:
        """Those of every family."""
        return [contrast for own in self.families.values() for contrast in own]

    @property
    def has_verdicts(self) -> bool:
        """Whether anything is held against a baseline, so that reading it is a look."""
        return bool(self.all_contrasts or self.tuned)

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
    """Answer `question` about the runs that `wanted` lets through. Nothing is written: see `recorded`.

    Raises UsageError or ExportError where no run matches, no run has the metric, or the runs can't be compared.
    """
    question = replace(question, by=tuple(question.by))  # a list would be another question
    by = list(dict.fromkeys(check_name(name) for name in question.by))
    tune = check_name(question.tune) if question.tune else ""
    check_margin(question.margin)
    found = results_for(store, wanted, question)
    by = [*by, tune] if by and tune and tune not in by else by
    # Numbers that mean different things stand in rows of their own.
    grouping = group_runs(found.results, by, apart=(SWEEP,) if found.unlike else ())
    is_whole = wanted.takes_whole_sweeps
    design = design_of(store, found.sweeps)
    if question.baseline is not None:
        whole = with_zipped(question.baseline, design.arms, design.shape.zips)
        question = replace(question, baseline=restricted(whole, [*question.baseline, *grouping.by]))
    record = _policy(store, question, found, design, grouping) if is_whole else None
    races = record is not None and policy_of(record).best_arm
    policy = None if record is None or races else policy_of(record)
    asked = _as_asked(replace(question, by=by, tune=tune, goal=found.measure.goal), policy, grouping)
    families = Families() if found.unlike else families_of(found.results, grouping, design, asked)
    if record is not None and policy is not None:
        state, first_seed = PolicyState.of(record), design.first_seed or 0
        families = replace(families, arms=declared(families.arms, policy, state, first_seed=first_seed))
    contrasts = families.contrasts
    undecided = sorted({arm for one in contrasts if is_open(one) for arm in one.arms})
    text = _question_text(found.measure, grouping, families, question)
    looks = _looks(store, found.sweeps[-1], text) if contrasts or families.tuned else []
    is_recorded = bool(looks) and looks[-1].seen == seen(contrasts, families.tuned)
    # `hlbq extend --undecided` asks the usual question of one whole sweep.
    is_usual = is_whole and question == Question()
    return Comparison(
        measure=found.measure.text,
        question=text,
        sweeps=found.sweeps,
        runs=len(found.results),
        lent=found.lent,
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
        margin=asked.margin,
        policy=[] if record is None else _policy_lines(store, record, with_arms=races),
        rule="" if policy is None else policy.rule,
        is_robust=question.robust,
        undecided_arms=undecided,
        earlier_looks=looks[:-1] if is_recorded else looks,
        is_recorded=is_recorded,
        waiting=found.waiting,
        extension=extension_of(store, wanted, design, found.runs, contrasts, undecided, is_usual=is_usual),
        warnings=_warnings(store, question, found, grouping, families),
    )


def _policy_lines(store: Store, record: PolicyRecord, *, with_arms: bool) -> list[str]:
    standing, option = standing_of(store, record), store.location.option
    return standing_lines(standing, with_arms=with_arms, with_codes=False, database_option=option)


def _as_asked(question: Question, policy: DecidePolicy | None, grouping: Grouping) -> Question:
    """The question, as the sweep's policy asks it where that answers."""
    if policy is None:
        return question
    return replace(question, baseline=restricted(policy.baseline, grouping.by), arms=True, margin=policy.margin)


def _warnings(
    store: Store, question: Question, found: ReadResults, grouping: Grouping, families: Families
) -> list[str]:
    runs = [result.run for group in grouping.groups for result in group.results]  # without repeated ones
    return [
        *([found.unlike] if found.unlike else []),
        *found.left_out,
        *families.warnings,
        *code_warnings(store, runs),
        *grouping_warnings(grouping, families.arms, families.baseline if families.arms else {}),
        *noise_warnings(() if question.robust else families.contrasts),
        *unit_warnings(store, runs, found.measure, timed=question.target is not None),
    ]


def _policy(
    store: Store, question: Question, found: ReadResults, design: Design, grouping: Grouping
) -> PolicyRecord | None:
    """The policy of the one sweep, if the question is the one that it answers: it names no other baseline, say."""
    record = store.policy(found.sweeps[0]) if len(found.sweeps) == 1 else None
    if record is None or record.kind != DECIDE:
        return None
    policy = policy_of(record)
    its_own = {} if policy.best_arm else restricted(policy.baseline or design.baseline, grouping.by)
    baseline = None if question.baseline == its_own else question.baseline
    usual = replace(question, metric="val_loss", margin=None, arms=False, effects=False, baseline=baseline)
    same = found.measure.metric.name == policy.metric and question.margin in (None, policy.margin)
    return record if usual == Question() and same else None


def recorded(comparison: Comparison, open_to_write: Callable[[], Store], warn: Callable[[str], object]) -> Comparison:
    """The comparison, with its verdicts written down as a look; a database that can only be read is compared all
    the same."""
    if comparison.is_recorded or not comparison.has_verdicts:
        return comparison
    told = seen(comparison.all_contrasts, comparison.tuned)
    try:
        with open_to_write() as store:
            store.record_look(comparison.sweeps, f"{comparison.question}: {told}")
    except DatabaseError as error:
        warn(f"this look was not recorded (the verdict does not depend on it): {error.message}")
        return comparison
    return replace(comparison, is_recorded=True)


def seen(contrasts: Sequence[Contrast], tuned: Sequence[Tuned] = ()) -> str:
    """What the record of a look says: every verdict, with its pairs and difference."""
    found = [f"{one.label} {one.verdict} ({counted(one.seeds, 'seed')})" for one in tuned if one.verdict]
    return "; ".join([*map(_seen, contrasts), *found])


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
