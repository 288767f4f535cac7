"""Factorial sweeps: main effects, two-way interactions, and shares of the variance between arms. Pure.

A cell is an arm, by its level of every factor. Cells are chosen before any number is seen: those that have the
counterparts that a contrast needs. A seed counts when all of them have a number (pairs.py), so a mean over cells never
changes its weights.
"""

import itertools
import math
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.comparison.judging.contrasts import Comparands
from orchestrator.comparison.measuring.pairs import Side
from orchestrator.sweep.arm_labels import arm_label
from orchestrator.sweep.options import value_text

Level = tuple[Any, ...]
Cell = tuple[Level, ...]


@dataclass(frozen=True, kw_only=True)
class Factor:
    """Settings that change together (one, or some that are zipped), their levels in order, and the baseline's level."""

    names: tuple[str, ...]
    levels: Sequence[Level]
    baseline: Level

    @property
    def label(self) -> str:
        """`depth`, `depth and width`."""
        return " and ".join(self.names)

    def level_label(self, level: Level) -> str:
        """`depth 4`."""
        return arm_label(dict(zip(self.names, level, strict=True)), self.names)


@dataclass(frozen=True, kw_only=True)
class Shares:
    """Shares of the sum of squares between arms, over `seeds` that all arms have; what is left is noise and what three
    factors do together."""

    of: Mapping[str, float]
    seeds: int


def factors_of(arms: Sequence[Mapping[str, Any]], names: Sequence[str], baseline: Mapping[str, Any]) -> list[Factor]:
    """The factors of arms that differ in `names`: settings that determine each other are one factor. A baseline that
    names only some of a factor's settings means the first level that has them."""
    groups: dict[str, list[str]] = {}
    for name in names:
        partner = next((one for one in groups if _determine_each_other(arms, one, name)), name)
        groups.setdefault(partner, []).append(name)
    return [_factor(arms, tuple(group), baseline) for group in groups.values()]


def _determine_each_other(arms: Sequence[Mapping[str, Any]], one: str, other: str) -> bool:
    both = {(arm[one], arm[other]) for arm in arms}
    return len(both) == len({first for first, _ in both}) == len({second for _, second in both})


def _factor(arms: Sequence[Mapping[str, Any]], names: tuple[str, ...], baseline: Mapping[str, Any]) -> Factor:
    levels = list(dict.fromkeys(tuple(arm[name] for name in names) for arm in arms))
    fits = (level for level in levels if tuple(map(baseline.get, names, level)) == level)
    return Factor(names=names, levels=levels, baseline=next(fits, levels[0]))


def cell_of(values: Mapping[str, Any], factors: Sequence[Factor]) -> Cell:
    """The cell of an arm."""
    return tuple(tuple(values[name] for name in factor.names) for factor in factors)


# A main effect by the place of its factor and its level; an interaction by two of both.
Effect = tuple[tuple[int, Level], ...]


def cells_of_effects(cells: Collection[Cell], factors: Sequence[Factor], order: int) -> Mapping[Effect, Sequence[Cell]]:
    """The cells of every main effect (`order` 1) or interaction (2) that have all their counterparts among `cells`."""
    present = frozenset(cells)
    found: dict[Effect, list[Cell]] = {}
    for cell in cells:
        changed = [place for place, factor in enumerate(factors) if cell[place] != factor.baseline]
        for places in itertools.combinations(changed, order):
            if all(other in present for other in _corners(cell, places, factors)):
                found.setdefault(tuple((place, cell[place]) for place in places), []).append(cell)
    return found


def _corners(cell: Cell, places: Sequence[int], factors: Sequence[Factor]) -> list[Cell]:
    """The cell with each subset of the factors at `places` at its baseline; first none of them, last all."""
    subsets = itertools.chain.from_iterable(itertools.combinations(places, size) for size in range(len(places) + 1))
    return [
        tuple(factors[at].baseline if at in subset else level for at, level in enumerate(cell)) for subset in subsets
    ]


def main_effects(cells: Mapping[Cell, Side], factors: Sequence[Factor]) -> list[Comparands]:
    """Every level of a factor against its baseline, over the cells that have a counterpart there."""
    found = cells_of_effects(cells, factors, 1)
    effects = []
    for place, factor in enumerate(factors):
        for level in factor.levels:
            if own := found.get(((place, level),)):
                effects.append(
                    Comparands(
                        values=dict(zip(factor.names, level, strict=True)),
                        label=factor.level_label(level),
                        baseline_label=factor.level_label(factor.baseline),
                        own=[cells[cell] for cell in own],
                        baseline=[cells[_corners(cell, (place,), factors)[1]] for cell in own],
                    )
                )
    return effects


