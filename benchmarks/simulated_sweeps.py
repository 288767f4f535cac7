"""Sweeps of random numbers, judged by the rules of `hlbq compare` at every look. The unit is the standard deviation
of a paired difference, unless noise is odd on purpose.

Arrays have the shape (sweeps, ..., seeds), and all sweeps are judged at once: 20,000 sweeps of 200 looks take seconds.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy

from orchestrator.comparison.judging.advice import Advice, advise
from orchestrator.comparison.judging.noise import strange
from orchestrator.comparison.judging.robust import FEWEST_SEEDS, log_evidence_of_wins
from orchestrator.comparison.judging.tune import best_against_best
from orchestrator.comparison.statistics import (
    ALPHA,
    EFFECT_SCALE,
    Summary,
    always_valid_critical_t,
    always_valid_p_value,
    critical_t,
    holm,
    summarise,
)

Generator = numpy.random.Generator
Draw = Callable[[Generator, Any], Any]
DrawBoth = Callable[[Generator, Any], tuple[Any, Any]]


def normal(generator: Generator, size: Any) -> Any:
    """Noise of deviation 1."""
    return generator.standard_normal(size)


def heavy_tailed(generator: Generator, size: Any) -> Any:
    """Student's t with 4 degrees, of deviation 1."""
    return generator.standard_t(4, size) / numpy.sqrt(2)


def exponential(generator: Generator, size: Any) -> Any:
    """Of mean 0 and deviation 1: a run is sometimes much worse and never much better."""
    return generator.exponential(size=size) - 1


def spiking(generator: Generator, size: Any) -> Any:
    """Normal noise, and in one run of ten a spike of 20 deviations; of mean 0."""
    return generator.standard_normal(size) + 20 * ((generator.random(size) < 0.1) - 0.1)


def in_two_modes(generator: Generator, size: Any) -> Any:
    """Normal noise around one of two values that lie 20 deviations apart, each in half of the runs; of mean 0."""
    return generator.standard_normal(size) + 20 * ((generator.random(size) < 0.5) - 0.5)


def autocorrelated(generator: Generator, size: Any) -> Any:
    """Normal noise whose neighbouring seeds (the last axis) correlate with 0.3."""
    noise = generator.standard_normal(size)
    for seed in range(1, noise.shape[-1]):
        noise[..., seed] = 0.3 * noise[..., seed - 1] + numpy.sqrt(1 - 0.3**2) * noise[..., seed]
    return noise


def arm_and_baseline(draw: Draw, arm: Draw | None = None, scale: float = 1.0) -> DrawBoth:
    """Noise of a baseline by `draw`, and of an arm by `arm` (None: the same), `scale` times as large."""
    return lambda generator, size: (scale * (arm or draw)(generator, size), draw(generator, size))


NOISES: Mapping[str, DrawBoth] = {
    "normal": arm_and_baseline(normal),
    "heavy tails (t, 4 degrees)": arm_and_baseline(heavy_tailed),
    "normal, the arm ten times as noisy": arm_and_baseline(normal, scale=10),
    "exponential, of equal size": arm_and_baseline(exponential),
    "exponential, the arm twice as noisy": arm_and_baseline(exponential, scale=2),
    "exponential, the arm ten times as noisy": arm_and_baseline(exponential, scale=10),
    "normal, the arm spikes in one run of ten": arm_and_baseline(normal, spiking),
    "normal, the arm in two modes": arm_and_baseline(normal, in_two_modes),
    "normal, seeds correlated with 0.3": arm_and_baseline(autocorrelated),
}


def t_by_look(differences: Any, kept: Any = True) -> tuple[Any, Any]:
    """t-statistics (0 below two pairs) and numbers of pairs after each seed (the last axis)."""
    kept = numpy.broadcast_to(kept, differences.shape)
    count = kept.cumsum(axis=-1)
    number = numpy.maximum(count, 1)
    used = numpy.where(kept, differences, 0.0)
    mean = used.cumsum(axis=-1) / number
    squares = numpy.maximum((used**2).cumsum(axis=-1) - number * mean**2, 0.0)
    with numpy.errstate(divide="ignore", invalid="ignore"):
        t = mean * numpy.sqrt(number) / numpy.sqrt(squares / numpy.maximum(count - 1, 1))
    return numpy.where(count >= 2, t, 0.0), count


def p_by_look(differences: Any, kept: Any = True) -> Any:
    """The always-valid p-values after each seed."""
    t, count = t_by_look(differences, kept)
    return numpy.where(count >= 2, always_valid_p_value(t, numpy.maximum(count, 2)), 1.0)


def first_looks(decided: Any) -> Any:
    """The number of seeds at the first look that decides; one more than there are where none does."""
    return numpy.where(decided.any(axis=-1), decided.argmax(axis=-1) + 1, decided.shape[-1] + 1)


