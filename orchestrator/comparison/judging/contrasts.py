"""Each side against its baseline, seed by seed, and the verdict in a word. Pure."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from orchestrator.comparison.judging.advice import Advice, advise
from orchestrator.comparison.judging.robust import Wins, WinVerdict, judge_wins
from orchestrator.comparison.measuring.groups import Grouping
from orchestrator.comparison.measuring.measures import Goal
from orchestrator.comparison.measuring.pairs import Pairs, Side, pair_up
from orchestrator.comparison.questions import Question
from orchestrator.comparison.statistics import ALPHA, PairedDifference, holm, paired_difference
from orchestrator.errors import UsageError
from orchestrator.sweep.options import value_text


class Verdict(StrEnum):
    """What can be said of one side against its baseline. Higher and lower are of metrics without a known goal."""

    BETTER = "better"
    WORSE = "worse"
    HIGHER = "higher"
    LOWER = "lower"
    NO_DIFFERENCE = "no difference"
    IDENTICAL = "identical"
    UNDECIDED = "undecided"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the pairs of one contrast say. p-values are Holm-corrected over the contrast's family.

    `is_within_margin` says that the always-valid interval lies within the margin asked for. `held_back` is the verdict
    that the pairs speak for and diverged runs forbid. `advice` is set for an undecided one that more seeds may decide.
    """

    difference: PairedDifference
    p_value: float | None
    always_valid_p_value: float | None
    verdict: Verdict
    is_within_margin: bool
    held_back: Verdict | None
    advice: Advice | None


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """One side against its baseline.

    `wins` is what signs alone say, where that was asked. `arms` are the keys of all arms that it reads, and
    `seconds_a_seed` is what one more seed of all of them takes on one device; None where that is not known. `declared`
    is what the sweep's policy says of the arm.
    """

    values: Mapping[str, Any]
    label: str
    baseline: str
    pairs: Pairs
    finding: Finding
    wins: Wins | None
    arms: Sequence[str]
    seconds_a_seed: float | None
    declared: str = ""


@dataclass(frozen=True, kw_only=True)
class Comparands:
    """The two sides of a contrast before they are judged; `scale` as in `pair_up`."""

    values: Mapping[str, Any]
    label: str
    baseline_label: str
    own: Sequence[Side]
    baseline: Sequence[Side]
    scale: float = 1.0


def is_open(contrast: Contrast) -> bool:
    """Whether more seeds may still decide it."""
    if contrast.wins is not None:
        return contrast.wins.verdict is WinVerdict.UNDECIDED
    return contrast.finding.advice is not None


def check_margin(margin: float | None) -> None:
    """Raise UsageError for a margin that is none."""
    if margin is not None and not 0 < margin < math.inf:
        hint = "It is the largest difference that would not matter, in the metric's unit: --margin 0.01"
        raise UsageError(f"--margin {margin:g}: the margin is a difference above 0", hint)


def judged(family: Sequence[Comparands], asked: Question, size: int) -> Sequence[Contrast]:
    """The contrasts of a family that has `size` members, of which some may not be here: by the goal, the margin, and
    signs alone, as asked."""
    pairs = [pair_up(one.own, one.baseline, scale=one.scale) for one in family]
    found = findings(pairs, asked.goal, size=size, margin=asked.margin)
    wins = judge_wins(pairs, asked.goal, size=size) if asked.robust else [None] * len(pairs)
    return [
        Contrast(
            values=one.values,
            label=one.label,
            baseline=one.baseline_label,
            pairs=own,
            finding=finding,
            wins=won,
            arms=sorted(frozenset().union(*(side.arms for side in (*one.own, *one.baseline)))),
            seconds_a_seed=_seconds_a_seed((*one.own, *one.baseline)),
        )
        for one, own, finding, won in zip(family, pairs, found, wins, strict=True)
    ]


def _seconds_a_seed(sides: Sequence[Side]) -> float | None:
    known = [side.seconds for side in sides if side.seconds is not None]
    return sum(known) if len(known) == len(sides) else None


def against_baseline(grouping: Grouping, baseline: Mapping[str, Any]) -> Sequence[Comparands]:
    """Every group that is no baseline, against the one that has the values `baseline` and is like it otherwise, over
    the arms that both have. Raises UsageError where there is none."""
    by_values = {tuple(group.values.values()): group for group in grouping.groups}
    found = []
    for group in grouping.groups:
        other = by_values.get(tuple({**group.values, **baseline}.values()))
        common = frozenset() if other is None else group.rests & other.rests
        if other is None or other is group or not common:
            continue
        own, beside = (Side.of(one, common) for one in (group, other))
        found.append(
            Comparands(values=group.values, label=group.label, baseline_label=other.label, own=[own], baseline=[beside])
        )
    if not found:
        raise UsageError("there is nothing to compare with the baseline", "Choose more runs, or another --by.")
    return found


