"""The seeds that undecided contrasts want, as a command to type, and what that costs."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from orchestrator.comparison.advice import PAIRS_TO_BEGIN_WITH
from orchestrator.comparison.contrasts import Contrast
from orchestrator.comparison.groups import RunResult
from orchestrator.queue.records import RunFilter
from orchestrator.store import Store


@dataclass(frozen=True, kw_only=True)
class Extension:
    """What `hlbq extend` is to be told, and how many `runs` that adds.

    `only_undecided` says that `--undecided` finds the same arms as this comparison.
    """

    sweep: int
    num_runs: int
    only_undecided: bool
    runs: int


def extension_of(
    store: Store,
    wanted: RunFilter,
    sweeps: Sequence[int],
    results: Sequence[RunResult],
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
    if not contrasts and all(result.run.run_num == 1 for result in results):
        asked = [PAIRS_TO_BEGIN_WITH - 1]
    by_run = wanted.run_ids or wanted.states or wanted.reasons or wanted.tags
    hides_seeds = by_run or {"seed", "run_num"} & set(wanted.where)
    if len(sweeps) > 1 or hides_seeds or max(asked, default=0) <= 0:
        return None
    seeds: dict[str, set[int]] = {}
    longest = 0
    for run in store.runs(RunFilter(sweep_ids=(sweeps[0],), with_members=True)):
        seeds.setdefault(run.arm_key, set()).add(run.seed)
        longest = max(longest, run.run_num)
    arms = set(seeds)
    only_undecided = is_usual and bool(contrasts) and set(undecided) < arms
    chosen = set(undecided) if only_undecided else arms
    num_runs = longest + max(asked)
    return Extension(
        sweep=sweeps[0],
        num_runs=num_runs,
        only_undecided=only_undecided,
        runs=num_runs * len(chosen) - sum(len(seeds[arm]) for arm in chosen),
    )
