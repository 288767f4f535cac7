"""What a search delivers for equal device-hours, how far its word is from the truth, and what stopping early risks.

    python -m benchmarks.search                     # on the surfaces that are kept
    python -m benchmarks.search --fit FILE          # fits them to the real runs of a database, and keeps them
    python -m benchmarks.search --rungs             # by the first rung of early stopping
    python -m benchmarks.search --step              # a step of a search with 5,000 finished arms

The database holds two sweeps: arms drawn at random with one seed, and a few with several. There is a surface for the
whole runs, and for the same runs ended earlier: their schedules do not know how long a run is. The logarithm of the
loss at each share of a run is a Gaussian process over the settings, with the noise of the seeds of the quieter half of
arms, which keeps its correlation from share to share. The fitted surface is the truth: every method sees it through
that noise alone. A difference of 0.01 is 1 % of the loss.
"""

import argparse
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy

from benchmarks.decide import results_of
from hlbgpt_core.points import Split
from orchestrator.comparison.judging.policy import ClosureReason, DecidePolicy, PolicyState
from orchestrator.comparison.measuring.measures import Goal
from orchestrator.comparison.statistics import paired_difference
from orchestrator.growth import decide
from orchestrator.growth.early_stopping import goes_on, rungs_of
from orchestrator.growth.search import (
    NEVER,
    ArmOutcome,
    Result,
    SearchPolicy,
    SearchState,
    Trial,
    confirmation_of,
    next_step,
)
from orchestrator.growth.search_space import Choices, Space, parameter
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import State
from orchestrator.store import OpenMode, open_store
from orchestrator.sweep.definition import stored_axes, stored_shape
from orchestrator.sweep.plan import PlannedArm
from orchestrator.sweep.shapes import tracks_of

KEPT = Path(__file__).parent / "results" / "search_surfaces.json"
# A run's length in thousandths: a rung's place is a share of it.
LENGTH = 1000
FIRST_RUNGS = (0.1, 0.25, 0.5)
ENDS = (0.3, 0.6, 1.0)
# Losses further above the lowest count as this much above it: how bad a bad arm is does not matter.
_HIGHEST = math.log(2)
_REACH = 0.7  # of the Gaussian process, where each setting spans -1 to 1


@dataclass(frozen=True, kw_only=True)
class Surface:
    """The true log loss at each share of a run over the settings `axes` (JSON of a sweep's axes), and the seeds' noise.

    `places` are the arms that it was fitted to, `weights` theirs at each share, `means` the level; `explained` is the
    share of the final losses' variance that it explains of arms left out.
    """

    name: str
    axes: Mapping[str, Sequence[Any]]
    shares: Sequence[float]
    places: Any
    weights: Any
    means: Any
    noise: Any
    explained: float
    ranks: Sequence[float]

    @property
    def space(self) -> Space:
        """What is searched."""
        definition = {"axes": self.axes}
        return Space(tracks=tracks_of(stored_axes(definition), stored_shape(definition)))

    def truth(self, choices: Choices) -> Any:
        """The true loss at each share of a run."""
        at = numpy.array([_scaled(track.range, choices[parameter(track)]) for track in _varying(self.space)])
        return self.means + _kernel(at[None], self.places)[0] @ self.weights

    def run(self, choices: Choices, generator: numpy.random.Generator) -> Any:
        """What one seed measures at each share."""
        return self.truth(choices) + generator.multivariate_normal(numpy.zeros(len(self.shares)), self.noise)


@dataclass(frozen=True, kw_only=True)
class Delivered:
    """What a method delivered: the true loss, what it said of it (the search's best trial and, where it confirms, the
    mean of fresh seeds), whether its interval holds the truth, and runs spent."""

    true: float
    searched: float
    true_of_best: float
    cost: float
    confirmed: float | None = None
    holds: bool | None = None


