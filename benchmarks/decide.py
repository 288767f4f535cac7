"""What `decide` saves: runs and power beside today's loop by hand and a fixed design, over simulated sweeps.

    python -m benchmarks.decide

Effects are in standard deviations of a paired difference. The loop by hand: compare, extend all arms by the worst one's
advice, train, compare; it stops where nothing is undecided, nothing is advised, or the cap is reached.
"""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy

from benchmarks.simulated_sweeps import in_two_modes
from orchestrator.comparison.judging.bounds import VILLE, Bound
from orchestrator.comparison.judging.contrasts import findings
from orchestrator.comparison.judging.policy import REJECTED, ClosureReason, DecidePolicy, PolicyState
from orchestrator.comparison.judging.running_evidence import running_evidence
from orchestrator.comparison.measuring.measures import Goal
from orchestrator.comparison.measuring.pairs import Pairs
from orchestrator.growth import decide as decisions
from orchestrator.growth import race
from orchestrator.growth.steps import Results

Noise = Callable[[numpy.random.Generator, tuple[int, ...]], Any]


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One sweep's end: runs spent with the baseline's, and what was said of each arm."""

    runs: int
    said: Sequence[str]


def normal(generator: numpy.random.Generator, size: tuple[int, int]) -> Any:
    """Runs' noise such that a paired difference has a deviation of 1."""
    return generator.standard_normal(size) / numpy.sqrt(2)


def policy_of(arms: int, **changes: Any) -> DecidePolicy:
    """The default policy for this many arms besides the baseline."""
    names = [f"a{arm}" for arm in range(arms)]
    made = DecidePolicy(metric="val_loss", goal=Goal.LOWER, arms=names, baselines=["b"] * arms)
    return replace(made, **changes)


def decide(policy: DecidePolicy, values: Any, *, workers: int = 1) -> Outcome:
    """Train what each step asks for, and take the next step. `values` has the baseline's row first."""
    present = dict.fromkeys(policy.everyone, policy.first_look)
    state, ends = PolicyState(), False
    next_step = race.next_step if policy.best_arm else decisions.next_step
    while not ends:
        step = next_step(policy, results_of(policy, values, present), state, workers=workers)
        state, ends = step.state, step.ends
        present |= {arm: max(present[arm], seeds) for arm, seeds in step.seeds.items()}
    reasons = {closure.arm: closure.reason for closure in state.closures}
    return Outcome(runs=sum(present.values()), said=[reasons[arm] for arm in policy.arms])


def at_once(policy: DecidePolicy, values: Any) -> Sequence[str]:
    """What one step says of each arm that sees every seed up to the cap: the same as seed by seed."""
    next_step = race.next_step if policy.best_arm else decisions.next_step
    step = next_step(
        policy, results_of(policy, values, dict.fromkeys(policy.everyone, policy.max_seeds)), PolicyState()
    )
    reasons = {closure.arm: closure.reason for closure in step.state.closures}
    return [reasons[arm] for arm in policy.arms]


def results_of(policy: DecidePolicy, values: Any, present: dict[str, int]) -> Results:
    """The results where each arm has completed its first so many seeds."""
    seeds = numpy.arange(policy.max_seeds)
    ended = numpy.array([seeds < present[arm] for arm in policy.everyone])
    nothing = numpy.zeros(ended.shape, bool)
    values = numpy.where(ended, values[:, : policy.max_seeds], numpy.nan)
    return Results(values=values, ended=ended, diverged=nothing, stops=[None] * len(ended))


def by_hand(values: Any, *, cap: int, first: int) -> Outcome:
    """Today's loop."""
    arms, seeds = len(values) - 1, first
    while True:
        differences = values[1:, :seeds] - values[:1, :seeds]
        found = findings([_pairs(row) for row in differences], Goal.LOWER)
        asked = [one.advice.likely for one in found if one.advice is not None and one.advice.likely is not None]
        if not asked or seeds == cap:
            return Outcome(runs=(arms + 1) * seeds, said=[one.verdict for one in found])
        seeds = min(cap, seeds + max(asked))


def fixed(values: Any, *, cap: int) -> Outcome:
    """All seeds at once, one look."""
    found = findings([_pairs(row) for row in values[1:, :cap] - values[:1, :cap]], Goal.LOWER)
    said = ["worse" if one.p_value is not None and one.p_value < 0.05 else "undecided" for one in found]
    return Outcome(runs=len(values) * cap, said=said)


