"""How often `hlbq compare` is wrong, and how many seeds it takes: sweeps of random numbers, with looks and extensions.

    python -m benchmarks.verdicts

prints the tables of docs/comparison.md (some ten minutes). The tests run the same loop, smaller.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from orchestrator.comparison.contrasts import Finding, Pairs, Verdict, findings
from orchestrator.comparison.measures import Goal
from orchestrator.comparison.statistics import ALPHA, always_valid_critical_t, critical_t

Draw = Callable[[numpy.random.Generator, Any], Any]


def normal(generator: numpy.random.Generator, size: Any) -> Any:
    """Noise of deviation 1."""
    return generator.standard_normal(size)


def heavy_tailed(generator: numpy.random.Generator, size: Any) -> Any:
    """Student's t with 4 degrees, of deviation 1."""
    return generator.standard_t(4, size) / numpy.sqrt(2)


def skewed(generator: numpy.random.Generator, size: Any) -> Any:
    """Exponential, of mean 0 and deviation 1: a run is sometimes much worse and never much better."""
    return generator.exponential(size=size) - 1


@dataclass(frozen=True, kw_only=True)
class Habit:
    """A user's habit: the initial seeds, the number of looks, and whether they follow the advice.

    A user who does not follow it adds one seed at a time. If compare gives no number, or a large one, they add as many
    as patience allows. The share `lost` of an arm's runs fails independently, so arms of one family have different
    numbers of pairs.
    """

    first_seeds: int = 3
    looks: int = 10
    follows_advice: bool = True
    patience: int = 10
    lost: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Story:
    """The result of one sweep's looks: `decided` has every verdict that an arm ever got; `seeds` the number at the
    end."""

    decided: Sequence[frozenset[Verdict]]
    seeds: int


def look_and_extend(generator: numpy.random.Generator, effects: Sequence[float], habit: Habit, draw: Draw) -> Story:
    """One sweep: arms whose true difference from the baseline is `effects`, in standard deviations of a difference.

    Every run is its arm's mean plus its seed's share, which all arms have in common, plus independent noise.
    """
    most = habit.first_seeds + habit.looks * habit.patience
    noise = draw(generator, (len(effects) + 1, most)) / numpy.sqrt(2)
    values = 3 * generator.standard_normal(most) + noise + numpy.array([0.0, *effects])[:, None]
    decided: list[set[Verdict]] = [set() for _ in effects]
    kept = generator.random((len(effects), most)) >= habit.lost
    seeds = habit.first_seeds
    for look in range(habit.looks):
        found = findings(
            [_pairs((arm[:seeds] - values[0, :seeds])[own[:seeds]]) for arm, own in zip(values[1:], kept, strict=True)],
            Goal.LOWER,
        )
        for verdicts, finding in zip(decided, found, strict=True):
            verdicts.add(finding.verdict)
        if all(finding.verdict is not Verdict.UNDECIDED for finding in found) or look == habit.looks - 1:
            break
        seeds += _added(found, habit)
    return Story(decided=[frozenset(verdicts - {Verdict.UNDECIDED}) for verdicts in decided], seeds=seeds)


def _pairs(differences: Any) -> Pairs:
    return Pairs(differences=dict(enumerate(differences.tolist())), lost=(), diverged=0, baseline_diverged=0)


def _added(found: Sequence[Finding], habit: Habit) -> int:
    if not habit.follows_advice:
        return 1
    asked = [finding.further_seeds for finding in found if finding.verdict is Verdict.UNDECIDED]
    return min(habit.patience, max(habit.patience if one is None else one for one in asked))


def false_verdict_rate(sweeps: int, arms: int, habit: Habit, draw: Draw, *, seed: int = 0) -> float:
    """The share of sweeps without any effect in which any look gave any arm a verdict."""
    generator = numpy.random.default_rng(seed)
    stories = (look_and_extend(generator, [0.0] * arms, habit, draw) for _ in range(sweeps))
    return sum(any(story.decided) for story in stories) / sweeps


def ever_rejected(sweeps: int, most_seeds: int, *, draw: Draw, always_valid: bool, seed: int = 0) -> float:
    """The share of one-arm sweeps without effect that a look after each of `most_seeds` seeds would ever decide."""
    first = _first_rejections(sweeps, most_seeds, 0.0, draw, ALPHA, always_valid, seed)
    return float((first <= most_seeds).mean())


