"""The families of tests that a comparison consists of, each corrected for its own size by Holm.

main effects, interactions (a factorial sweep); arms; groups at their best value of a setting (--tune)

A family's size is fixed by the sweep's definition (design.py): filters do not shrink it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.comparison.design import Design
from orchestrator.comparison.judging import effects
from orchestrator.comparison.judging.contrasts import Contrast, against_baseline, check_baseline, judged
from orchestrator.comparison.judging.tune import Tuned, tuned_groups
from orchestrator.comparison.measuring.compared_runs import RunResult
from orchestrator.comparison.measuring.groups import Grouping, group_runs
from orchestrator.comparison.measuring.pairs import Side
from orchestrator.comparison.questions import Question
from orchestrator.errors import UsageError
from orchestrator.sweep.options import value_text
from orchestrator.wording.numbers import counted

_INCOMPLETE = "some arms are missing: main effects leave out the arms that have no counterpart at the baseline"


@dataclass(frozen=True, kw_only=True)
class Families:
    """The answers, and against which values."""

    baseline: Mapping[str, Any] = field(default_factory=dict)
    main_effects: Sequence[Contrast] = ()
    interactions: Sequence[Contrast] = ()
    shares: effects.Shares | None = None
    arms: Sequence[Contrast] = ()
    tuned: Sequence[Tuned] = ()
    warnings: Sequence[str] = ()

    @property
    def contrasts(self) -> Sequence[Contrast]:
        """Those of every family, in the order in which they are shown."""
        return [*self.main_effects, *self.interactions, *self.arms]


def families_of(results: Sequence[RunResult], grouping: Grouping, design: Design, asked: Question) -> Families:
    """The families that are asked for, with the goal set: of a factorial sweep main effects, else the arms. Raises
    UsageError for what the sweep can't answer, with what to do instead."""
    check_baseline(grouping, asked.baseline or {})
    if asked.tune:
        if asked.arms or asked.effects or asked.robust or asked.margin is not None:
            raise UsageError("--tune asks a separate question", "Leave --arms, --effects, --margin and --robust out.")
        return _tuned(grouping, design, asked)
    if asked.effects:
        _check_factorial(design, asked)
    if asked.by or design.why_not_factorial:
        return _arms(grouping, design, asked)
    of_factors = _effects(results, grouping, design, asked)
    if not asked.arms:
        return of_factors
    arms = _arms(grouping, design, asked)
    warnings = [*of_factors.warnings, *arms.warnings]
    return replace(of_factors, baseline=arms.baseline, arms=arms.arms, warnings=warnings)


def _check_factorial(design: Design, asked: Question) -> None:
    if asked.by:
        raise UsageError("--effects and --by are two ways to group", "Leave one of them out.")
    if design.why_not_factorial:
        sweep = f" --sweep {design.sweeps[0]}" if len(design.sweeps) == 1 else ""
        raise UsageError(
            f"--effects: {design.why_not_factorial}",
            f"hlbq compare{sweep} holds each arm against the baseline. An interaction needs every value of a setting "
            "with every value of another: hlbq submit --lr_mult 1 2 --num_heads 1 2",
        )


def _baseline(grouping: Grouping, design: Design, asked: Question) -> Mapping[str, Any]:
    return asked.baseline or {name: value for name, value in design.baseline.items() if name in grouping.by}


def _arms(grouping: Grouping, design: Design, asked: Question) -> Families:
    baseline = _baseline(grouping, design, asked)
    if not baseline:
        return Families()
    try:
        comparands = against_baseline(grouping, baseline)
    except UsageError:
        if asked.baseline:
            raise
        where = ", ".join(f"{name} {value_text(value)}" for name, value in baseline.items())
        warning = f"no differences from the sweep's baseline: no run here has {where}. Name another one: --baseline"
        return Families(warnings=[warning])
    size = design.contrasts(asked.by, asked.baseline or design.baseline)
    return Families(baseline=baseline, arms=judged(comparands, asked, size))


def _effects(results: Sequence[RunResult], grouping: Grouping, design: Design, asked: Question) -> Families:
    factors = design.factors(asked.baseline or {})
    whole = grouping if set(design.names) <= set(grouping.by) else group_runs(results, design.names)
    cells = {effects.cell_of(group.values, factors): Side.of(group, group.rests) for group in whole.groups}
    main = effects.main_effects(cells, factors)
    crossed = effects.interactions(cells, factors) if asked.effects else []
    alone = effects.without_counterpart(cells, factors)
    missing = "; ".join(f"{counted(number, 'arm')} of {label}" for label, number in alone.items())
    # Neither sign of an interaction is the better one.
    signed = asked if asked.robust else replace(asked, goal=None)
    levels = {name: value for factor in factors for name, value in zip(factor.names, factor.baseline, strict=True)}
    return Families(
        baseline=levels,
        main_effects=judged(main, asked, design.effects(factors, 1)) if main else (),
        interactions=judged(crossed, signed, design.effects(factors, 2)) if crossed else (),
        shares=effects.shares_of(cells, factors),
        warnings=[f"{_INCOMPLETE}: {missing}"] if missing else [],
    )


def _tuned(grouping: Grouping, design: Design, asked: Question) -> Families:
    baseline = {name: value for name, value in _baseline(grouping, design, asked).items() if name != asked.tune}
    size = design.contrasts(asked.by, baseline, but=asked.tune)
    tuned = tuned_groups(grouping, asked.tune, baseline, asked.goal, size)
    return Families(baseline=baseline, tuned=tuned)
