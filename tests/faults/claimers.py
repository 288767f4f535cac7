"""Sixteen processes claim and finish 10,000 runs a part, some die holding one, two reapers take those back."""

import os
import random
import time
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.errors import DatabaseBusyError, FencedError, WorkerGoneError
from orchestrator.queue.attempts import Ending
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason, State
from orchestrator.queue.workers import WorkerIdentity
from orchestrator.store import OpenMode, Store, open_store
from tests.faults.harness import Ground, ask, new_sweep, scaled, submit
from tests.faults.report import FaultRow
from tests.ready_processes import ready_context
from worker.failure_detector import FailureDetector
from worker.processes import host_id, start_ticks

CLAIMERS, REAPERS, RUNS = 16, 2, 10_000
DESERTS = 0.01


def run(scale: float, ground: Ground) -> list[FaultRow]:
    """Both databases. The shortest draw has fewer claimers: to start them is most of its work."""
    runs = scaled(RUNS, scale, least=100)
    claimers = min(CLAIMERS, scaled(CLAIMERS, 50 * scale))
    return [
        _contest(claimers, runs, kind, db, folder, ground.seed) for kind, db, folder in ground.databases("claimers")
    ]


def _contest(count: int, runs: int, kind: str, db: str, folder: Path, seed: int) -> FaultRow:
    began = time.monotonic()
    submit(db, new_sweep(runs))
    context = ready_context()
    over = context.Event()
    numbers = range(100 * seed, 100 * seed + count)
    claimers = [context.Process(target=claim_until_done, args=(db, str(folder), k)) for k in numbers]
    reapers = [context.Process(target=reap_until_over, args=(db, str(folder), k, over)) for k in range(REAPERS)]
    for process in (*claimers, *reapers):
        process.start()
    for process in claimers:
        process.join(timeout=900)
    over.set()
    for process in reapers:
        process.join(timeout=60)
    crashed = sum(process.exitcode != 0 for process in (*claimers, *reapers))
    for process in (*claimers, *reapers):
        process.kill()
    return _judged(f"{count} claimers, {REAPERS} reapers", runs, kind, db, folder, crashed, began)


def _judged(fault: str, runs: int, kind: str, db: str, folder: Path, crashed: int, began: float) -> FaultRow:
    claims = _notes(folder, "claimed")
    deserted, reaped = _notes(folder, "deserted"), _notes(folder, "reaped")
    double = sum(count > 1 for count in Counter(claims).values())
    reaped_twice = sum(count > 1 for count in Counter(reaped).values())
    with open_store(db, mode=OpenMode.READ) as store:
        counts = store.counts(RunFilter())
        attempts = ask(store, "SELECT count(*) FROM attempts")
        finished = ask(store, "SELECT count(*) FROM attempts WHERE reason = 'finished'")
        twice = ask(
            store,
            "SELECT count(*) FROM (SELECT run_id FROM attempts WHERE reason = 'finished' "
            "GROUP BY run_id HAVING count(*) > 1) AS t",
        )
        broken = store.integrity_check()
    if double:
        broken.append(f"{double} double claims")
    if crashed:
        broken.append(f"{crashed} processes crashed")
    if sorted(deserted) != sorted(reaped):
        broken.append(f"{len(deserted)} runs deserted, {len(reaped)} taken back, {reaped_twice} of them twice")
    if not len(claims) == attempts == finished + len(deserted):
        broken.append(f"{len(claims)} claims, {attempts} attempts, {finished} finished")
    return FaultRow(
        fault=fault,
        database=kind,
        landed=len(claims),
        lost=runs - counts[State.COMPLETED],
        finished_twice=twice,
        counts={"runs": runs, "double claims": double, "holders died, each taken from once": len(deserted)},
        seconds=time.monotonic() - began,
        broken=tuple(broken),
    )


def claim_until_done(db: str, folder: str, number: int) -> None:
    """Claim and finish runs until none is left; now and then desert one, as a worker does that dies."""
    dice = random.Random(number)
    with open_store(db, mode=OpenMode.WRITE) as store, _notebook(folder, f"claimer-{number}") as notebook:
        own = _identity(pid=os.getpid(), device=f"slot{number}")
        worker_id = _insist(store.register_worker, own, lease_seconds=60.0)
        while True:
            deserter = dice.random() < DESERTS
            holder = worker_id
            if deserter:  # a worker of its own, whose process never was: dead to whoever looks
                holder = _insist(store.register_worker, _identity(pid=4_194_305, device="gone"), lease_seconds=60.0)
            claim = None
            with suppress(WorkerGoneError):  # a reaper was quicker than the deserter's claim
                claim = _insist(store.claim, holder)
            if claim is None:
                if not deserter and not _unfinished(store):
                    break
                time.sleep(0.01)
                continue
            notebook.write(f"claimed {claim.lease.run_id} {claim.lease.fence}\n")
            if deserter:
                notebook.write(f"deserted {claim.lease.run_id} {claim.lease.fence}\n")
                continue
            with suppress(FencedError):
                _insist(store.finish, claim.lease, Ending(reason=Reason.FINISHED))
        _insist(store.end_worker, worker_id, "done")


def reap_until_over(db: str, folder: str, number: int, over: Any) -> None:
    """Detect without a pause, as two workers do at every beat, and take from the dead."""
    judge = FailureDetector(host=host_id(), clock=time.monotonic, longest_gap_seconds=1.0)
    with open_store(db, mode=OpenMode.WRITE) as store, _notebook(folder, f"reaper-{number}") as notebook:
        while not over.is_set():
            with suppress(DatabaseBusyError):
                for judged in judge.detect(store.workers(), own_beats_commit=True):
                    worker = judged.worker
                    for run in store.reap(worker.id, seen_beat=worker.beat, why=judged.why):
                        notebook.write(f"reaped {run.id} {run.fence}\n")
            time.sleep(0.02)


def _identity(*, pid: int, device: str) -> WorkerIdentity:
    here = WorkerIdentity(host=host_id(), hostname="here", pid=pid, start_ticks=0, device=device)
    return replace(here, start_ticks=start_ticks(pid))


def _unfinished(store: Store) -> bool:
    counts = store.counts(RunFilter())
    return counts[State.PENDING] + counts[State.RUNNING] > 0


def _insist(method: Any, *given: Any, **named: Any) -> Any:
    """Call again for as long as the database is busy, as the supervisor does."""
    while True:
        try:
            return method(*given, **named)
        except DatabaseBusyError:
            time.sleep(0.05)


def _notebook(folder: str, name: str) -> Any:
    return (Path(folder) / f"{name}.txt").open("w", buffering=1, encoding="utf-8")


def _notes(folder: Path, kind: str) -> list[tuple[int, int]]:
    """(run, fence) of every note of a kind."""
    lines = [line.split() for path in folder.glob("*-*.txt") for line in path.read_text().splitlines()]
    return [(int(run_id), int(fence)) for what, run_id, fence in lines if what == kind]
