"""SIGKILL while a search stops arms early: of workers around their flushes and ends, and of the steps that they start.

Whoever dies, every search tries all its arms, none twice; each run is judged once at a rung, and completes or is
stopped there, never both.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from orchestrator.growth.declaring import with_policy
from orchestrator.growth.early_stopping import RUNG
from orchestrator.growth.search import SearchState
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason, State
from orchestrator.queue.sweeps import NewSweep
from orchestrator.store import Store
from orchestrator.sweep.existing_runs import Existing
from orchestrator.sweep.submission import prepare_sweep
from orchestrator.sweep.sweep_options import SweepOptions
from tests.faults.growth import WORKER_POINTS, Found, storm
from tests.faults.harness import PATIENT, Ground, scaled, small_settings
from tests.faults.report import FaultRow
from tests.stand_in_trainer import Plan

KILLS, TRIALS = 200, 8
POINTS = WORKER_POINTS | {"flush.before": 0.02, "flush.after": 0.02}
PLAN = Plan(steps=8, bowl=True, evaluate_every=1)


def run(scale: float, ground: Ground) -> list[FaultRow]:
    """On both databases."""
    wanted, fault = scaled(KILLS, scale, least=4), "killed in a search that stops arms early"
    return [
        storm(fault, wanted, one, ground.seed, more=searching_sweep, plan=PLAN, kill=POINTS, check=_check)
        for one in ground.databases("searching")
    ]


def searching_sweep(first_seed: int) -> NewSweep:
    """A search of eight arms that stops two of three at each rung, all of one seed."""
    settings = {name: [value] for name, value in small_settings(max_steps=8, eval_every=1).changed().items()}
    options = SweepOptions(trials=TRIALS, seed=first_seed, stop_early="asha", first_rung=0.25, search_seed=first_seed)
    axes = {**settings, "lr_mult": ["0.1..8"]}
    prepared = prepare_sweep(axes, options, db="unused.db", argv=[], find_existing=lambda plan: Existing())
    sweep = with_policy(prepared, options).sweep
    return replace(sweep, bookkeeping=replace(sweep.bookkeeping, limits=PATIENT))


def outcomes(store: Store, sweep_id: int) -> list[tuple[str, Reason | None, int]]:
    """What became of each arm of a search, and at how many rungs it was found good enough, in their order."""
    runs = list(store.runs(RunFilter(sweep_ids=(sweep_id,))))
    return [(run.arm_key, run.reason, len(_words(store, run.id))) for run in runs]


def broken_searches(store: Store) -> list[str]:
    """What is wrong with the searches of a database, all of which must have ended."""
    found = []
    for record in store.policies():
        arms = SearchState.of(record).arms
        if record.ended_at is None or len(set(arms)) != len(arms) or len(arms) != TRIALS:
            found.append(f"search {record.sweep_id}: {len(arms)} arms, {record.ended_why or 'open'}")
    for run in store.runs(RunFilter()):
        words, moves = _words(store, run.id), Counter(event.action for event in store.events(run_id=run.id))
        rightly = (State.CANCELLED, Reason.PRUNED) if moves["prune"] else (State.COMPLETED, Reason.FINISHED)
        if (run.state, run.reason) != rightly or moves["prune"] + moves["finish"] != 1 or len(words) != len(set(words)):
            found.append(f"run {run.id} is {run.state} ({run.reason}) after {dict(moves)}")
        if run.reason is Reason.PRUNED and (run.checkpoint is None or run.step < 2):
            found.append(f"run {run.id} was stopped at step {run.step} with checkpoint {run.checkpoint}")
    return found


def _words(store: Store, run_id: int) -> list[str]:
    return [event.why.split(":")[0] for event in store.events(run_id=run_id) if event.action == RUNG]


def _check(store: Store, sweeps: Sequence[NewSweep]) -> Found:
    stopped = store.matching(RunFilter(reasons=(Reason.PRUNED,)))
    return broken_searches(store), {"searches": len(sweeps), "stopped early": stopped}