def _pairs(row: Any) -> Pairs:
    return Pairs(differences=dict(enumerate(map(float, row))), baseline_values={})


def measure(effects: Sequence[float], *, sweeps: int, cap: int, first: int, seed: int) -> None:
    """One row of the table: runs as a share of the loop's, and power: the share of arms with an effect decided."""
    generator = numpy.random.default_rng(seed)
    sides: dict[str, list[Outcome]] = {"by hand": [], "fixed": [], "decide": [], "no futility": [], "Ville": []}
    policy = policy_of(len(effects), max_seeds=cap, first_look=first)
    for _ in range(sweeps):
        values = normal(generator, (len(effects) + 1, cap)) + numpy.array([0.0, *effects])[:, None]
        sides["by hand"].append(by_hand(values, cap=cap, first=first))
        sides["fixed"].append(fixed(values, cap=cap))
        sides["decide"].append(decide(policy, values))
        sides["no futility"].append(decide(replace(policy, futility=None), values))
        sides["Ville"].append(decide(replace(policy, is_capped=False), values))
    hand = numpy.mean([one.runs for one in sides["by hand"]])
    for name, outcomes in sides.items():
        runs = numpy.mean([one.runs for one in outcomes])
        said = numpy.array([[word in REJECTED for word in one.said] for one in outcomes])
        power = said[:, [effect != 0 for effect in effects]].mean() if any(effects) else float("nan")
        false = (said[:, [effect == 0 for effect in effects]]).any(axis=1).mean() if 0 in effects else float("nan")
        print(f"{effects!s:32} {name:12} runs {runs / hand:5.2f}  power {power:6.3f}  false {false:6.3f}")


def measure_race(arms: int, *, spread: float, sweeps: int, cap: int, first: int, seed: int) -> None:
    """One row of the table of races: runs as a share of all arms' seeds to the cap, and how often the best is lost.

    The arms' effects are normal with a deviation of `spread`.
    """
    generator = numpy.random.default_rng(seed)
    policy = policy_of(arms, baselines=(), max_seeds=cap, first_look=first, best_arm=True)
    runs, lost = [], []
    for _ in range(sweeps):
        effects = generator.normal(0, spread, arms)
        found = decide(policy, normal(generator, (arms, cap)) + effects[:, None])
        runs.append(found.runs / (arms * cap))
        lost.append(found.said[int(numpy.argmin(effects))] == ClosureReason.NOT_BEST)
    print(f"race of {arms:2} arms, spread {spread}: runs {numpy.mean(runs):5.2f}  best lost {numpy.mean(lost):7.4f}")


def _in_two_modes(generator: numpy.random.Generator, size: tuple[int, ...]) -> Any:
    values = in_two_modes(generator, size)
    values[:, 0] = generator.standard_normal(values[:, 0].shape)
    return values


NOISES: Mapping[str, Noise] = MappingProxyType(
    {
        "normal": lambda generator, size: generator.standard_normal(size),
        "normal, arm twice as noisy": lambda generator, size: _scaled(generator.standard_normal(size), 2.0),
        "t with 4 degrees": lambda generator, size: generator.standard_t(4, size),
        "Gumbel": lambda generator, size: generator.gumbel(size=size),
        "exponential": lambda generator, size: generator.exponential(size=size) - 1,
        "exponential, arm twice as noisy": lambda generator, size: _scaled(generator.exponential(size=size) - 1, 2.0),
        "exponential, arm ten times": lambda generator, size: _scaled(generator.exponential(size=size) - 1, 10.0),
        "normal, arm in two modes": _in_two_modes,
    }
)


def false_verdicts(noise: Noise, bound: Bound, arms: int, *, cap: int, first: int, sweeps: int, seed: int) -> float:
    """The share of sweeps of equal arms with any verdict by the cap: each arm against one baseline, at Holm's first
    level. With arms that are rejected besides, those that are left are judged so: their number is `arms`."""
    generator = numpy.random.default_rng(seed)
    false = 0
    for done in range(0, sweeps, 10_000):
        size = min(10_000, sweeps - done)
        values = noise(generator, (size, arms + 1, cap))
        found = running_evidence(values[:, 1:] - values[:, :1])
        largest = found.log_evidence[:, :, first - 1 :].max(axis=2)
        false += int((largest >= numpy.log(bound.evidence(arms))).any(axis=1).sum())
    return false / sweeps


