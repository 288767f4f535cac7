"""PostgreSQL killed and started again, several times, while workers write."""

import time

from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import State
from orchestrator.store import OpenMode, open_store
from tests.faults.harness import Fleet, Ground, drained, new_sweep, read_ledger, scaled, submit, wait_until
from tests.faults.report import FaultRow
from tests.faults.worker_under_fault import Faults
from tests.postgresql_server import NoServerError, private_server
from tests.stand_in_trainer import Plan

RESTARTS = 10
WORKERS = 4
PLAN = Plan(steps=100, step_seconds=0.03, checkpoint_every=10)
NAME = "PostgreSQL restarted under load (immediate)"


def run(scale: float, ground: Ground) -> list[FaultRow]:
    """A server of its own that keeps what it has acknowledged."""
    if ground.postgresql is None:
        return [FaultRow(fault=NAME, database="PostgreSQL", skipped=ground.no_postgresql)]
    began = time.monotonic()
    folder = ground.place("postgres-restart")
    try:
        with private_server(durable=True) as server:
            db = server.create_database()
            submit(db, new_sweep(2 * WORKERS))
            # A lease that outlasts a restart: runs that are given away for it would be another fault.
            timing = {"lease_seconds": 30.0, "self_fence_seconds": 20.0}
            faults = Faults(timing=timing)
            restarts, landed = scaled(RESTARTS, scale, least=2), 0
            with Fleet(db=db, folder=folder, workers=WORKERS, plan=PLAN, faults=faults) as fleet:
                fleet.keep_up()
                for _ in range(restarts):
                    landed += _wait_for_load(db)
                    server.stop("immediate")
                    server.start()
                with open_store(db, mode=OpenMode.READ) as store:
                    wait_until(
                        lambda: drained(store),
                        seconds=180,
                        what="every run ends",
                    )
                crashed = fleet.dead()
                fleet.stop()
                ledger = read_ledger(db, PLAN)
                broken = [*ledger.problems, *fleet.complaints()]
                if crashed:
                    broken.append(f"{crashed} workers crashed")
    except NoServerError as error:
        return [FaultRow(fault=NAME, database="PostgreSQL", broken=(str(error),))]
    points, given_away = ledger.runs * (PLAN.steps + 1), ledger.attempts - ledger.runs
    return [
        FaultRow(
            fault=NAME,
            database="PostgreSQL",
            landed=landed,
            lost=ledger.lost + ledger.wrong_points,
            finished_twice=ledger.finished_twice,
            stale_rows=ledger.stale_rows,
            besides=f"{restarts} restarts; {points:,} points, none missing; {given_away} runs given away",
            seconds=time.monotonic() - began,
            broken=tuple(broken),
        )
    ]


def _wait_for_load(db: str) -> int:
    """Wait until the workers train and write (with work for all); returns how many hold a run."""
    with open_store(db, mode=OpenMode.WRITE) as store:
        before = sum(run.step for run in store.running(RunFilter()))

        def all_train() -> bool:
            if store.counts(RunFilter())[State.PENDING] < 2 * WORKERS:
                store.submit(new_sweep(2 * WORKERS))
            running = store.running(RunFilter())
            return len(running) == WORKERS and sum(run.step for run in running) not in (0, before)

        wait_until(all_train, seconds=120, what="every worker trains")
        return len(store.running(RunFilter()))