def shares_needed() -> Sequence[float]:
    """All shares at which a run may be judged, and its end."""
    places = {rung / LENGTH for first in FIRST_RUNGS for rung in rungs_of(_policy({}, first_rung=first), LENGTH)}
    return [*sorted(places), 1.0]


def search(
    surface: Surface, policy: SearchPolicy, generator: numpy.random.Generator, *, budget: float = math.inf
) -> tuple[dict[str, Result], Mapping[str, Choices], SearchState, float]:
    """One search by one worker, until all arms are tried or so many runs are spent."""
    space, state, cost = surface.space, SearchState(), 0.0
    results: dict[str, Result] = {}
    at_rungs: dict[int, list[float]] = {rung: [] for rung in rungs_of(policy, LENGTH)}
    while not (step := next_step(policy, space, results, state)).ends and cost < budget:
        state = step.state
        trial = state.trials[-1]
        measured = dict(zip(surface.shares, surface.run(trial.choices, generator), strict=True))
        results[trial.arm], spent = _trained(policy, measured, at_rungs, is_baseline=len(state.arms) == 1)
        cost += spent
    return results, {trial.arm: trial.choices for trial in state.trials}, state, cost


def _trained(
    policy: SearchPolicy, measured: Mapping[float, float], at_rungs: dict[int, list[float]], *, is_baseline: bool
) -> tuple[Result, float]:
    for rung, others in at_rungs.items() if policy.stops_early else ():
        value = measured[rung / LENGTH]
        is_kept = is_baseline or goes_on(policy, rung, value, others)
        others.append(value)
        if not is_kept:
            return Result(outcome=ArmOutcome.PRUNED, value=value, rung=rung), rung / LENGTH
    return Result(outcome=ArmOutcome.MEASURED, value=measured[1.0]), 1.0


def deliver_best(
    surface: Surface, policy: SearchPolicy, generator: numpy.random.Generator, *, budget: float = math.inf
) -> Delivered:
    """The best trial is delivered, as it was measured."""
    results, choices, _, cost = search(surface, policy, generator, budget=budget)
    best = min((arm for arm in results if results[arm].final is not None), key=lambda arm: results[arm].final or 0.0)
    true = float(surface.truth(choices[best])[-1])
    return Delivered(true=true, true_of_best=true, searched=float(results[best].final or 0.0), cost=cost)


def deliver_confirmed(surface: Surface, policy: SearchPolicy, generator: numpy.random.Generator) -> Delivered:
    """The best arms are decided against the baseline on fresh seeds; of those that are better the best is delivered,
    else the baseline."""
    results, choices, state, cost = search(surface, policy, generator)
    decided = confirmation_of(policy, results, state.arms, first_seed=1000)
    best = min((arm for arm in results if results[arm].final is not None), key=lambda arm: results[arm].final or 0.0)
    found = Delivered(
        true=float(surface.truth(choices[state.arms[0]])[-1]),
        searched=float(results[best].final or 0.0),
        true_of_best=float(surface.truth(choices[best])[-1]),
        cost=cost,
    )
    if decided is None:
        return found
    values = numpy.array(
        [[surface.run(choices[arm], generator)[-1] for _ in range(decided.max_seeds)] for arm in decided.everyone]
    )
    seeds, better = _decided(decided, values)
    means = {arm: float(values[row, : seeds[arm]].mean()) for row, arm in enumerate(decided.everyone)}
    chosen = min(better or [state.arms[0]], key=lambda arm: means[arm])
    own = values[list(decided.everyone).index(chosen), : seeds[chosen]]
    interval = paired_difference(own.tolist(), evidence=decided.bound.evidence(1)).always_valid_interval
    true = float(surface.truth(choices[chosen])[-1])
    return replace(
        found,
        true=true,
        cost=cost + sum(seeds.values()),
        confirmed=means[chosen],
        holds=None if interval is None else interval.low <= true <= interval.high,
    )


