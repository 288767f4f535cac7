"""Before anything is trained: how many seeds a verdict needs, by the rule that the sweep will use."""

import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from hlbgpt_core.points import Split
from orchestrator.comparison.design import counterparts
from orchestrator.comparison.judging.bounds import VILLE, Bound
from orchestrator.comparison.statistics import always_valid_critical_t, fewest_pairs
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import State
from orchestrator.store import Store
from orchestrator.sweep.arm_labels import differing_settings
from orchestrator.sweep.baseline import with_zipped
from orchestrator.sweep.plan import Plan

POWER = 0.8
# If the noise is learned from few pairs, the true deviation is below its limit with this confidence.
NOISE_CONFIDENCE = 0.8
MOST_SEEDS = 1_000
HISTORY_RUNS = 1_000


@dataclass(frozen=True, kw_only=True)
class Noise:
    """The standard deviation of a paired difference; `degrees` of freedom, if it was learned from pairs."""

    deviation: float
    degrees: int | None = None


def contrasts_in(plan: Plan, baseline: Mapping[str, object]) -> int:
    """How many arms of the plan will be compared with a baseline: the size of Holm's family. 0 for one arm, and for
    random draws without a named baseline."""
    if not baseline:
        return 0 if plan.shape.random_draws is not None else len(plan.arms) - 1
    settings = [arm.settings.to_dict() for arm in plan.arms]
    names, whole = differing_settings(settings), with_zipped(baseline, settings, plan.shape.zips)
    return counterparts([tuple(map(one.get, names)) for one in settings], names, whole)


@dataclass(frozen=True, kw_only=True)
class SeedPlan:
    """What the seeds of a sweep allow: below `fewest` none of its `contrasts` can get a verdict. `needed` are those
    that find an effect of size `effect` with 80 % probability; None if that was not asked, or is over `most`."""

    contrasts: int
    fewest: int
    effect: float | None = None
    noise: Noise | None = None
    needed: int | None = None
    most: int = MOST_SEEDS


def seed_plan(
    contrasts: int, effect: float | None = None, noise: Noise | None = None, *, bound: Bound = VILLE
) -> SeedPlan:
    """The seed plan at Holm's level for the first verdict, which needs the evidence of `bound`."""
    level, most = 1 / bound.evidence(contrasts), bound.cap or MOST_SEEDS
    needed = None if effect is None or noise is None else seeds_needed(effect, noise.deviation, level, most)
    fewest = fewest_pairs(level)
    return SeedPlan(contrasts=contrasts, fewest=fewest, effect=effect, noise=noise, needed=needed, most=most)


def seeds_needed(effect: float, deviation: float, level: float, most: int = MOST_SEEDS) -> int | None:
    """Seeds at which the always-valid test of `level` finds a mean paired difference of `effect` with 80 % probability
    (t from the noncentral t-distribution), however noisy the pairs (`deviation`). None if over `most`."""
    import numpy
    from scipy.special import nctdtr

    count = numpy.arange(fewest_pairs(level), most + 1)
    limit = always_valid_critical_t(count, level)
    # Of far less noise than that, or of none, the distribution is not computed.
    power = 1 - nctdtr(count - 1, effect / max(deviation, 1e-6 * effect) * numpy.sqrt(count), limit)
    enough = numpy.flatnonzero(power >= POWER)
    return int(count[enough[0]]) if len(enough) else None


def learned_noise(groups: Iterable[Mapping[str, Mapping[int, float]]]) -> Noise | None:
    """The noise in groups of comparable arms (each with its numbers by seed), at its upper 80 % limit.

    Its variance is twice that of what is left of the numbers of a group without their arm's part and their seed's.
    None where nothing is left, as no two arms have two seeds in common.
    """
    import numpy
    from scipy.special import chdtri

    squares, degrees = 0.0, 0
    for arms in groups:
        cells = {(arm, seed): value for arm, own in arms.items() for seed, value in own.items()}
        parts = dict.fromkeys(itertools.chain.from_iterable(cells))
        design = numpy.array([[part in cell for part in parts] for cell in cells], float)
        values = numpy.array(list(cells.values()))
        fitted, _, rank, _ = numpy.linalg.lstsq(design.T @ design, design.T @ values)
        squares += float(((values - design @ fitted) ** 2).sum())
        degrees += len(cells) - int(rank)
    if not degrees:
        return None
    return Noise(deviation=math.sqrt(2 * squares / float(chdtri(degrees, NOISE_CONFIDENCE))), degrees=degrees)


def read_noise(store: Store, plan: Plan) -> Noise | None:
    """The noise of the last val loss in completed runs of arms like the plan's: equal in all that the plan does not
    vary, on the same data and by the same code."""
    varying = {*plan.varying(), "model_scale"}
    fixed = {name: value for name, value in plan.arms[0].settings.to_dict().items() if name not in varying}
    runs = list(store.runs(RunFilter(states=(State.COMPLETED,), where=fixed), limit=HISTORY_RUNS))
    losses = store.losses([run.id for run in runs], Split.VAL)
    groups: dict[Sequence[str], dict[str, dict[int, float]]] = {}
    as_one = functools.cache(store.same_code().as_one)
    for run in runs:
        if run.id in losses and math.isfinite(losses[run.id][-1]):
            alike = (str(run.facts.get("data_fingerprint")), *(part.digest for part in as_one(tuple(run.code))))
            groups.setdefault(alike, {}).setdefault(run.arm_key, {})[run.seed] = losses[run.id][-1]
    return learned_noise(groups.values())