def interactions(cells: Mapping[Cell, Side], factors: Sequence[Factor]) -> list[Comparands]:
    """For two factors, the effect of the second at a level of the first, minus that at the first's baseline."""
    found = cells_of_effects(cells, factors, 2)
    effects = []

    def in_order(effect: Effect) -> list[tuple[int, int]]:
        return [(place, factors[place].levels.index(level)) for place, level in effect]

    for effect in sorted(found, key=in_order):
        (first, level), (second, other_level) = effect
        corners = [_corners(cell, (first, second), factors) for cell in found[effect]]
        at_baseline = " and ".join(map(value_text, factors[second].baseline))
        effect_of = f"{factors[second].level_label(other_level)} (not {at_baseline})"
        effects.append(
            Comparands(
                values=dict(zip((*factors[first].names, *factors[second].names), (*level, *other_level), strict=True)),
                label=f"effect of {effect_of} at {factors[first].level_label(level)}",
                baseline_label=f"that at {factors[first].level_label(factors[first].baseline)}",
                own=[cells[cell] for four in corners for cell in (four[0], four[3])],
                baseline=[cells[cell] for four in corners for cell in (four[1], four[2])],
                # Each side is the mean of two cells where the difference of differences is their sum.
                scale=2.0,
            )
        )
    return effects


def without_counterpart(cells: Collection[Cell], factors: Sequence[Factor]) -> Mapping[str, int]:
    """By level (`depth 8`), how many of its cells no cell at the factor's baseline stands beside."""
    present = frozenset(cells)
    return Counter(
        factor.level_label(cell[place])
        for cell in cells
        for place, factor in enumerate(factors)
        if _corners(cell, (place,), factors)[1] not in present
    )


def shares_of(cells: Mapping[Cell, Side], factors: Sequence[Factor]) -> Shares | None:
    """What each factor, and each two together, contribute to the sum of squares between arms.

    From each the expected noise is subtracted: its degrees of freedom times the residual mean square of arms by seeds
    (Kelley's epsilon squared, 1935); not below 0. None where cells are missing, or fewer than two seeds are complete.
    """
    shape = tuple(len(factor.levels) for factor in factors)
    if len(cells) != math.prod(shape):
        return None
    ordered = [cells[cell] for cell in itertools.product(*(factor.levels for factor in factors))]
    table = _complete_seeds(ordered)
    seeds = table.shape[1]
    if seeds < 2 or len(ordered) < 2:
        return None
    means = table.mean(axis=1)
    residual = table - means[:, None] - table.mean(axis=0) + table.mean()
    noise = (residual**2).sum() / ((len(ordered) - 1) * (seeds - 1))
    between = seeds * ((means - means.mean()) ** 2).sum()
    if not between:
        return None
    grid = (means - means.mean()).reshape(shape)
    places = range(len(factors))

    def explained(*kept: int) -> Any:
        return grid.mean(axis=tuple(place for place in places if place not in kept), keepdims=True)

    found = {}
    for place in places:
        squares = grid.size / shape[place] * seeds * (explained(place) ** 2).sum()
        found[factors[place].label] = _share(squares, shape[place] - 1, noise, between)
    for one, other in itertools.combinations(places, 2) if len(factors) > 1 else ():
        together = explained(one, other) - explained(one) - explained(other)
        squares = grid.size / shape[one] / shape[other] * seeds * (together**2).sum()
        freedom = (shape[one] - 1) * (shape[other] - 1)
        found[f"{factors[one].label} x {factors[other].label}"] = _share(squares, freedom, noise, between)
    return Shares(of=found, seeds=seeds)


def _complete_seeds(sides: Sequence[Side]) -> Any:
    """The numbers of all sides (arms, seeds) at the seeds that all of them have."""
    import numpy

    common = sorted(set.intersection(*(set(side.numbers) for side in sides)))
    table = numpy.array([[side.numbers[seed].value for seed in common] for side in sides], float)  # None becomes nan
    return table[:, ~numpy.isnan(table).any(axis=0)]


def _share(squares: float, freedom: int, noise: float, between: float) -> float:
    return float(max(0.0, squares - freedom * noise) / between)