def _decided(policy: DecidePolicy, values: Any) -> tuple[dict[str, int], list[str]]:
    """How many seeds each arm and the baseline got, and which arms are better."""
    present, state, ends = dict.fromkeys(policy.everyone, policy.first_look), PolicyState(), False
    while not ends:
        step = decide.next_step(policy, results_of(policy, values, present), state)
        state, ends = step.state, step.ends
        present |= {arm: max(present[arm], seeds) for arm, seeds in step.seeds.items()}
    return present, [closure.arm for closure in state.closures if closure.reason is ClosureReason.BETTER]


def measure(surface: Surface, *, trials: int, searches: int) -> None:
    """A row for each method: true loss above the surface's best, what it says less the truth, runs spent."""
    lowest = _lowest(surface)
    ours: list[Delivered] = []
    rows: dict[str, list[Delivered]] = {"TPE + ASHA, confirmed": ours, "TPE + ASHA, best trial": [], "random": []}
    for seed in range(searches):
        policy = replace(_policy(_first(surface)), trials=trials, seed=seed, stop_early="asha")
        ours.append(deliver_confirmed(surface, policy, numpy.random.default_rng([seed, 0])))
        # The same runs for the others: as many arms as these pay for.
        many = replace(policy, trials=100_000, confirm=0)
        budget = ours[-1].cost
        best = deliver_best(surface, many, numpy.random.default_rng([seed, 1]), budget=budget)
        rows["TPE + ASHA, best trial"].append(best)
        blind = replace(many, sampler="random", stop_early=NEVER)
        rows["random"].append(deliver_best(surface, blind, numpy.random.default_rng([seed, 2]), budget=budget))
    deviation = math.sqrt(surface.noise[-1][-1])
    print(f"\n{surface.name}: a seed's deviation {deviation:.4f}; explains {surface.explained:.0%} of arms left out")
    for name, found in rows.items():
        regret = numpy.array([one.true for one in found]) - lowest
        error = regret.std(ddof=1) / math.sqrt(len(found))
        said = numpy.mean([one.searched - one.true_of_best for one in found])
        line = f"  {name:24} true loss above the best {regret.mean():.4f} +- {2 * error:.4f}; best trial {said:+.4f}"
        confirmed = [one.confirmed - one.true for one in found if one.confirmed is not None]
        if confirmed:
            holds = [one.holds for one in found if one.holds is not None]
            line += f", confirmed {numpy.mean(confirmed):+.4f} off; intervals hold {numpy.mean(holds):.0%}"
        print(f"{line}; {numpy.mean([one.cost for one in found]):.1f} runs", flush=True)


def measure_rungs(surface: Surface, *, budget: float, searches: int) -> None:
    """By the first rung: true loss above the surface's best for so many runs; and of arms drawn at random, as many, how
    often the truly best one is stopped early, and what share of their training is left."""
    lowest = _lowest(surface)
    for first in (*FIRST_RUNGS, None):
        policy = replace(_policy(_first(surface)), trials=100_000)
        if first is not None:
            policy = replace(policy, stop_early="asha", first_rung=first)
        found = [
            deliver_best(surface, replace(policy, seed=seed), numpy.random.default_rng([seed, 3]), budget=budget).true
            for seed in range(searches)
        ]
        regret = numpy.array(found) - lowest
        line = f"{regret.mean():.4f} +- {2 * regret.std(ddof=1) / math.sqrt(searches):.4f}"
        if first is not None:
            risks = [
                _risk(surface, policy, int(budget), numpy.random.default_rng(seed)) for seed in range(2 * searches)
            ]
            stopped, spent = numpy.mean(risks, axis=0)
            line += f"; the best of {budget:.0f} arms is stopped in {stopped:.0%}, {spent:.0%} of the training is done"
            line += f"; rank correlation with the end {surface.ranks[_place(surface, first)]:.2f}"
        print(f"  {surface.name}, first rung {first}: {line}", flush=True)


