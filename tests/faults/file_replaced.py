"""A database removed, or made anew under its name, while workers train: nothing of the old one gets into the new."""

import random
import time
from pathlib import Path

from orchestrator.queue.runs import RunFilter
from orchestrator.store import OpenMode, Store, open_store
from tests.faults.harness import (
    Fleet,
    Ground,
    ask,
    judged,
    new_sweep,
    read_ledger,
    scaled,
    submit,
    wait_until,
)
from tests.faults.report import FaultRow
from tests.stand_in_trainer import Plan

ROUNDS, WORKERS = 12, 3
# Long: nobody is done with a run when its database goes.
LONG, SHORT = Plan(steps=1000, step_seconds=0.02, checkpoint_every=5), Plan(steps=20)


def run(scale: float, ground: Ground) -> list[FaultRow]:
    """Both databases."""
    rounds = scaled(ROUNDS, scale, least=2)
    return [_replaced(rounds, kind, db, folder, ground.seed) for kind, db, folder in ground.databases("file-replaced")]


def _replaced(rounds: int, kind: str, db: str, folder: Path, seed: int) -> FaultRow:
    began, dice = time.monotonic(), random.Random(seed)
    broken, landed, removed = [], 0, 0
    with Fleet(db=db, folder=folder, workers=0) as fleet:
        for number in range(rounds):
            fleet.plan = LONG
            submit(db, new_sweep(WORKERS))
            for _ in range(WORKERS):
                fleet.start_one()
            with open_store(db, mode=OpenMode.READ) as store:
                wait_until(lambda: _holders(store) == WORKERS, seconds=120, what="every worker trains")
                landed += _holders(store)
            time.sleep(dice.uniform(0, 0.5))
            _remove(db, kind)
            only_removed = number % 2 == 1
            if not only_removed:
                # Equal numbers of runs and workers: only the database's own identity tells.
                submit(db, new_sweep(WORKERS))
            wait_until(lambda: fleet.dead() == WORKERS, seconds=120, what="the old workers end")
            codes = [worker.returncode for worker in fleet.processes]
            if set(codes) != {2}:
                broken.append(f"exit codes {codes}")
            fleet.stop()
            if only_removed:
                removed += 1
                if kind == "SQLite" and Path(db).exists():
                    broken.append("a removed file was made again")
                submit(db, new_sweep(WORKERS))
            broken += _untouched(db)
            fleet.plan, fleet.workers = SHORT, 1
            fleet.drain(seconds=120)
            fleet.stop()
            ledger = read_ledger(db, SHORT)
            if number < rounds - 1:
                if not ledger.clean:
                    broken.append(f"the new database: {ledger}")
                _remove(db, kind)
        counts = {"rounds": rounds, "of them only removed": removed}
        fault = "database removed or replaced under workers"
        return judged(fault, kind, ledger, fleet, began, landed=landed, broken=broken, counts=counts)


def _holders(store: Store) -> int:
    return sum(run.step >= 3 for run in store.running(RunFilter()))


def _remove(db: str, kind: str) -> None:
    """Take the database away; on a server an empty one of its name is there at once."""
    if kind == "SQLite":
        for path in Path(db).parent.glob("hlbq.db*"):
            if path.is_file():
                path.unlink()
        return
    import psycopg

    server, _, name = db.rpartition("/")
    with psycopg.connect(f"{server}/postgres{name.partition('?')[1]}{name.partition('?')[2]}", autocommit=True) as it:
        it.execute(f"DROP DATABASE {name.partition('?')[0]} WITH (FORCE)".encode())
        it.execute(f"CREATE DATABASE {name.partition('?')[0]}".encode())


def _untouched(db: str) -> list[str]:
    """What the workers of the old database did to the new one."""
    with open_store(db, mode=OpenMode.READ) as store:
        rows = {table: ask(store, f"SELECT count(*) FROM {table}") for table in ("points", "attempts", "workers")}
    return [f"{count} {table} of the old database in the new one" for table, count in rows.items() if count]