def by_t(differences: Any, alpha: float = ALPHA) -> Any:
    """The looks at which the always-valid t-test rejects."""
    t, count = t_by_look(differences)
    return (count >= 2) & (numpy.abs(t) >= always_valid_critical_t(numpy.maximum(count, 2), alpha))


def by_plain_t(differences: Any) -> Any:
    """The looks at which the plain t-test rejects."""
    t, _ = t_by_look(differences)
    limits = [numpy.inf, *(critical_t(count) for count in range(2, differences.shape[-1] + 1))]
    return numpy.abs(t) >= numpy.array(limits)


def by_wins(differences: Any, alpha: float = ALPHA) -> Any:
    """The looks at which the seeds won decide."""
    won = (differences < 0).cumsum(axis=-1)
    lost = (differences > 0).cumsum(axis=-1)
    return (log_evidence_of_wins(won, lost) >= -numpy.log(alpha)) & (won + lost >= FEWEST_SEEDS)


def by_margin(differences: Any, margin: float) -> Any:
    """The looks at which the always-valid interval lies within the margin."""
    t, count = t_by_look(differences)
    number = numpy.arange(1, differences.shape[-1] + 1)
    mean = differences.cumsum(axis=-1) / number
    with numpy.errstate(divide="ignore", invalid="ignore"):
        error = numpy.where(mean == 0, numpy.inf, numpy.abs(mean / t))
        limits = always_valid_critical_t(numpy.maximum(count, 2), ALPHA)
        return (count >= 2) & numpy.isfinite(limits) & (numpy.abs(mean) + limits * error <= margin)


def ever(
    sweeps: int, seeds: int, noise: DrawBoth, rule: Callable[[Any], Any], *, effect: float = 0.0, seed: int = 0
) -> float:
    """The share of one-arm sweeps that a look after each seed would ever decide."""
    own, baseline = noise(numpy.random.default_rng(seed), (sweeps, seeds))
    return float(rule((own - baseline) / numpy.sqrt(2) + effect).any(axis=-1).mean())


def seeds_needed(sweeps: int, effect: float, share: float, *, arms: int = 1, rule: Any = by_t, seed: int = 0) -> int:
    """The seeds after which `share` of sweeps are decided, for an effect in deviations, at Holm's first level."""
    noise = numpy.random.default_rng(seed).standard_normal((sweeps, 200))
    return int(numpy.quantile(first_looks(rule(noise + effect, ALPHA / arms)), share, method="higher"))


@dataclass(frozen=True, kw_only=True)
class Habit:
    """A user's habit: the initial seeds and the number of looks; each time they add the advised number of seeds.

    If compare gives no number, or a large one, they add as many as patience allows. The share `lost` of an arm's runs
    fails independently, so arms of one family have different numbers of pairs.
    """

    first_seeds: int = 3
    looks: int = 10
    patience: int = 10
    lost: float = 0.0


def family(generator: Generator, sweeps: int, effects: Sequence[float], most: int, draw: Draw) -> Any:
    """The differences (sweeps, arms, seeds) of arms from their common baseline: each run has its own noise."""
    runs = draw(generator, (sweeps, len(effects) + 1, most)) / numpy.sqrt(2)
    return runs[:, 1:] - runs[:, :1] + numpy.array(effects)[:, None]


def false_verdict_rate(sweeps: int, arms: int, habit: Habit, draw: Draw, *, seed: int = 0) -> float:
    """The share of sweeps without any effect in which any look gave any arm a verdict."""
    generator = numpy.random.default_rng(seed)
    most = habit.first_seeds + habit.looks * habit.patience
    differences = family(generator, sweeps, [0.0] * arms, most, draw)
    kept = generator.random(differences.shape) >= habit.lost
    p_values = p_by_look(differences, kept)
    t, count = t_by_look(differences, kept)
    known: dict[tuple[int, float, int], int] = {}
    seeds, decided = numpy.full(sweeps, habit.first_seeds), numpy.zeros(sweeps, dtype=bool)
    for _ in range(habit.looks):
        at = (numpy.arange(sweeps), slice(None), seeds - 1)
        corrected = holm(p_values[at])
        decided |= (corrected <= ALPHA).any(axis=-1)
        # The smallest of the effects is asked the most seeds for.
        weakest = numpy.abs(t[at]).argmin(axis=-1)
        for sweep in numpy.flatnonzero(~decided):
            pairs = int(count[at][sweep, weakest[sweep]])
            effect = round(float(abs(t[at][sweep, weakest[sweep]])) / max(1, pairs) ** 0.5, 2)
            key = (pairs, effect, arms)
            if key not in known:
                advice = advise(Summary(count=pairs, mean=effect, deviation=1.0, interval=None), ALPHA / arms)
                known[key] = min(habit.patience, advice.likely or habit.patience)
            seeds[sweep] += known[key]
    return float(decided.mean())