def check_baseline(grouping: Grouping, baseline: Mapping[str, Any]) -> None:
    """Raise UsageError for a baseline that no group is."""
    for name, value in baseline.items():
        if name not in grouping.by:
            told = ", ".join(grouping.by) or "nothing: there is one arm"
            differ = f"--baseline {name}={value_text(value)}: the groups differ in {told}"
            raise UsageError(differ, f"Add --by {name}, or leave it out.")
        present = list(dict.fromkeys(group.values[name] for group in grouping.groups))
        if value not in present:
            shown = ", ".join(value_text(one) for one in present if one is not None)
            raise UsageError(f"--baseline {name}={value_text(value)}: no run has that", f"There are {name}: {shown}")


def findings(
    family: Sequence[Pairs], goal: Goal | None, *, size: int = 0, margin: float | None = None
) -> Sequence[Finding]:
    """What each of the contrasts says, p-values corrected for the `size` of their family, these at least."""
    import numpy

    differences = [paired_difference(tuple(pairs.differences.values())) for pairs in family]
    # A contrast without enough pairs still counts as one of the family, and so does one that filters hide.
    hidden = [None] * (size - len(family))
    once, always = (
        holm(numpy.array([1.0 if p is None else p for p in (*p_values, *hidden)]))
        for p_values in zip(*((one.p_value, one.always_valid_p_value) for one in differences), strict=True)
    )
    # Holm's level for the next of the undecided ones.
    level = ALPHA / max(1, int((always > ALPHA).sum()))
    return [
        _finding(pairs, difference, (float(p), float(q)), level, goal, margin)
        for pairs, difference, p, q in zip(family, differences, once, always, strict=False)
    ]


def _finding(
    pairs: Pairs,
    difference: PairedDifference,
    p_values: tuple[float, float],
    level: float,
    goal: Goal | None,
    margin: float | None,
) -> Finding:
    known, interval = difference.p_value is not None, difference.always_valid_interval
    verdict = leaning = leaning_of(difference.summary.mean, goal) if known else Verdict.UNDECIDED
    # Both one-sided always-valid tests reject a difference of the margin or more (Schuirmann, 1987).
    is_within = margin is not None and interval is not None and -margin <= interval.low and interval.high <= margin
    if pairs.are_identical:
        leaning, verdict = Verdict.UNDECIDED, Verdict.IDENTICAL
    elif p_values[1] > ALPHA:
        verdict = Verdict.NO_DIFFERENCE if is_within else Verdict.UNDECIDED
    more = pairs.diverged - pairs.baseline_diverged
    held_back = next((one for one in (verdict, leaning) if is_forbidden(one, more, goal)), None)
    if held_back is not None:
        verdict = Verdict.UNDECIDED
    is_stuck = pairs.lost_to_divergence or pairs.out_of_reach
    is_open = verdict is Verdict.UNDECIDED and held_back is None and not is_stuck
    diverged = pairs.diverged_alone + pairs.baseline_diverged_alone + pairs.both_diverged
    return Finding(
        difference=difference,
        p_value=p_values[0] if known else None,
        always_valid_p_value=p_values[1] if known else None,
        verdict=verdict,
        is_within_margin=is_within and not is_forbidden(Verdict.NO_DIFFERENCE, more, goal),
        held_back=held_back,
        advice=advise(difference.summary, level, margin, diverged=diverged) if is_open else None,
    )


def leaning_of(mean: float | None, goal: Goal | None) -> Verdict:
    """The verdict that a mean difference speaks for, sure or not."""
    if not mean:
        return Verdict.UNDECIDED
    is_lower = mean < 0
    if goal is None:
        return Verdict.LOWER if is_lower else Verdict.HIGHER
    return Verdict.BETTER if is_lower is (goal is Goal.LOWER) else Verdict.WORSE


def is_forbidden(verdict: Verdict, more: int, goal: Goal | None) -> bool:
    """Whether diverged runs forbid a verdict: one for the side that diverged more often, which may look better over the
    pairs that are left only for that, and that there is no difference.

    `more` is at how many more seeds the side diverged than its baseline. Without a goal neither side is the better one,
    and any difference counts.
    """
    if not more or verdict in (Verdict.UNDECIDED, Verdict.IDENTICAL):
        return False
    return goal is None or verdict is Verdict.NO_DIFFERENCE or (more > 0) is (verdict is Verdict.BETTER)