def family_errors(noise: Noise, policy: DecidePolicy, *, equal: int, effect: float, sweeps: int, seed: int) -> float:
    """The share of sweeps with a false verdict where `equal` arms are equal to their baseline, and the others differ.

    `effect` is in standard deviations of a paired difference. So each of Holm's steps is met.
    """
    generator, arms = numpy.random.default_rng(seed), len(policy.arms)
    shifts = numpy.array([0.0] * (equal + 1) + [effect] * (arms - equal))[:, None]
    false = 0
    for _ in range(sweeps):
        values = noise(generator, (1, arms + 1, policy.max_seeds))[0] / numpy.sqrt(2) + shifts
        false += any(reason in REJECTED for reason in at_once(policy, values)[:equal])
    return false / sweeps


def _scaled(values: Any, factor: float) -> Any:
    values[:, 1:] *= factor
    return values


def margin_errors(*, shift: float, margin: float, cap: int, first: int, sweeps: int, seed: int) -> float:
    """The share of arms that differ by exactly the margin and are said not to differ by more."""
    generator = numpy.random.default_rng(seed)
    found = running_evidence(generator.standard_normal((sweeps, cap)) + shift)
    half = found.half_width(Bound(cap=cap, first_look=first).evidence(1))
    return float((abs(found.mean) + half <= margin)[:, first - 1 :].any(axis=1).mean())


def differences_of_verdicts(effect: float, *, sweeps: int, seed: int) -> tuple[float, float]:
    """The mean difference that verdicts on one arm name, and the share of their intervals that hold the true one."""
    generator, policy = numpy.random.default_rng(seed), policy_of(1)
    means, held = [], []
    for _ in range(sweeps):
        values = normal(generator, (2, policy.max_seeds)) + numpy.array([[0.0], [effect]])
        present = dict.fromkeys(policy.everyone, policy.max_seeds)
        (closure,) = decisions.next_step(policy, results_of(policy, values, present), PolicyState()).state.closures
        if closure.reason in REJECTED and closure.low is not None and closure.high is not None:
            means.append(closure.mean or 0.0)
            held.append(closure.low <= effect <= closure.high)
    return float(numpy.mean(means)), float(numpy.mean(held))


def step_seconds(arms: int, seeds: int) -> float:
    """The processor time of one step of a sweep with every seed there, in seconds."""
    policy = policy_of(arms, max_seeds=seeds)
    values = numpy.random.default_rng(0).standard_normal((arms + 1, seeds))
    present = dict.fromkeys(policy.everyone, seeds)
    results = results_of(policy, values, present)
    decisions.next_step(policy, results, PolicyState())
    begin = time.process_time()
    decisions.next_step(policy, results, PolicyState())
    return time.process_time() - begin


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--sweeps", type=int, default=1000)
    wanted = parser.parse_args()
    for effects in ([0, 1, 3], [2, 2, 2], [0, 0, 0, 0, 0, 1, 2, 4]):
        measure(effects, sweeps=wanted.sweeps, cap=20, first=3, seed=1)
    for arms in (8, 30):
        measure_race(arms, spread=1.0, sweeps=wanted.sweeps, cap=20, first=3, seed=2)
    for name, noise in NOISES.items():
        for bound in (Bound(cap=20, first_look=3), VILLE):
            shares = [
                false_verdicts(noise, bound, arms, cap=20, first=3, sweeps=wanted.sweeps * 20, seed=3)
                for arms in (1, 3, 8)
            ]
            print(f"false verdicts, {name}, {bound.text}: " + "  ".join(f"{100 * one:.1f} %" for one in shares))
    for equal in range(1, 9):
        share = family_errors(
            NOISES["normal"], policy_of(8, futility=None), equal=equal, effect=5.0, sweeps=wanted.sweeps, seed=5
        )
        print(f"false verdicts, {equal} of 8 arms equal, the others 5 deviations off: {100 * share:.1f} %")
    for margin in (0.5, 1.0, 2.0):
        share = margin_errors(shift=margin, margin=margin, cap=20, first=3, sweeps=wanted.sweeps * 20, seed=4)
        print(f"arms that differ by the margin of {margin} and are called equal: {100 * share:.1f} %")
    for effect in (0.5, 1.0, 2.0, 3.0):
        mean, held = differences_of_verdicts(effect, sweeps=wanted.sweeps * 5, seed=6)
        print(
            f"verdicts on a difference of {effect}: {mean:.2f} in the mean; {100 * held:.0f} % of the intervals hold it"
        )
    print(f"one step of 1,000 arms x 20 seeds: {step_seconds(1000, 20) * 1000:.0f} ms")


if __name__ == "__main__":
    main()
