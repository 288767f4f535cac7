"""Each group against its baseline, seed by seed, and the verdict in a word. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from orchestrator.comparison.groups import Group, Grouping
from orchestrator.comparison.measures import Goal, Standing
from orchestrator.comparison.statistics import (
    ALPHA,
    PairedDifference,
    fewest_pairs,
    further_pairs,
    holm,
    paired_difference,
)
from orchestrator.errors import UsageError
from orchestrator.sweep.options import value_text

# Where no deviation is known yet, so many pairs are asked for: enough to decide an effect of 3 deviations.
PAIRS_TO_BEGIN_WITH = 5


class Verdict(StrEnum):
    """What can be said of a group against its baseline. Higher and lower are of metrics without a known goal."""

    BETTER = "better"
    WORSE = "worse"
    HIGHER = "higher"
    LOWER = "lower"
    UNDECIDED = "undecided"


@dataclass(frozen=True, kw_only=True)
class LostPair:
    """A seed that is no pair, and why; `standing` is of the side that is told of in `why`."""

    seed: int
    standing: Standing
    why: str


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """The differences (group minus baseline) over common seeds, and the seeds that gave none."""

    differences: Mapping[int, float]
    lost: Sequence[LostPair]
    diverged: int
    baseline_diverged: int

    @property
    def lost_to_divergence(self) -> bool:
        """Whether one side diverged at so many more seeds that not even two pairs are left: seeds do not mend that."""
        return len(self.differences) < 2 and not self.waiting and self.diverged != self.baseline_diverged

    @property
    def waiting(self) -> int:
        """Seeds that may become pairs yet."""
        return sum(lost.standing is Standing.WAITING for lost in self.lost)


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What the pairs of one contrast say. p-values are Holm-corrected over all contrasts of the comparison.

    `held_back` is the verdict that the pairs speak for and diverged runs forbid. `further_seeds` is set for an
    undecided one, unless divergence stands in the way or more seeds would be needed than anybody trains.
    """

    difference: PairedDifference
    p_value: float | None
    always_valid_p_value: float | None
    verdict: Verdict
    held_back: Verdict | None
    further_seeds: int | None


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """A group against its baseline."""

    values: Mapping[str, Any]
    label: str
    baseline: str
    pairs: Pairs
    finding: Finding


def contrasts_of(grouping: Grouping, baseline: Mapping[str, Any], goal: Goal | None) -> Sequence[Contrast]:
    """Every group that is no baseline, against the one that has the values `baseline` and is like it otherwise.

    Raises UsageError where the baseline names what the groups are not told apart by, or a value that none has.
    """
    check_baseline(grouping, baseline)
    matched = [(group, _baseline_of(group, grouping.groups, baseline)) for group in grouping.groups]
    both = [(group, other) for group, other in matched if other is not None and other is not group]
    if not both:
        raise UsageError("there is nothing to compare with the baseline", "Choose more runs, or another --by.")
    pairs = [pair_up(group, other) for group, other in both]
    return [
        Contrast(values=group.values, label=group.label, baseline=other.label, pairs=own, finding=finding)
        for (group, other), own, finding in zip(both, pairs, findings(pairs, goal), strict=True)
    ]


def check_baseline(grouping: Grouping, baseline: Mapping[str, Any]) -> None:
    """Raise UsageError for a baseline that no group is."""
    for name, value in baseline.items():
        if name not in grouping.by:
            told = ", ".join(grouping.by) or "nothing: there is one arm"
            raise UsageError(
                f"--baseline {name}={value_text(value)}: the groups differ in {told}",
                f"Add --by {name}, or leave it out.",
            )
        present = list(dict.fromkeys(group.values[name] for group in grouping.groups))
        if value not in present:
            shown = ", ".join(value_text(one) for one in present if one is not None)
            raise UsageError(f"--baseline {name}={value_text(value)}: no run has that", f"There are {name}: {shown}")


def _baseline_of(group: Group, groups: Sequence[Group], baseline: Mapping[str, Any]) -> Group | None:
    wanted = {**group.values, **baseline}
    return next((other for other in groups if other.values == wanted), None)