def _risk(surface: Surface, policy: SearchPolicy, arms: int, generator: numpy.random.Generator) -> tuple[bool, float]:
    """Whether the truly best of arms drawn at random is stopped early, and the share of their training that is done."""
    at_rungs: dict[int, list[float]] = {rung: [] for rung in rungs_of(policy, LENGTH)}
    stopped, truths, cost = [], [], 0.0
    for number in range(arms):
        choices = {parameter(track): track.range.at(generator.random()) for track in _varying(surface.space)}
        truths.append(surface.truth(choices)[-1])
        measured = dict(zip(surface.shares, surface.run(choices, generator), strict=True))
        result, spent = _trained(policy, measured, at_rungs, is_baseline=number == 0)
        stopped.append(result.outcome is ArmOutcome.PRUNED)
        cost += spent
    return stopped[int(numpy.argmin(truths))], cost / arms


def fit(db: Path, end: float) -> Surface:
    """The surface of a database's runs, ended at that share of their tokens."""
    shares = shares_needed()
    with open_store(str(db), mode=OpenMode.READ) as store:
        drawn, repeated = sorted(store.sweeps(), key=lambda sweep: sweep.id)
        definition = {"axes": drawn.definition["axes"]}
        tracks = _varying(Space(tracks=tracks_of(stored_axes(definition), stored_shape(definition))))
        curves: dict[int, list[tuple[Any, int, Any]]] = {}
        wanted = RunFilter(states=(State.COMPLETED,))
        for found in store.runs_with_curves(wanted, Split.VAL, ("tokens_seen", "loss")):
            curve = found.curves[Split.VAL]
            tokens = numpy.array(curve["tokens_seen"], float) / curve["tokens_seen"][-1] / end
            place = [_scaled(track.range, found.run.settings[track.names[0]]) for track in tracks]
            losses = numpy.interp(shares, tokens, numpy.log(curve["loss"]))
            curves.setdefault(found.run.sweep_id, []).append((place, found.run.arm_number, losses))
    noise = _pooled_covariance([(arm, losses) for _, arm, losses in curves[repeated.id]])
    places = numpy.array([place for place, _, _ in curves[drawn.id]])
    losses = numpy.array([losses for _, _, losses in curves[drawn.id]])
    losses = numpy.minimum(losses, losses.min(axis=0) + _HIGHEST)
    means = losses.mean(axis=0)
    weights = numpy.empty_like(losses)
    for at in range(len(shares)):
        scale = losses[:, at].var()
        covariance = _kernel(places, places) + (noise[at, at] / scale + 1e-6) * numpy.eye(len(places))
        weights[:, at] = numpy.linalg.solve(covariance, losses[:, at] - means[at])
    inverse = numpy.linalg.inv(covariance)
    left_out = weights[:, -1] / inverse.diagonal()
    return Surface(
        name=f"{end:.0%} of {len(places)} runs",
        axes=definition["axes"],
        shares=shares,
        places=places,
        weights=weights,
        means=means,
        noise=noise,
        explained=float(1 - (left_out**2).mean() / losses[:, -1].var()),
        ranks=[_rank_correlation(losses[:, at], losses[:, -1]) for at in range(len(shares))],
    )


def measure_step(arms: int = 5_000) -> None:
    """Wall seconds of one step with so many finished arms."""
    surface = load()[0]
    policy, space = replace(_policy(_first(surface)), trials=arms + 1, stop_early="asha"), surface.space
    generator, trials, results = numpy.random.default_rng(0), list[Trial](), dict[str, Result]()
    while len(trials) < arms:
        choices = {parameter(track): track.range.at(generator.random()) for track in _varying(space)}
        arm = space.arm(choices)
        if not isinstance(arm, PlannedArm) or arm.key in results:
            continue
        is_kept, value = generator.random() < 0.4, float(surface.truth(choices)[-1])
        outcome = ArmOutcome.MEASURED if is_kept else ArmOutcome.PRUNED
        results[arm.key] = Result(outcome=outcome, value=value, rung=None if is_kept else 250)
        trials.append(Trial(arm=arm.key, choices=choices))
    state = SearchState(trials=tuple(trials))
    start = time.perf_counter()
    step = next_step(policy, space, results, state)
    print(f"a step with {len(results):,} finished arms: {time.perf_counter() - start:.2f} s, {len(step.arms)} proposed")
    start = time.perf_counter()
    goes_on(policy, 250, 1.0, list(generator.random(1000)))
    print(f"the word at a rung that 1,000 arms have reached: {time.perf_counter() - start:.2f} s")


