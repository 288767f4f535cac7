"""SIGHUP to whole process groups, as a terminal that closes sends it: runs are released, under nohup they go on."""

import os
import random
import signal
import time
from pathlib import Path

from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason
from orchestrator.store import OpenMode, Store, open_store
from tests.faults.harness import (
    Fleet,
    Ground,
    ended_for,
    judged,
    losses,
    new_sweep,
    read_ledger,
    scaled,
    submit,
    wait_until,
)
from tests.faults.report import FaultRow
from tests.stand_in_trainer import Plan

HANG_UPS = 60
NOHUP_SHARE = 0.25
PLAN = Plan(steps=120, step_seconds=0.02, checkpoint_every=1000)


def run(scale: float, ground: Ground) -> list[FaultRow]:
    """Both databases."""
    wanted = scaled(HANG_UPS, scale, least=2)
    return [_hung_up(wanted, kind, db, folder, ground.seed) for kind, db, folder in ground.databases("hang-up")]


def _hung_up(wanted: int, kind: str, db: str, folder: Path, seed: int) -> FaultRow:
    began, dice, ignored = time.monotonic(), random.Random(seed), 0
    broken = []
    submit(db, new_sweep(4))
    with Fleet(db=db, folder=folder, workers=0, plan=PLAN) as fleet, open_store(db, mode=OpenMode.WRITE) as store:
        for number in range(wanted):
            under_nohup = number % 4 == 3 or (number == wanted - 1 and not ignored)
            fleet.inside = ("setsid", "nohup") if under_nohup else ("setsid",)
            worker = fleet.start_one()
            step = _wait_for_step(store, worker.pid)
            for _ in range(dice.randint(1, 3)):  # the kernel's, and the shell's
                os.killpg(worker.pid, signal.SIGHUP)
            if under_nohup:
                ignored += 1
                wait_until(lambda: _step(store, worker.pid) != step, seconds=60, what="it trains on")  # noqa: B023
                worker.terminate()
            worker.wait(timeout=120)
            if worker.returncode != 0:
                broken.append(f"exit code {worker.returncode}")
        if losses(store):
            broken.append(f"{losses(store)} runs lost their worker instead of being released")
        fleet.inside, fleet.workers = (), 2
        fleet.drain(seconds=300)
        fleet.stop()
        ledger = read_ledger(db, PLAN)
        counts = {"runs released": ended_for(db, Reason.RELEASED), "ignored under nohup": ignored}
        fault = "SIGHUP to a worker and its trainer"
        return judged(fault, kind, ledger, fleet, began, landed=wanted, broken=broken, counts=counts)


def _step(store: Store, pid: int) -> tuple[int, int]:
    """The run that a worker process holds, and its step; (0, 0) without one."""
    held = {one.id for one in store.workers() if one.identity.pid == pid}
    return next(((run.id, run.step) for run in store.running(RunFilter()) if run.worker_id in held), (0, 0))


def _wait_for_step(store: Store, pid: int) -> tuple[int, int]:
    """Wait until the worker trains; there is always work."""

    def trains() -> bool:
        if not store.waiting():
            store.submit(new_sweep(4))
        return _step(store, pid)[1] >= 3

    wait_until(trains, seconds=120, what="the worker trains")
    return _step(store, pid)