def pair_up(group: Group, baseline: Group) -> Pairs:
    """The pairs of two groups: the seeds that both have, over the arms that both have.

    A seed of one side alone is named as lost too, and so is one with a diverged run: it counts on both sides.
    """
    rests = group.rests & baseline.rests
    differences: dict[int, float] = {}
    lost: list[LostPair] = []
    diverged = baseline_diverged = 0
    for seed in sorted({*group.cells, *baseline.cells}):
        own, other = group.of_seed(seed, rests), baseline.of_seed(seed, rests)
        diverged += own.standing is Standing.DIVERGED
        baseline_diverged += other.standing is Standing.DIVERGED
        if own.value is not None and other.value is not None:
            differences[seed] = own.value - other.value
            continue
        # The side that keeps the pair from ever being one is the one to tell of.
        whole = (own.standing, own.why, group.label), (other.standing, other.why, baseline.label)
        gravest = min(whole, key=lambda side: _GRAVITY.index(side[0]))
        lost.append(LostPair(seed=seed, standing=gravest[0], why=f"{gravest[2]}: {gravest[1]}"))
    return Pairs(differences=differences, lost=lost, diverged=diverged, baseline_diverged=baseline_diverged)


_GRAVITY = (Standing.DIVERGED, Standing.MISSING, Standing.WAITING, Standing.MEASURED)


def findings(family: Sequence[Pairs], goal: Goal | None) -> Sequence[Finding]:
    """What each of the contrasts says, p-values corrected for their number."""
    import numpy

    differences = [paired_difference(tuple(pairs.differences.values())) for pairs in family]
    # A contrast without enough pairs still counts as one of the family.
    once = holm(numpy.array([1.0 if one.p_value is None else one.p_value for one in differences]))
    always = holm(
        numpy.array([1.0 if one.always_valid_p_value is None else one.always_valid_p_value for one in differences])
    )
    # Holm's level for the next of the undecided ones.
    level = ALPHA / max(1, int((always > ALPHA).sum()))
    return [
        _finding(pairs, difference, (float(p), float(q)), level, goal)
        for pairs, difference, p, q in zip(family, differences, once, always, strict=True)
    ]


def _finding(
    pairs: Pairs, difference: PairedDifference, p_values: tuple[float, float], level: float, goal: Goal | None
) -> Finding:
    known = difference.p_value is not None
    leaning = _leaning(difference, goal) if known else Verdict.UNDECIDED
    is_forbidden = _diverged_more(leaning, pairs, goal)
    verdict = leaning if p_values[1] <= ALPHA and not is_forbidden else Verdict.UNDECIDED
    is_open = verdict is Verdict.UNDECIDED and not is_forbidden and not pairs.lost_to_divergence
    return Finding(
        difference=difference,
        p_value=p_values[0] if known else None,
        always_valid_p_value=p_values[1] if known else None,
        verdict=verdict,
        held_back=leaning if is_forbidden else None,
        further_seeds=further_seeds(difference, level) if is_open else None,
    )


def _leaning(difference: PairedDifference, goal: Goal | None) -> Verdict:
    """The verdict that the mean difference speaks for, sure or not."""
    if not difference.summary.mean:
        return Verdict.UNDECIDED
    is_lower = difference.summary.mean < 0
    if goal is None:
        return Verdict.LOWER if is_lower else Verdict.HIGHER
    return Verdict.BETTER if is_lower is (goal is Goal.LOWER) else Verdict.WORSE


def _diverged_more(leaning: Verdict, pairs: Pairs, goal: Goal | None) -> bool:
    """Whether the side that looks better diverged more often: over the pairs that are left it may look so for that.

    Without a goal neither side is the better one, and any difference counts.
    """
    if leaning is Verdict.UNDECIDED or pairs.diverged == pairs.baseline_diverged:
        return False
    return goal is None or (pairs.diverged > pairs.baseline_diverged) is (leaning is Verdict.BETTER)


def further_seeds(difference: PairedDifference, level: float) -> int | None:
    """How many more seeds would likely decide it; None where that is more than anybody trains."""
    count = difference.summary.count
    if count < 2:
        return max(PAIRS_TO_BEGIN_WITH, fewest_pairs(level)) - count
    return further_pairs(difference.summary, level)