def seeds_needed(sweeps: int, effect: float, share: float, *, arms: int = 1, seed: int = 0) -> int:
    """The seeds after which `share` of sweeps are decided, for an effect in deviations, at Holm's first level."""
    first = _first_rejections(sweeps, 200, effect, normal, ALPHA / arms, True, seed)
    return int(numpy.quantile(first, share, method="higher"))


def _first_rejections(
    sweeps: int, most_seeds: int, effect: float, draw: Draw, alpha: float, always_valid: bool, seed: int
) -> Any:
    """For each sweep the seeds at the first rejection; most_seeds + 1 if there is none."""
    generator = numpy.random.default_rng(seed)
    both = draw(generator, (2, sweeps, most_seeds)) / numpy.sqrt(2)
    differences = both[0] - both[1] + effect
    counts = numpy.arange(1, most_seeds + 1)
    means = differences.cumsum(axis=1) / counts
    squares = (differences**2).cumsum(axis=1) - counts * means**2
    with numpy.errstate(divide="ignore", invalid="ignore"):
        t = numpy.abs(means) * numpy.sqrt(counts) / numpy.sqrt(squares / (counts - 1))
    if always_valid:
        limits = always_valid_critical_t(counts[1:], alpha)
    else:
        limits = numpy.array([critical_t(int(count), alpha) for count in counts[1:]])
    rejected = t[:, 1:] >= limits
    return numpy.where(rejected.any(axis=1), rejected.argmax(axis=1) + 2, most_seeds + 1)


def advice_kept(sweeps: int, effect: float, first_seeds: int, *, seed: int = 0) -> float:
    """The share of undecided sweeps that are decided after adding the suggested number of seeds."""
    generator = numpy.random.default_rng(seed)
    asked = decided = 0
    for _ in range(sweeps):
        differences = normal(generator, 300) + effect
        first = findings([_pairs(differences[:first_seeds])], Goal.LOWER)[0]
        if first.further_seeds is not None:
            asked += 1
            then = findings([_pairs(differences[: first_seeds + first.further_seeds])], Goal.LOWER)[0]
            decided += then.verdict is not Verdict.UNDECIDED
    return decided / max(1, asked)


def main() -> None:
    """Print every table."""
    print("false verdicts, 10 looks, following the advice (share of 2,000 sweeps without effect)")
    for draw in (normal, heavy_tailed, skewed):
        for first in (2, 5):
            rates = [false_verdict_rate(2_000, arms, Habit(first_seeds=first), draw) for arms in (1, 3, 8)]
            print(
                f"  {draw.__name__:12} from {first:2} seeds: 1, 3, 8 arms:", *(f"{100 * rate:.1f} %" for rate in rates)
            )
    for lost in (0.2, 0.5):
        rates = [false_verdict_rate(2_000, arms, Habit(first_seeds=5, lost=lost), normal) for arms in (1, 3, 8)]
        print(f"  normal, {100 * lost:.0f} % of pairs lost: 1, 3, 8 arms:", *(f"{100 * rate:.1f} %" for rate in rates))
    print("a look after every seed up to 200, one arm")
    for draw in (normal, heavy_tailed, skewed):
        shares = [ever_rejected(20_000, 200, draw=draw, always_valid=kind) for kind in (True, False)]
        print(f"  {draw.__name__:12} always valid {100 * shares[0]:.1f} %, plain t-test {100 * shares[1]:.1f} %")
    print("seeds until half, 80 % and 95 % of sweeps are decided")
    for effect in (0.5, 1.0, 1.5, 2.0, 3.0, 5.0):
        for arms in (1, 3):
            needed = [seeds_needed(20_000, effect, share, arms=arms) for share in (0.5, 0.8, 0.95)]
            print(f"  effect {effect} deviations, {arms} arm(s):", *needed)
    print("advice that was kept")
    for effect in (0.5, 1.0, 2.0, 3.0):
        kept = [advice_kept(5_000, effect, first) for first in (3, 5, 8)]
        print(f"  effect {effect}, from 3, 5, 8 seeds:", *(f"{100 * share:.0f} %" for share in kept))


if __name__ == "__main__":
    main()
