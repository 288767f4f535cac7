"""Two sides of a comparison, seed by seed: the differences, and the seeds that are no pair. Pure."""

import statistics
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from orchestrator.comparison.measuring.groups import Group, Rest
from orchestrator.comparison.measuring.measures import NO_RUN, Measured, Standing, mean_or_gravest


@dataclass(frozen=True, kw_only=True)
class LostPair:
    """A seed that is no pair, and why; `standing` is of the side that is told of in `why`, and `sides` are both, the
    baseline last."""

    seed: int
    standing: Standing
    why: str
    sides: tuple[Standing, Standing]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """The differences (one side minus its baseline) over common seeds, and the seeds that gave none.

    `baseline_values` are the baseline's numbers of the same seeds, in the differences' scale. `diverged` counts the
    seeds at which the side diverged and the baseline has a number or diverged too: with seeds that only one side has,
    neither could be said to diverge more often. `diverged_alone` are those at which the baseline has a number.
    """

    differences: Mapping[int, float]
    baseline_values: Mapping[int, float]
    lost: Sequence[LostPair] = ()
    diverged: int = 0
    baseline_diverged: int = 0
    diverged_alone: int = 0
    baseline_diverged_alone: int = 0
    both_diverged: int = 0

    @property
    def lost_to_divergence(self) -> bool:
        """Whether divergence left no pair, or one side diverged at so many more seeds that not even two are left: seeds
        do not mend that."""
        differ = self.diverged != self.baseline_diverged or (not self.differences and self.diverged > 0)
        return len(self.differences) < 2 and not self.waiting and differ

    @property
    def out_of_reach(self) -> bool:
        """Whether there are no two pairs because completed runs have no number there: nor would more seeds."""
        are_absent = [lost.standing is Standing.ABSENT for lost in self.lost]
        return len(self.differences) < 2 and bool(are_absent) and all(are_absent)

    @property
    def waiting(self) -> int:
        """Seeds that may become pairs yet."""
        return sum(lost.standing is Standing.WAITING for lost in self.lost)

    def among(self, seeds: Container[int], unpaired: Sequence[LostPair] = ()) -> "Pairs":
        """The pairs of these seeds, but for those that are `unpaired` although both sides may have a number."""
        taken = {lost.seed: lost for lost in unpaired if lost.seed in self.differences}
        kept = [seed for seed in self.differences if seed in seeds and seed not in taken]
        lost = [*(lost for lost in self.lost if lost.seed in seeds), *taken.values()]
        return _paired(
            {seed: self.differences[seed] for seed in kept},
            {seed: self.baseline_values[seed] for seed in kept},
            sorted(lost, key=lambda one: one.seed),
        )

    @property
    def are_identical(self) -> bool:
        """Whether both sides gave the same numbers at every pair, to the last bit."""
        return bool(self.differences) and not any(self.differences.values())


@dataclass(frozen=True, kw_only=True)
class Side:
    """One part of a side: a group's number at each seed, and the arms (by key) that they come from. `seconds` is what
    one more seed takes, by the medians of each arm's completed runs; None where an arm has none."""

    label: str
    numbers: Mapping[int, Measured]
    arms: frozenset[str]
    seconds: float | None = None

    @classmethod
    def of(cls, group: Group, rests: Iterable[Rest]) -> "Side":
        """The group's numbers, each the mean over `rests`."""
        rests = frozenset(rests)
        times: dict[str, list[float]] = {}
        for run in (cell.run for rest in group.cells if rest in rests for cell in group.cells[rest].values()):
            own = times.setdefault(run.arm_key, [])
            if run.seconds is not None:
                own.append(run.seconds)
        return cls(
            label=group.label,
            numbers={seed: group.of_seed(seed, rests) for seed in group.seeds},
            arms=frozenset(times),
            seconds=sum(map(statistics.median, times.values())) if all(times.values()) else None,
        )


def pair_up(own: Sequence[Side], baseline: Sequence[Side], *, scale: float = 1.0) -> Pairs:
    """The pairs of two sides: the seeds at which all their parts have a number; a side's number is its parts' mean.

    Differences are multiplied by `scale`. A seed that only some parts have is named as lost too, and so is one with a
    diverged run: it counts on both sides.
    """
    differences: dict[int, float] = {}
    baseline_values: dict[int, float] = {}
    lost: list[LostPair] = []
    for seed in sorted({seed for side in (*own, *baseline) for seed in side.numbers}):
        first, second = _at(own, seed), _at(baseline, seed)
        if first.value is not None and second.value is not None:
            differences[seed] = scale * (first.value - second.value)
            baseline_values[seed] = scale * second.value
            continue
        gravest = mean_or_gravest((first, second))
        sides = first.standing, second.standing
        lost.append(LostPair(seed=seed, standing=gravest.standing, why=gravest.why, sides=sides))
    return _paired(differences, baseline_values, lost)


def _paired(differences: Mapping[int, float], baseline_values: Mapping[int, float], lost: Sequence[LostPair]) -> Pairs:
    """With the counts of what diverged: none of that is a pair."""
    sides = [one.sides for one in lost if {*one.sides} <= {Standing.DIVERGED, Standing.MEASURED}]
    return Pairs(
        differences=differences,
        baseline_values=baseline_values,
        lost=lost,
        diverged=sum(one is Standing.DIVERGED for one, _ in sides),
        baseline_diverged=sum(other is Standing.DIVERGED for _, other in sides),
        diverged_alone=sides.count((Standing.DIVERGED, Standing.MEASURED)),
        baseline_diverged_alone=sides.count((Standing.MEASURED, Standing.DIVERGED)),
        both_diverged=sides.count((Standing.DIVERGED, Standing.DIVERGED)),
    )


def _at(sides: Sequence[Side], seed: int) -> Measured:
    """The mean of the parts at a seed, or the gravest reason why there is none, with its label."""
    found = []
    for side in sides:
        own = side.numbers.get(seed, NO_RUN)
        found.append(own if own.value is not None else replace(own, why=f"{side.label}: {own.why}"))
    return mean_or_gravest(found)
