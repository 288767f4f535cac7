"""The seeds that undecided contrasts want, as a command to type, and what that costs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from operator import itemgetter

from orchestrator.comparison.design import Design
from orchestrator.comparison.judging.advice import PAIRS_TO_BEGIN_WITH
from orchestrator.comparison.judging.contrasts import Contrast
from orchestrator.comparison.measuring.compared_runs import ComparedRun
from orchestrator.queue.runs import RunFilter
from orchestrator.store import Store


@dataclass(frozen=True, kw_only=True)
class Extension:
    """What `hlbq extend` is to be told, and how many `runs` that adds. `only_undecided` says that `--undecided` finds
    the same arms as this comparison."""

    sweep: int
    num_runs: int
    only_undecided: bool
    runs: int


def extension_of(
    store: Store,
    wanted: RunFilter,
    design: Design,
    runs: Sequence[ComparedRun],
    contrasts: Sequence[Contrast],
    undecided: Collection[str],
    *,
    is_usual: bool,
) -> Extension | None:
    """The seeds that are likely to decide every contrast that some would decide, besides those that are under way.

    `is_usual` says that nothing but one whole sweep was asked about. None across several sweeps, and where filters may
    hide seeds that the sweep has: those come first.
    """
    advised = [(one.arms, one.finding.advice, one.pairs.waiting) for one in contrasts if one.wins is None]
    asked = [
        (arms, advice.likely - waiting)
        for arms, advice, waiting in advised
        if advice is not None and advice.likely is not None and advice.likely > waiting
    ]
    if not contrasts and all(run.run_num == 1 for run in runs):
        asked = [([run.arm_key for run in runs], PAIRS_TO_BEGIN_WITH - 1)]
    by_run = wanted.run_ids or wanted.states or wanted.reasons or wanted.tags
    hides_seeds = by_run or {"seed", "run_num"} & set(wanted.where)
    if design.first_seed is None or hides_seeds or not asked:
        return None
    sweep = design.sweeps[0]
    there = store.runs_by_seed(sweep)
    last = dict(sorted(there, key=itemgetter(1)))
    only_undecided = is_usual and bool(contrasts) and set(undecided) < set(last)
    chosen = set(undecided) if only_undecided else set(last)
    num_runs = max(min(last[arm] for arm in arms) + further for arms, further in asked) - design.first_seed + 1
    added = num_runs * len(chosen) - sum(arm in chosen for arm, _ in there)
    return Extension(sweep=sweep, num_runs=num_runs, only_undecided=only_undecided, runs=added)
