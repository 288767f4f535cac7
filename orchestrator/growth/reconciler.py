"""Takes the steps that are due: reads results, asks the pure step, and writes what it says in one transaction.

Reading and computing happen outside any transaction. If somebody else took the step meanwhile, the policy's version no
longer matches: nothing is written, and the results are read again. So each step is taken once, whoever dies.
"""

import dataclasses
from collections.abc import Iterator, Sequence

from orchestrator.comparison.judging.policy import PolicyState, closure_text, policy_of
from orchestrator.growth import decide, race
from orchestrator.growth.reading import read_results
from orchestrator.growth.search import SearchState
from orchestrator.growth.searching import search_step
from orchestrator.growth.standing import arm_labels
from orchestrator.queue.sweeps import SEARCH, PolicyRecord, PolicyStep, SweepRecord
from orchestrator.store import Store


@dataclasses.dataclass(frozen=True, kw_only=True)
class StepTaken:
    """What one step did, for people."""

    sweep_id: int
    added: int
    sentences: Sequence[str]


def take_due_steps(store: Store, *, sweep_ids: Sequence[int] = (), actor: str) -> Iterator[StepTaken]:
    """Take every step that is due, of these sweeps or of all, until none is. A step that fails keeps no other sweep
    from growing: its error is raised at the end. A search of `sweep_ids` that waits for its data looks for them first.
    """
    failed: dict[int, Exception] = {}
    looks = [one for one in store.policies(sweep_ids, only_open=True) if _looks_again(one)] if sweep_ids else []
    while due := [*looks, *(record for record in store.due_policies(sweep_ids) if record.id not in failed)]:
        looks = []
        for record in due:
            try:
                taken = _take_step(store, record, actor)
            except Exception as error:  # a bug that one sweep meets too
                failed[record.id] = error
                continue
            if taken is not None:
                yield taken
    if failed:
        raise next(iter(failed.values()))


def _looks_again(record: PolicyRecord) -> bool:
    """Whether a search waits for its data: that they are back is no result, and makes no step due."""
    return record.kind == SEARCH and not record.is_due and SearchState.of(record).waits_for_data


def _take_step(store: Store, record: PolicyRecord, actor: str) -> StepTaken | None:
    sweep = store.sweep(record.sweep_id)
    if sweep is None:
        return None
    step = (search_step if record.kind == SEARCH else _decide_step)(store, record, sweep)
    added = store.take_step(step, actor)
    return None if added is None else StepTaken(sweep_id=record.sweep_id, added=added, sentences=step.events)


def _decide_step(store: Store, record: PolicyRecord, sweep: SweepRecord) -> PolicyStep:
    policy, state = policy_of(record), PolicyState.of(record)
    first_seed = policy.begins_at(int(sweep.definition["seed"]))
    results = read_results(store, policy, sweep.id, first_seed)
    next_step = race.next_step if policy.best_arm else decide.next_step
    step = next_step(policy, results, state, workers=len(store.workers()))
    new = step.state.closures[len(state.closures) :]
    labels = arm_labels(store, sweep.id) if new else {}
    runs = [(arm, first_seed + place) for arm, seeds in step.seeds.items() for place in range(seeds)]
    return PolicyStep(
        read=record,
        state=dataclasses.asdict(step.state),
        # All arms: to grow, a sweep must have those for itself too of which it has only runs of other sweeps.
        arms=store.arms(sweep.id) if runs else (),
        runs=sorted(runs, key=lambda run: run[1]),  # every arm's next seed before any arm's second next
        events=[f"{labels.get(one.arm, one.arm)}: {closure_text(one, policy)}" for one in new],
        ended_why="every arm is closed" if step.ends else "",
    )