def advice_kept(
    sweeps: int, first_seeds: int, *, arms: int = 1, effect: float | None = None, seed: int = 0
) -> tuple[float, float]:
    """The shares of undecided arms that the advised seeds decide, for 1 case of 3 and 2 of 3, among those with advice.

    All arms have the `effect`; None draws one for each from the prior that the advice uses.
    """
    generator = numpy.random.default_rng(seed)
    prior = EFFECT_SCALE * generator.standard_normal((sweeps, arms))
    drawn = prior if effect is None else numpy.full((sweeps, arms), effect)
    differences = family(generator, sweeps, [0.0] * arms, first_seeds + 100, normal) + drawn[..., None]
    corrected = holm(numpy.moveaxis(p_by_look(differences), -1, -2))
    is_open = corrected[:, first_seeds - 1] > ALPHA
    asked, kept = [0, 0], [0, 0]
    for sweep, arm in numpy.argwhere(is_open):
        advice: Advice = advise(summarise(differences[sweep, arm, :first_seeds].tolist()), ALPHA / is_open[sweep].sum())
        for place, further in enumerate((advice.soon, advice.likely)):
            if further is not None:
                asked[place] += 1
                kept[place] += corrected[sweep, first_seeds + further - 1, arm] <= ALPHA
    return kept[0] / max(1, asked[0]), kept[1] / max(1, asked[1])


def false_rate_of_added_arms(sweeps: int, arms: int, seeds: int, *, seed: int = 0) -> float:
    """The share of sweeps with a false verdict, where an equal arm with all its seeds is added whenever no arm has one,
    with a look after every seed."""
    p_values = p_by_look(family(numpy.random.default_rng(seed), sweeps, [0.0] * arms, seeds, normal))
    wrong = numpy.zeros(sweeps, bool)
    for number in range(arms):
        earlier = numpy.repeat(p_values[:, :number, -1:], seeds, axis=-1)
        looks = numpy.concatenate([earlier, p_values[:, number : number + 1]], axis=1)
        wrong |= (holm(numpy.moveaxis(looks, 1, -1)) <= ALPHA).any(axis=(1, 2))
    return float(wrong.mean())


def false_tuning_rate(sweeps: int, means: Sequence[float], seeds: int, *, groups: int = 1, seed: int = 0) -> float:
    """The share of sweeps in which any look gives any of identical groups a verdict against the baseline group, each at
    its best of values with these true means."""
    generator = numpy.random.default_rng(seed)
    values = len(means)
    runs = generator.standard_normal((sweeps, groups + 1, values, seeds)) / numpy.sqrt(2) + numpy.array(means)[:, None]
    decided = numpy.zeros(sweeps, dtype=bool)
    for look in range(2, seeds + 1):
        better, worse = best_against_best(runs[:, 1:, :, :look], runs[:, :1, :, :look])
        corrected = holm(numpy.minimum(1.0, values * numpy.minimum(better, worse)))
        decided |= (corrected <= ALPHA).any(axis=-1)
    return float(decided.mean())


def false_effect_rate(sweeps: int, shape: tuple[int, int], seeds: int, *, interactions: bool, seed: int = 0) -> float:
    """The share of two-factor sweeps in which any look gives a main effect (all are 0) or an interaction (main effects
    are 1) a verdict."""
    generator = numpy.random.default_rng(seed)
    runs = generator.standard_normal((sweeps, *shape, seeds)) / numpy.sqrt(2)
    if interactions:
        runs += numpy.arange(shape[0])[:, None, None] + numpy.arange(shape[1])[:, None]
        found = (runs - runs[:, :1] - runs[:, :, :1] + runs[:, :1, :1])[:, 1:, 1:].reshape(sweeps, -1, seeds)
    else:
        rows, columns = runs.mean(axis=2), runs.mean(axis=1)
        found = numpy.concatenate([rows[:, 1:] - rows[:, :1], columns[:, 1:] - columns[:, :1]], axis=1)
    corrected = holm(numpy.moveaxis(p_by_look(found), -1, -2))
    return float((corrected <= ALPHA).any(axis=(1, 2)).mean())


def warned(sweeps: int, pairs: int, noise: DrawBoth, *, seed: int = 0) -> Sequence[float]:
    """The shares of arms that are warned of: as skewed, of unequal deviations, with an outlying pair, and of any."""
    own, baseline = noise(numpy.random.default_rng(seed), (sweeps, pairs))
    found = strange(own, baseline)
    return [float(one.mean()) for one in (*found, numpy.logical_or.reduce(found))]
