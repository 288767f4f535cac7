"""SIGSTOP past the lease, then SIGCONT: on pretended other hosts, on this one, and inside a write transaction."""

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from orchestrator.errors import DatabaseBusyError
from orchestrator.queue.runs import RunFilter
from orchestrator.store import OpenMode, Store, open_store
from tests.faults.harness import (
    SHORT,
    Fleet,
    Ground,
    Ledger,
    drained,
    is_short,
    is_shortest,
    losses,
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
from worker.processes import ProcessState, process_state, start_ticks

ELSEWHERE, HERE, INSIDE = {"SQLite": 50, "PostgreSQL": 20}, {"SQLite": 30, "PostgreSQL": 10}, 20
AT_ONCE = 6
PLAN = Plan(steps=60, step_seconds=0.02, checkpoint_every=5)
INSIDE_POINTS = {"flush.inside": 0.05, "commit_checkpoint.inside": 0.05, "finish.inside": 0.2}
LEASE = SHORT["lease_seconds"]
HASTY = {"busy_timeout_seconds": 0.5}


def run(scale: float, ground: Ground) -> list[FaultRow]:
    """Every scene on both databases."""
    rows = []
    for kind, db, folder in ground.databases("sigstop-elsewhere", sqlite_alone=is_shortest(scale)):
        rows.append(_elsewhere(scaled(ELSEWHERE[kind], scale, least=2), kind, db, folder))
    short = is_short(scale)
    for kind, db, folder in ground.databases("sigstop-here", sqlite_alone=short):
        rows.append(_here(scaled(HERE[kind], scale, least=2), kind, db, folder))
    for here in (True,) if short else (True, False):
        for kind, db, folder in ground.databases("sigstop-inside", sqlite_alone=short):
            rows.append(_inside(scaled(INSIDE, scale), kind, db, folder, here=here))
    return rows


def _elsewhere(wanted: int, kind: str, db: str, folder: Path) -> FaultRow:
    """Holders on hosts of their own: only the lease tells. Once their runs were given away, they go on."""
    began = time.monotonic()
    with _fleet(db, folder) as fleet, open_store(db, mode=OpenMode.WRITE) as store:
        fleet.faults = Faults(host="judge/1")
        while losses(store) < wanted:
            count = min(AT_ONCE, wanted - losses(store))
            store.submit(new_sweep(count + 2))
            go = folder / f"go-{len(fleet.started)}"
            fleet.plan = replace(PLAN, hold_after=3, go=str(go))
            zombies = [fleet.start_one(faults=Faults(host="stopped-#/1")) for _ in range(count)]
            pids = _wait_for_holders(store, {one.pid for one in zombies}, least=count)
            fleet.workers = count + 1  # all of the stopped, and one to judge them
            fleet.keep_up()
            with open_store(db, mode=OpenMode.WRITE, busy_timeout_seconds=2) as hasty:
                stop_between_transactions(hasty, pids)
            go.touch()
            # On PostgreSQL one that was caught inside a transaction keeps its judges waiting; it is let go on too.
            with contextlib.suppress(AssertionError):
                wait_until(lambda: not _holding(store, pids), seconds=5 * LEASE, what="they are given away")  # noqa: B023
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
            wait_until(lambda: _refused(fleet) >= losses(store), seconds=120, what="the stopped workers find out")
            _wait_until_done(fleet, store)
            for one in zombies:
                one.terminate()
        fleet.stop()
        ledger = read_ledger(db, PLAN)
        words = f"on other hosts: {_refused(fleet)} were refused, and went on with other runs"
        return _row("SIGSTOP past the lease, then SIGCONT", kind, ledger.landed, ledger, words, fleet, began)


def _here(wanted: int, kind: str, db: str, folder: Path) -> FaultRow:
    """Holders on this host: they are killed before their runs are given away."""
    began = time.monotonic()
    with _fleet(db, folder) as fleet, open_store(db, mode=OpenMode.WRITE) as store:
        fleet.workers = 3
        # Some are stopped inside a transaction: a judge looks once after each wait for the lock.
        fleet.faults = Faults(timing=HASTY)
        alive_when_lost = 0
        while losses(store) < wanted:
            store.submit(new_sweep(4))
            fleet.keep_up()
            before = losses(store)
            (pid,) = _wait_for_holders(store, {one.pid for one in fleet.processes}, least=1)[:1]
            ticks = start_ticks(pid)
            os.kill(pid, signal.SIGSTOP)
            wait_until(lambda: not _holding(store, [pid]), seconds=120, what="its run is given away")  # noqa: B023
            if losses(store) > before:
                alive_when_lost += process_state(pid, ticks) is not ProcessState.DEAD
        _wait_until_done(fleet, store)
        fleet.stop()
        ledger = read_ledger(db, PLAN)
        words = "on one host: each was killed before its run was given away"
        broken = (f"{alive_when_lost} runs given away while their worker lived",) if alive_when_lost else ()
        return _row("SIGSTOP past the lease", kind, ledger.landed, ledger, words, fleet, began, broken)


def _inside(wanted: int, kind: str, db: str, folder: Path, *, here: bool) -> FaultRow:
    """Workers that stop between the statements and the commit of a write transaction.

    On this host their judges kill them, though nobody else can write meanwhile (SQLite). Elsewhere nobody may
    judge as long as nobody can write; they go on after a lease and a half.
    """
    began = time.monotonic()
    with _fleet(db, folder) as fleet, open_store(db, mode=OpenMode.WRITE) as store:
        fleet.workers = 4
        # Someone must be left to judge: one that never stops, and is a worker before the others can keep it from that.
        fleet.start_one(faults=Faults(timing=HASTY, host="" if here else "host-#/1"))
        wait_until(lambda: bool(store.workers()), seconds=120, what="the first worker is there")
        continued = 0
        patience = time.monotonic() + 60 + 20 * wanted
        while len(fleet.landed()) < wanted:
            fleet.faults = Faults(stop=INSIDE_POINTS, timing=HASTY, host="" if here else "host-#/1")
            if not store.waiting():
                _submit_when_it_answers(store)
            fleet.keep_up()
            continued += 0 if here else _continue_the_stopped(fleet)
            assert time.monotonic() < patience, f"{len(fleet.landed())} of {wanted}: {fleet.log()[-2000:]}"
            time.sleep(0.05)
        fleet.faults = Faults(timing=HASTY, host="" if here else "host-#/1")
        until = time.monotonic() + 120

        def done() -> bool:
            fleet.keep_up()
            if not here:
                _continue_the_stopped(fleet)
            return drained(store)

        wait_until(done, seconds=until - time.monotonic(), what="every run ends")
        fleet.stop()
        ledger = read_ledger(db, PLAN)
        where = "killed by their judges" if here else "on other hosts, continued after 1.5 leases"
        words = f"{where}; {ledger.lost_supervisors} runs given away"
        return _row("SIGSTOP inside a write transaction", kind, len(fleet.landed()), ledger, words, fleet, began)


def _fleet(db: str, folder: Path) -> Fleet:
    submit(db, new_sweep(4))
    return Fleet(db=db, folder=folder, workers=0, plan=PLAN)


def _submit_when_it_answers(store: Store) -> None:
    """More work. The stopped may hold the database: then the next turn of the loop tries again."""
    with contextlib.suppress(DatabaseBusyError):
        store.submit(new_sweep(6))


def _continue_the_stopped(fleet: Fleet) -> int:
    """SIGCONT for workers that noted their stop a lease and a half ago."""
    continued = 0
    for pid, when in _stops(fleet):
        alive = pid in {one.pid for one in fleet.processes if one.poll() is None}
        if alive and time.time() - when > 1.5 * LEASE and process_state(pid, 0) is ProcessState.STOPPED:
            os.kill(pid, signal.SIGCONT)
            continued += 1
    return continued


def _stops(fleet: Fleet) -> Iterator[tuple[int, float]]:
    if fleet.landed_path.exists():
        for line in fleet.landed_path.read_text().splitlines():
            when, pid, _ = line.split()
            yield int(pid), float(when)


def _wait_for_holders(store: Store, pids: set[int], *, least: int) -> list[int]:
    """Those of the processes that hold a run and have trained a little; waits for some."""
    found: list[int] = []

    def some() -> bool:
        if not store.waiting():  # the others were quicker
            store.submit(new_sweep(4))
        steps = {run.worker_id: run.step for run in store.running(RunFilter())}
        found[:] = [
            one.identity.pid for one in store.workers() if one.identity.pid in pids and steps.get(one.id, 0) >= 3
        ]
        return len(found) >= least

    wait_until(some, seconds=120, what="workers hold runs")
    return found


def _holding(store: Store, pids: list[int]) -> bool:
    """Whether one of these processes still holds a run."""
    return any(one.run_id is not None and one.identity.pid in pids for one in store.workers())


def _refused(fleet: Fleet) -> int:
    return fleet.log().count("no longer held by this worker")


def _wait_until_done(fleet: Fleet, store: Store) -> None:
    def done() -> bool:
        fleet.keep_up()
        return drained(store)

    wait_until(done, seconds=120, what="every run ends")


def _row(
    fault: str,
    kind: str,
    landed: int,
    ledger: Ledger,
    words: str,
    fleet: Fleet,
    began: float,
    broken: tuple[str, ...] = (),
) -> FaultRow:
    return FaultRow(
        fault=fault,
        database=kind,
        landed=landed,
        lost=ledger.lost + ledger.wrong_points,
        finished_twice=ledger.finished_twice,
        stale_rows=ledger.stale_rows,
        besides=words,
        seconds=time.monotonic() - began,
        broken=(*broken, *ledger.problems, *fleet.complaints()),
    )
