"""The fence taken out: workers that were stopped past their lease write on. The suite must see runs finish twice."""

import os
import signal
import time
from dataclasses import replace
from pathlib import Path

from orchestrator.queue.runs import RunFilter
from orchestrator.store import OpenMode, Store, open_store
from tests.faults.harness import (
    Fleet,
    Ground,
    drained,
    is_short,
    new_sweep,
    read_ledger,
    scaled,
    stop_between_transactions,
    submit,
    wait_until,
)
from tests.faults.report import FaultRow
from tests.faults.worker_under_fault import Faults
from tests.stand_in_trainer import Plan

ZOMBIES, CONTROLS = 12, 4
AT_ONCE = 4
# Held early on, so that all of a batch train at the same time.
PLAN = Plan(steps=120, step_seconds=0.01, checkpoint_every=20, hold_after=2)
# A lease that a busy machine does not use up by itself.
CALM = {"lease_seconds": 3.0, "self_fence_seconds": 2.2, "flush_seconds": 0.2}


def run(scale: float, ground: Ground) -> list[FaultRow]:
    """The same zombies twice on each database: as hlbq is, and with the fence taken out."""
    rows = []
    for no_fence in (False, True):
        for kind, db, folder in ground.databases("no-fence", sqlite_alone=is_short(scale)):
            zombies = CONTROLS if no_fence else ZOMBIES
            rows.append(_with_zombies(scaled(zombies, scale, least=2), kind, db, folder, no_fence=no_fence))
    return rows


def _with_zombies(count: int, kind: str, db: str, folder: Path, *, no_fence: bool) -> FaultRow:
    """Stop `count` holders in all, have others finish their runs, let them go on."""
    began = time.monotonic()
    rescuer = Faults(host="rescuer/1", timing=CALM)
    zombie = Faults(host="zombie-#/1", timing=CALM, no_fence=no_fence)
    done = 0
    with Fleet(db=db, folder=folder, workers=0, plan=PLAN, faults=rescuer) as fleet:
        while done < count:
            batch = min(AT_ONCE, count - done)
            _rise_again(fleet, zombie, batch)
            done += batch
            _wait_for_words(fleet, done, no_fence=no_fence)
            fleet.stop()  # the next batch begins among none but its own
        ledger = read_ledger(db, PLAN)
        name = "zombies with the fence taken out" if no_fence else "the same zombies with the fence"
        return FaultRow(
            fault=name,
            database=kind,
            landed=ledger.lost_supervisors,
            lost=ledger.lost + (0 if no_fence else ledger.wrong_points),
            finished_twice=ledger.finished_twice,
            stale_rows=ledger.stale_rows,
            besides="must finish runs twice: the suite can see the fault" if no_fence else "every write refused",
            seconds=time.monotonic() - began,
            broken=() if no_fence else (*ledger.problems, *fleet.complaints()),
            proves_sight=no_fence,
        )


def _rise_again(fleet: Fleet, zombie: Faults, count: int) -> None:
    """Stop workers that all train, let others finish their runs, let the stopped go on."""
    submit(fleet.db, new_sweep(3 * count))  # more than zombies: the first to start must not be left without
    go = fleet.folder / f"go-{len(fleet.started)}"
    fleet.plan = replace(PLAN, go=str(go))
    # Each on a host of its own: of a process elsewhere only the lease tells.
    zombies = [fleet.start_one(faults=zombie) for _ in range(count)]
    with open_store(fleet.db, mode=OpenMode.WRITE, busy_timeout_seconds=2) as store:
        wait_until(lambda: _all_train(store, {one.pid for one in zombies}), seconds=120, what="every zombie trains")
        stop_between_transactions(store, [one.pid for one in zombies])
        go.touch()
        fleet.start_one()
        fleet.start_one()
        wait_until(lambda: drained(store), seconds=300, what="every run is finished by others")
    for one in zombies:
        os.kill(one.pid, signal.SIGCONT)


def _all_train(store: Store, pids: set[int]) -> bool:
    """Whether each of these processes holds a run and has trained a little."""
    steps = {run.worker_id: run.step for run in store.running(RunFilter())}
    return sum(one.identity.pid in pids and steps.get(one.id, 0) >= 2 for one in store.workers()) == len(pids)


def _wait_for_words(fleet: Fleet, count: int, *, no_fence: bool) -> None:
    """Wait until every zombie has said what became of its run."""
    ends = "ends (finished)" if no_fence else "no longer held by this worker"
    wanted = 4 * count if no_fence else count
    wait_until(lambda: fleet.log().count(ends) >= wanted, seconds=120, what=f"{wanted} times '{ends}'")
