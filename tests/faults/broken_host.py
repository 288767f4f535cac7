"""A host on which no run can work: each goes back untouched, its worker ends, and another host completes them all."""

import time
from dataclasses import replace
from pathlib import Path

from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Limits, Reason, State
from orchestrator.store import OpenMode, open_store
from tests.faults.harness import Fleet, Ground, ended_for, judged, new_sweep, read_ledger, scaled, submit, wait_until
from tests.faults.report import FaultRow
from tests.stand_in_trainer import Plan

WORKERS, RUNS = 40, 8
PLAN = Plan(steps=20)
# By turns: the disk is full while a run trains, and the libraries do not load.
BROKEN = (replace(PLAN, on_seed={str(100 + k): "host" for k in range(RUNS)}), replace(PLAN, load_blame="exit"))
# One error would fail a run.
STRICT = Limits(max_attempts=1, max_losses=1, backoff_seconds=0.01, max_backoff_seconds=0.05)


def run(scale: float, ground: Ground) -> list[FaultRow]:
    """Both databases."""
    wanted = scaled(WORKERS, scale, least=2)
    return [_broken(wanted, kind, db, folder) for kind, db, folder in ground.databases("broken-host")]


def _broken(wanted: int, kind: str, db: str, folder: Path) -> FaultRow:
    began = time.monotonic()
    submit(db, new_sweep(RUNS, limits=STRICT))
    broken = []
    with Fleet(db=db, folder=folder, workers=0) as fleet, open_store(db, mode=OpenMode.READ) as store:
        for number in range(wanted):
            fleet.plan = BROKEN[number % len(BROKEN)]
            fleet.start_one()
        wait_until(lambda: fleet.dead() == wanted, seconds=60 + 10 * wanted, what="every worker gives up")
        if (pending := store.counts(RunFilter())[State.PENDING]) != RUNS:
            broken.append(f"only {pending} of {RUNS} runs are left pending")
        if any(run.spent.errors or run.spent.losses for run in store.runs(RunFilter())):
            broken.append("the host's fault counts against a run")
        released = ended_for(db, Reason.RELEASED)
        fleet.plan, fleet.workers = PLAN, 1
        fleet.drain(seconds=120)
        fleet.stop()
        ledger = read_ledger(db, PLAN)
        counts = {"workers gave up": wanted}
        return judged("broken host", kind, ledger, fleet, began, landed=released, broken=broken, counts=counts)
