"""SIGKILL of supervisors and trainers, at named points and at random from outside, while they hold runs."""

import random
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import State
from orchestrator.queue.sweeps import NewSweep
from orchestrator.store import OpenMode, Store, open_store
from tests.faults.harness import (
    Curves,
    Fleet,
    Ground,
    Ledger,
    children,
    curves_of,
    is_short,
    losses,
    new_sweep,
    read_ledger,
    scaled,
    submit,
    trainers_of,
    wait_until,
)
from tests.faults.report import FaultRow
from tests.faults.worker_under_fault import Faults
from tests.stand_in_trainer import Plan
from worker.processes import kill_exactly, start_ticks

STAND_IN_FAULTS = {"SQLite": 1_000, "PostgreSQL": 200}
REAL_FAULTS = 50
SUPERVISOR_POINTS = {
    "claim.inside": 0.01,
    "claim.after": 0.02,
    "flush.before": 0.008,
    "flush.inside": 0.008,
    "flush.after": 0.008,
    "commit_checkpoint.before": 0.01,
    "commit_checkpoint.inside": 0.01,
    "commit_checkpoint.after": 0.01,
    "finish.before": 0.04,
    "finish.inside": 0.04,
    "finish.after": 0.04,
}
TRAINER_POINTS = {"step": 0.02, "before_rename": 0.06, "after_rename": 0.06}
PLAN = Plan(steps=30, step_seconds=0.005, checkpoint_every=5, kill=TRAINER_POINTS)
PAUSE_SECONDS = 0.15
SUPERVISORS_SHARE = 0.4


def run(scale: float, ground: Ground) -> list[FaultRow]:
    """The stand-in on both databases, then the real trainer."""
    rows = [
        _with_stand_in(scaled(STAND_IN_FAULTS[kind], scale, least=4), kind, db, folder, ground.seed)
        for kind, db, folder in ground.databases("sigkill")
    ]
    if is_short(scale):  # torch takes longer to load than a short draw may last
        return rows
    return [*rows, _with_real_trainer(scaled(REAL_FAULTS, scale), ground)]


def _with_stand_in(wanted: int, kind: str, db: str, folder: Path, seed: int) -> FaultRow:
    began = time.monotonic()
    runs = min(20, 2 + wanted)
    submit(db, new_sweep(runs))
    workers = min(8, max(2, wanted // 2))
    with Fleet(db=db, folder=folder, workers=workers, plan=PLAN, faults=Faults(kill=SUPERVISOR_POINTS)) as fleet:
        at_random = _hurt(fleet, wanted, new_runs=runs, seed=seed)
        fleet.faults, fleet.plan = Faults(), replace(PLAN, kill={})
        fleet.drain(seconds=120)
        fleet.stop()
        ledger = read_ledger(db, PLAN)
        noted = Counter(fleet.landed()) + at_random
        return _row("SIGKILL, stand-in trainer", kind, ledger, noted, fleet, began)


def _with_real_trainer(wanted: int, ground: Ground) -> FaultRow:
    """Seeds that are trained once undisturbed must come out the same, to the bit, however often they are killed."""
    began = time.monotonic()
    folder = ground.place("sigkill-real")
    curves = undisturbed_curves(folder, runs=max(1, min(6, wanted // 6)))
    db = str(folder / "hlbq.db")
    submit(db, real_sweep(len(curves)))
    points = {point: chance / 2 for point, chance in SUPERVISOR_POINTS.items()}
    with Fleet(db=db, folder=folder, workers=2, faults=Faults(kill=points, real_trainer=True)) as fleet:
        at_random = _hurt(fleet, wanted, new_runs=len(curves), seed=ground.seed, pause_seconds=2.0)
        fleet.faults = Faults(real_trainer=True)
        fleet.drain(seconds=300)
        fleet.stop()
        ledger = read_ledger(db, None, curves=curves)
        noted = Counter(fleet.landed()) + at_random
        return _row("SIGKILL, real trainer", "SQLite", ledger, noted, fleet, began)


def real_sweep(runs: int) -> NewSweep:
    """Runs of a tiny real model, long enough to be killed in their midst."""
    return new_sweep(runs, checkpoint_every_seconds=0.3, max_steps=150)


def undisturbed_curves(folder: Path, *, runs: int) -> Curves:
    """What the runs of `real_sweep` come to when nobody disturbs them, by seed."""
    db = str(folder / "undisturbed.db")
    submit(db, real_sweep(runs))
    with Fleet(db=db, folder=folder, workers=1, faults=Faults(real_trainer=True)) as fleet:
        fleet.drain(seconds=240, what="the undisturbed runs end")
    return curves_of(db)


def _hurt(fleet: Fleet, wanted: int, *, new_runs: int, seed: int, pause_seconds: float = PAUSE_SECONDS) -> Counter[str]:
    """Kill until `wanted` runs were lost, with work for all; returns how often it was at random, by kind."""
    dice = random.Random(1000 * seed + wanted)
    at_random: Counter[str] = Counter()
    next_at = time.monotonic() + pause_seconds
    patience = time.monotonic() + 120 + 5.0 * wanted
    with open_store(fleet.db, mode=OpenMode.WRITE) as store:
        while losses(store) < wanted:
            fleet.keep_up()
            if store.counts(RunFilter())[State.PENDING] < 2 * fleet.workers:
                _more_work(store, fleet, new_runs)
            if time.monotonic() >= next_at:
                at_random[_kill_a_holder(store, dice)] += 1
                next_at = time.monotonic() + dice.uniform(0.5, 1.5) * pause_seconds
            if time.monotonic() > patience:
                raise AssertionError(f"only {losses(store)} of {wanted} faults landed; {fleet.log()[-2000:]}")
            time.sleep(0.02)
    del at_random[""]
    return at_random


def _more_work(store: Store, fleet: Fleet, runs: int) -> None:
    store.submit(real_sweep(runs) if fleet.faults.real_trainer else new_sweep(runs))


def _kill_a_holder(store: Store, dice: random.Random) -> str:
    """SIGKILL the supervisor or the trainer of some run; returns which, or nothing if no one held a run."""
    holders = [one.identity for one in store.workers() if one.run_id is not None]
    if not holders:
        return ""
    holder = dice.choice(holders)
    if dice.random() < SUPERVISORS_SHARE:
        return "random, supervisor" if kill_exactly(holder.pid, holder.start_ticks) else ""
    trainers = children(holder.pid)
    if not trainers:
        return ""
    return "random, trainer" if kill_exactly(trainers[0], start_ticks(trainers[0])) else ""


def _row(fault: str, kind: str, ledger: Ledger, noted: Counter[str], fleet: Fleet, began: float) -> FaultRow:
    wait_until(lambda: not trainers_of(fleet.started), seconds=120, what="no trainer outlives its supervisor")
    counts = {
        "supervisors killed while they held a run": ledger.lost_supervisors,
        "trainers killed so": ledger.lost_trainers,
        "runs": ledger.runs,
        "attempts": ledger.attempts,
        **{f"at {point}": count for point, count in sorted(noted.items())},
    }
    return FaultRow(
        fault=fault,
        database=kind,
        landed=ledger.landed,
        lost=ledger.lost + ledger.wrong_points,
        finished_twice=ledger.finished_twice,
        stale_rows=ledger.stale_rows,
        counts=counts,
        seconds=time.monotonic() - began,
        broken=(*ledger.problems, *fleet.complaints()),
    )
