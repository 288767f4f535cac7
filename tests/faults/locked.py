"""The database locked by another process for 30 s: longer than the busy timeout, shorter than a lease."""

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from orchestrator.queue.runs import RunFilter
from orchestrator.store import OpenMode, open_store
from tests.faults.harness import (
    UNHURRIED,
    Fleet,
    Ground,
    drained,
    is_shortest,
    new_sweep,
    read_ledger,
    submit,
    wait_until,
)
from tests.faults.report import FaultRow
from tests.faults.worker_under_fault import Faults
from tests.stand_in_trainer import Plan

LOCK_SECONDS = 30.0
WORKERS = 4


def run(scale: float, ground: Ground) -> list[FaultRow]:
    """With the real intervals; a short draw shortens the lock and all intervals alike."""
    shorter = 1.0 if scale >= 0.5 else 0.06
    databases = ground.databases("locked", sqlite_alone=is_shortest(scale))
    return [_locked(shorter, kind, db, folder) for kind, db, folder in databases]


def _locked(shorter: float, kind: str, db: str, folder: Path) -> FaultRow:
    began = time.monotonic()
    timing = {name: value * shorter for name, value in UNHURRIED.items() if name.endswith("seconds")}
    go = folder / "go"
    # Each run goes on in the lock and outlasts it, so that points are made while nobody can write.
    plan = Plan(steps=80, step_seconds=0.6 * shorter, checkpoint_every=5, hold_after=3, go=str(go))
    submit(db, new_sweep(WORKERS))
    with Fleet(db=db, folder=folder, workers=WORKERS, plan=plan, faults=Faults(timing=timing)) as fleet:
        fleet.keep_up()
        with open_store(db, mode=OpenMode.READ) as store:
            wait_until(
                lambda: sum(run.step >= 3 for run in store.running(RunFilter())) == WORKERS,
                seconds=120,
                what="every worker trains",
            )
            with _nobody_else_writes(db, kind):
                before = [run.step for run in store.running(RunFilter())]
                go.touch()
                time.sleep(LOCK_SECONDS * shorter)
                # On a busy machine the workers may have been slow to find it locked.
                wait_until(lambda: "waiting for the database" in fleet.log(), seconds=120, what="a worker waits")
                during = [run.step for run in store.running(RunFilter())]
            wait_until(
                lambda: drained(store),
                seconds=300,
                what="every run ends",
            )
        crashed = fleet.dead()
        fleet.stop()
        ledger = read_ledger(db, plan)
        broken = [*ledger.problems, *fleet.complaints()]
        if crashed:
            broken.append(f"{crashed} workers crashed")
        if before != during:
            broken.append("the lock did not hold")
        waited = fleet.log().count("waiting for the database")
        return FaultRow(
            fault=f"database locked {LOCK_SECONDS * shorter:g} s by another process",
            database=kind,
            landed=waited,
            lost=ledger.lost + ledger.wrong_points,
            finished_twice=ledger.finished_twice,
            stale_rows=ledger.stale_rows,
            besides=f"{crashed} crashes; {ledger.attempts - ledger.runs} runs given away; no point missing",
            seconds=time.monotonic() - began,
            broken=tuple(broken),
        )


@contextlib.contextmanager
def _nobody_else_writes(db: str, kind: str) -> Iterator[None]:
    if kind == "SQLite":
        holder = sqlite3.connect(db, isolation_level=None, timeout=30)
        holder.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            holder.execute("ROLLBACK")
            holder.close()
        return
    import psycopg

    with psycopg.connect(db) as connection:
        # As strong as a writer's lock can be while readers go on.
        connection.execute("LOCK TABLE runs, workers, points, attempts, events IN EXCLUSIVE MODE")
        yield
        connection.rollback()
