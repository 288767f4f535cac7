"""`--tune lr_mult`: is one group at its best value better than another at its best, whichever these are? Pure.

A group is better when some value of it beats every value of the baseline group, each pair by the always-valid test at
the evidence 20 K in that direction (K values of the setting). If the baseline's best value is as good as all of the
group's, then beating it takes one of K false rejections, so the error is at most 1/20 (Bonferroni over the group's
values; over the baseline's values it is an intersection-union test: Berger, 1982). No seed is set apart, and nothing
that was chosen is judged, so any look is allowed.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy
from numpy.typing import NDArray

from orchestrator.comparison.judging.contrasts import Verdict
from orchestrator.comparison.judging.running_evidence import running_evidence
from orchestrator.comparison.measuring.groups import Grouping
from orchestrator.comparison.measuring.measures import NO_RUN, Goal, Measured, Standing
from orchestrator.comparison.measuring.pairs import Side
from orchestrator.comparison.statistics import ALPHA, holm
from orchestrator.errors import UsageError
from orchestrator.sweep.arm_labels import arm_label
from orchestrator.sweep.options import value_text


@dataclass(frozen=True, kw_only=True)
class Tuned:
    """A group at its value of best mean, which its seeds chose (`seeds` of them), and whether it is better at its best
    than the baseline group; that has itself as `baseline`, no p-value and no verdict."""

    label: str
    value: Any
    mean: float | None
    seeds: int
    unusable: Sequence[Any]
    baseline: str
    p_value: float | None
    verdict: Verdict | None


def tuned_groups(
    grouping: Grouping, name: str, baseline: Mapping[str, Any], goal: Goal | None, size: int
) -> Sequence[Tuned]:
    """Every group of the same settings but `name`, at its best. `size` is how many groups have a baseline in the sweep.
    Raises UsageError where `name` has one value, there is one seed, one group, or no known goal."""
    values = list(dict.fromkeys(group.values[name] for group in grouping.groups)) if name in grouping.by else []
    seeds = sorted({seed for group in grouping.groups for seed in group.seeds})
    _check(name, values, seeds, goal)
    groups: dict[tuple[Any, ...], dict[Any, Side]] = {}
    rest = tuple(one for one in grouping.by if one != name)
    for group in grouping.groups:
        key = tuple(group.values[one] for one in rest)
        groups.setdefault(key, {})[group.values[name]] = Side.of(group, group.rests)
    against = {key: tuple(map(baseline.get, rest, key)) for key in groups}
    compared = [key for key, other in against.items() if other in groups and other != key]
    if not compared:
        hint = f"It compares groups that differ in other settings than {name}: sweep one of those too, or name another"
        raise UsageError(f"--tune {name}: there is one group, or none that has a baseline", f"{hint} --baseline.")
    sign = 1.0 if goal is Goal.LOWER else -1.0
    tables = {key: sign * _table(own, values, seeds) for key, own in groups.items()}
    usable = {key: [_is_usable(own.get(value)) for value in values] for key, own in groups.items()}
    kept = {key: table[usable[key]] for key, table in tables.items()}
    found = [_p_values(kept[key], kept[against[key]]) for key in compared]
    judged = dict(zip(compared, _corrected(found, len(values), size), strict=True))
    tuned = []
    for key, other in against.items():
        best, mean, count = _best(tables[key], usable[key])
        p_value, verdict = judged.get(key, (None, None))
        tuned.append(
            Tuned(
                label=arm_label(dict(zip(rest, key, strict=True)), rest),
                value=values[best] if count else None,
                mean=sign * mean if count else None,
                seeds=count,
                unusable=[value for value, fine in zip(values, usable[key], strict=True) if not fine],
                baseline=arm_label(dict(zip(rest, other, strict=True)), rest),
                p_value=p_value,
                verdict=verdict,
            )
        )
    return tuned


def _check(name: str, values: Sequence[Any], seeds: Sequence[int], goal: Goal | None) -> None:
    if len(values) < 2:
        only = f"the one value {value_text(values[0])}" if values else "one value"
        hint = f"Sweep several values of {name}, or leave --tune out."
        raise UsageError(f"--tune {name}: these runs have {only} of it", hint)
    if len(seeds) < 2:
        raise UsageError(
            f"--tune {name}: there is one seed ({', '.join(map(str, seeds))}), and a choice by one seed is luck",
            "Add seeds: hlbq extend SWEEP --num_runs 5",
        )
    if goal is None:
        what = "is higher or lower better? --tune must know"
        raise UsageError(what, "Add --goal higher or --goal lower.")


def _table(sides: Mapping[Any, Side], values: Sequence[Any], seeds: Sequence[int]) -> NDArray[Any]:
    """The numbers (values, seeds), nan where there is none."""

    def number(found: Measured) -> float:
        return numpy.inf if found.standing is Standing.DIVERGED else numpy.nan if found.value is None else found.value

    numbers = [sides[value].numbers if value in sides else {} for value in values]
    return numpy.array([[number(own.get(seed, NO_RUN)) for seed in seeds] for own in numbers])


def _is_usable(side: Side | None) -> bool:
    """Whether a value is there, with anything but diverged: else it is no best value, and not one to beat."""
    return side is not None and any(one.standing is not Standing.DIVERGED for one in side.numbers.values())


def best_against_best(own: NDArray[Any], baseline: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    """For lower-is-better numbers (..., values, seeds), nan where missing and infinite where diverged: the p-values,
    for one value of the setting and one group, that some value of `own` beats all of `baseline`, and the other way
    round."""
    first, second = own[..., :, None, :], baseline[..., None, :, :]
    are_pairs = numpy.isfinite(first) & numpy.isfinite(second)
    found = running_evidence(numpy.subtract(first, second, out=numpy.full(are_pairs.shape, numpy.nan), where=are_pairs))
    mean, p = found.mean[..., -1], numpy.exp(-numpy.maximum(found.log_evidence[..., -1], 0.0))
    # Over the seeds that are left, a value that diverged more often may look better for that.
    own_alone, other_alone = (numpy.isinf(a) & numpy.isfinite(b) for a, b in ((first, second), (second, first)))
    more = own_alone.sum(axis=-1) - other_alone.sum(axis=-1)
    better = numpy.where((mean < 0) & (more <= 0), p, 1.0).max(axis=-1).min(axis=-1)
    worse = numpy.where((mean > 0) & (more >= 0), p, 1.0).max(axis=-2).min(axis=-1)
    return better, worse


def _p_values(own: NDArray[Any], baseline: NDArray[Any]) -> tuple[float, float]:
    """As `best_against_best`; 1 where a group has no usable value."""
    if not (len(own) and len(baseline)):
        return 1.0, 1.0
    better, worse = best_against_best(own, baseline)
    return float(better), float(worse)


def _corrected(found: Sequence[tuple[float, float]], values: int, size: int) -> list[tuple[float, Verdict]]:
    """Each group's p-value, times the number of values and corrected by Holm over `size` groups, and its verdict."""
    smaller = [min(1.0, values * min(both)) for both in found]
    corrected = holm(numpy.array(smaller + [1.0] * max(0, size - len(found))))
    verdicts = []
    for (better, worse), p in zip(found, corrected, strict=False):
        leaning = Verdict.BETTER if better < worse else Verdict.WORSE
        verdicts.append((float(p), leaning if p <= ALPHA else Verdict.UNDECIDED))
    return verdicts


def _best(table: NDArray[Any], usable: Sequence[bool]) -> tuple[int, float, int]:
    """The place of the usable value with the lowest mean, of those that diverged least often (over the seeds that came
    through, the others may look better only for that), that mean, and over how many seeds it is."""
    finite, diverged = numpy.isfinite(table), numpy.isinf(table).sum(axis=1)
    counts = finite.sum(axis=1)
    means = numpy.where(finite, table, 0.0).sum(axis=1) / numpy.maximum(counts, 1)
    is_candidate = usable & (counts > 0)
    is_candidate &= diverged == diverged.min(initial=table.shape[1], where=is_candidate)
    best = int(numpy.where(is_candidate, means, numpy.inf).argmin())
    return best, float(means[best]), int(counts[best])
