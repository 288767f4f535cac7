"""The seeds that undecided contrasts want, as a command to type, and what that costs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

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
    advised = [(one.finding.advice, one.pairs.waiting) for one in contrasts if one.wins is None]
    asked = [advice.likely - waiting for advice, waiting in advised if advice is not None and advice.likely is not None]
    if not contrasts and all(run.run_num == 1 for run in runs):
        asked = [PAIRS_TO_BEGIN_WITH - 1]
    by_run = wanted.run_ids or wanted.states or wanted.reasons or wanted.tags
    hides_seeds = by_run or {"seed", "run_num"} & set(wanted.where)
    if design.first_seed is None or hides_seeds or max(asked, default=0) <= 0:
        return None
    sweep = design.sweeps[0]
    there = store.runs_by_seed(sweep)
    arms = {arm for arm, _ in there}
    only_undecided = is_usual and bool(contrasts) and set(undecided) < arms
    chosen = set(undecided) if only_undecided else arms
    num_runs = max(seed for _, seed in there) - design.first_seed + 1 + max(asked)
    added = num_runs * len(chosen) - sum(arm in chosen for arm, _ in there)
    return Extension(sweep=sweep, num_runs=num_runs, only_undecided=only_undecided, runs=added)
