"""Claims a second from a queue of 100,000 runs, against raw SQL: `python -m benchmarks.claims`.

The raw claimer writes the same rows (run, attempt, event) into the same schema by the driver alone. 1 and 4
processes claim for some seconds, hlbq and raw in turns; the medians are printed. A worker holds one run at a
time, so each claimer ends the run before its next claim, in a way that costs neither of them: by a worker's
row of its own for each claim, made before the clock starts.
"""

import argparse
import json
import multiprocessing
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.submit import make_sweep
from orchestrator.records import WorkerIdentity
from orchestrator.store import OpenMode, open_store
from orchestrator.store.engine import sqlite_module

CLAIM = """
UPDATE runs SET state = 'running', reason = NULL, worker_id = ?, fence = fence + 1, started_at = coalesce(started_at, ?)
WHERE id = (SELECT id FROM runs WHERE state = 'pending' AND NOT paused AND backoff_until IS NULL
            ORDER BY priority DESC, id LIMIT 1)
RETURNING id, uid, sweep_id, fence
"""
ATTEMPT = """
INSERT INTO attempts (run_id, fence, worker_id, shared_slots, started_at, start_step, step, log_path)
VALUES (?, ?, ?, 1, ?, 0, 0, ?)
"""
EVENT = "INSERT INTO events (at, actor, action, sweep_id, run_id, worker_id, why) VALUES (?, ?, 'claim', ?, ?, ?, '')"
RUN = "SELECT runs.*, arms.settings FROM runs JOIN arms ON arms.id = runs.arm_id WHERE runs.id = ?"


def claim_with_hlbq(path: str, worker_ids: list[int], barrier: Any, answers: Any) -> None:
    """One claimer through the store."""
    with open_store(path, mode=OpenMode.WRITE) as store:
        _race(store.claim, worker_ids, barrier, answers)


def claim_raw(path: str, worker_ids: list[int], barrier: Any, answers: Any) -> None:
    """One claimer by the driver alone."""
    connection = sqlite_module().connect(path, isolation_level=None, timeout=20)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")

    def claim(worker_id: int) -> Any:
        now = time.time()
        connection.execute("BEGIN IMMEDIATE")
        run_id, uid, sweep_id, fence = connection.execute(CLAIM, (worker_id, now)).fetchone()
        connection.execute(ATTEMPT, (run_id, fence, worker_id, now, f"logs/{uid}/{fence}.log"))
        connection.execute(EVENT, (now, f"worker {worker_id}", sweep_id, run_id, worker_id))
        row = connection.execute(RUN, (run_id,)).fetchone()
        connection.execute("COMMIT")
        return json.loads(row[-1])

    _race(claim, worker_ids, barrier, answers)
    connection.close()


def _race(claim: Callable[[int], object], worker_ids: list[int], barrier: Any, answers: Any) -> None:
    claim(worker_ids[0])  # statements are prepared once
    barrier.wait()
    start = time.perf_counter()
    for worker_id in worker_ids[1:]:
        if claim(worker_id) is None:
            raise RuntimeError("the queue ran dry")
    answers.put((len(worker_ids) - 1) / (time.perf_counter() - start))


def claims_a_second(path: Path, claimers: int, claims: int, claimer: Callable[..., None]) -> float:
    """How many runs `claimers` processes claim a second, all together."""
    with open_store(str(path), mode=OpenMode.WRITE) as store:
        lots = [
            [
                store.register_worker(
                    WorkerIdentity(host="here", hostname="here", pid=1, start_ticks=1, device=f"{lot}.{number}"),
                    lease_seconds=60,
                )
                for number in range(claims + 1)
            ]
            for lot in range(claimers)
        ]
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(claimers), context.Queue()
    processes = [context.Process(target=claimer, args=(str(path), lot, barrier, answers)) for lot in lots]
    for process in processes:
        process.start()
    rates = [answers.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    with open_store(str(path), mode=OpenMode.WRITE) as store:
        for lot in lots:
            for worker_id in lot:
                store.end_worker(worker_id, "measured")
    return sum(rates)


def main() -> None:
    """Print claims a second and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--claims", type=int, default=200, help="by each claimer in a round")
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "hlbq.db"
        with open_store(str(path), mode=OpenMode.CREATE) as store:
            store.submit(make_sweep(20_000, 5))
        for claimers in (1, 4):
            ours, raw = [], []
            for _ in range(asked.rounds):
                ours.append(claims_a_second(path, claimers, asked.claims, claim_with_hlbq))
                raw.append(claims_a_second(path, claimers, asked.claims, claim_raw))
            first, second = statistics.median(ours), statistics.median(raw)
            print(f"{claimers} claimers: hlbq {first:.0f}/s, raw {second:.0f}/s, ratio {first / second:.2f}")


if __name__ == "__main__":
    main()