def load() -> list[Surface]:
    """The surfaces that are kept."""
    arrays = ("places", "weights", "means", "noise")
    return [
        Surface(**one | {name: numpy.array(one[name]) for name in arrays})
        for one in json.loads(KEPT.read_text(encoding="utf-8"))
    ]


def _policy(first: Choices, **changed: Any) -> SearchPolicy:
    made = SearchPolicy(
        metric="val_loss",
        goal=Goal.LOWER,
        trials=2,
        sampler="tpe",
        seed=0,
        num_runs=1,
        first=first,
        confirm=3,
        confirmation={"max_seeds": 20, "first_look": 3, "futility": 0.10},
    )
    return replace(made, **changed)


def _first(surface: Surface) -> Choices:
    """The middle of each range on its scale: the baseline."""
    return {parameter(track): track.range.at(0.5) for track in _varying(surface.space) if track.range}


def _varying(space: Space) -> list[Any]:
    return [track for track in space.tracks if track.count() > 1]


def _scaled(found: Any, value: float) -> float:
    """A range's value, from -1 to 1 on its scale."""
    low, high, at = (one if found.is_linear else math.log(one) for one in (found.low, found.high, value))
    return 2 * (at - low) / (high - low) - 1


def _kernel(left: Any, right: Any) -> Any:
    return numpy.exp(-((left[:, None] - right[None]) ** 2).sum(axis=2) / (2 * _REACH**2))


def _pooled_covariance(found: Sequence[tuple[int, Any]]) -> Any:
    """Of seeds around the mean of their arm; of a quiet majority of arms, since some of them spike."""
    arms: dict[int, list[Any]] = {}
    for arm, losses in found:
        arms.setdefault(arm, []).append(losses)
    own = [numpy.cov(numpy.array(losses).T) for losses in arms.values() if len(losses) > 1]
    quiet = sorted(own, key=lambda covariance: covariance[-1, -1])[: 1 + len(own) // 2]
    return numpy.mean(quiet, axis=0)


def _rank_correlation(one: Any, other: Any) -> float:
    ranks = [values.argsort().argsort() for values in (one, other)]
    return float(numpy.corrcoef(ranks)[0, 1])


def _lowest(surface: Surface) -> float:
    """The best true loss of ten thousand arms drawn at random."""
    generator = numpy.random.default_rng(0)
    places = generator.uniform(-1, 1, (10_000, surface.places.shape[1]))
    return float((surface.means[-1] + _kernel(places, surface.places) @ surface.weights[:, -1]).min())


def _place(surface: Surface, share: float) -> int:
    return min(range(len(surface.shares)), key=lambda at: abs(surface.shares[at] - share))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--fit", type=Path)
    parser.add_argument("--step", action="store_true")
    parser.add_argument("--rungs", action="store_true")
    parser.add_argument("--trials", type=int, default=40)
    parser.add_argument("--searches", type=int, default=100)
    given = parser.parse_args()
    if given.fit:
        found = [vars(fit(given.fit, end)) for end in ENDS]
        KEPT.write_text(json.dumps(found, default=lambda array: numpy.round(array, 9).tolist()), encoding="utf-8")
    elif given.step:
        measure_step()
    else:
        for surface in load():
            if given.rungs:
                measure_rungs(surface, budget=given.trials, searches=given.searches)
            else:
                measure(surface, trials=given.trials, searches=given.searches)


if __name__ == "__main__":
    main()
