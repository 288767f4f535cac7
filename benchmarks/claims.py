"""Claims a second from a queue of 100,000 runs: `python -m benchmarks.claims [--claimers 1 4 16]`.

Against raw SQL by the driver alone (the same schema, run, attempt and event in one transaction, synchronous FULL), Huey
and Optuna (see peer_queues.py for their set-up). One claimer of hlbq and one of the raw side claim in turns, claim by
claim: a disk whose speed changes from second to second then slows both. The median ratio of such pairs counts, with its
quartiles. Several processes that claim at the same time take turns by rounds; medians count.
A worker holds one run at a time, so each claim of hlbq and of the raw side uses a separate worker row, made before the
clock starts. A run taken twice counts as a double.
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.measuring import report
from benchmarks.peers import MISSING, ask_peer
from benchmarks.submit import make_sweep
from orchestrator.queue.workers import WorkerIdentity
from orchestrator.store import OpenMode, open_store
from orchestrator.store.opening.engine import sqlite_module

TARGETS = {"raw": 0.4, "huey": 5.0, "optuna": 100.0}
# Each of Optuna's claimers keeps the whole queue in memory, and takes seconds to read it.
MOST_OPTUNA_CLAIMERS = 1
OPTUNA_CLAIMS = 2

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

        def claim(worker_id: int) -> int | None:
            claimed = store.claim(worker_id)
            return None if claimed is None else claimed.run.id

        _race(claim, worker_ids, barrier, answers)


def claim_raw(path: str, worker_ids: list[int], barrier: Any, answers: Any) -> None:
    """One claimer by the driver alone."""
    with contextlib.closing(_raw_connection(path)) as connection:
        _race(_raw_claim(connection), worker_ids, barrier, answers)


def _raw_connection(path: str) -> Any:
    connection = sqlite_module().connect(path, isolation_level=None, timeout=20)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    return connection


def _raw_claim(connection: Any) -> Callable[[int], int]:
    def claim(worker_id: int) -> int:
        now = time.time()
        connection.execute("BEGIN IMMEDIATE")
        run_id, uid, sweep_id, fence = connection.execute(CLAIM, (worker_id, now)).fetchone()
        connection.execute(ATTEMPT, (run_id, fence, worker_id, now, f"logs/{uid}/{fence}.log"))
        connection.execute(EVENT, (now, f"worker {worker_id}", sweep_id, run_id, worker_id))
        row = connection.execute(RUN, (run_id,)).fetchone()
        connection.execute("COMMIT")
        json.loads(row[-1])
        return int(run_id)

    return claim


def one_by_one(path: Path, claims: int) -> dict[str, Any]:
    """Seconds of single claims of both sides in turns, and the quartiles of the ratios of their rates."""
    worker_ids = iter(register(path, 2 * claims + 2))
    seconds: dict[str, list[float]] = {"hlbq": [], "raw": []}
    with open_store(str(path), mode=OpenMode.WRITE) as store, contextlib.closing(_raw_connection(str(path))) as raw:
        sides: list[tuple[str, Callable[[int], object]]] = [("hlbq", store.claim), ("raw", _raw_claim(raw))]
        for number in range(claims + 1):
            for name, claim in sides if number % 2 else reversed(sides):
                worker_id, start = next(worker_ids), time.perf_counter()
                claim(worker_id)
                seconds[name].append(time.perf_counter() - start)
    end_all(path)
    # The first pair prepares statements.
    ratios = [raw / own for own, raw in zip(seconds["hlbq"][1:], seconds["raw"][1:], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    medians = {name: statistics.median(one[1:]) for name, one in seconds.items()}
    return {"median_seconds": medians, "ratio_to_raw": middle, "quartiles": [low, high]}


def _race(claim: Callable[[int], int | None], worker_ids: list[int], barrier: Any, answers: Any) -> None:
    taken = [claim(worker_ids[0])]  # statements are prepared once
    barrier.wait()
    start = time.perf_counter()
    taken += [claim(worker_id) for worker_id in worker_ids[1:]]
    answers.put((start, time.perf_counter(), taken))


def register(path: Path, count: int) -> list[int]:
    """Workers' rows, copied in one transaction, each with its own device."""
    with open_store(str(path), mode=OpenMode.WRITE) as store:
        who = WorkerIdentity(host="here", hostname="here", pid=1, start_ticks=1, device="first")
        first = store.register_worker(who, lease_seconds=60)
    connection = sqlite_module().connect(path, isolation_level=None, timeout=20)
    described = connection.execute("PRAGMA table_info(workers)").fetchall()
    columns = ", ".join(name for _, name, *_ in described if name not in ("id", "device"))
    connection.execute("BEGIN IMMEDIATE")
    connection.executemany(
        f"INSERT INTO workers (device, {columns}) SELECT ?, {columns} FROM workers WHERE id = ?",
        [(f"{first}.{number}", first) for number in range(count - 1)],
    )
    connection.execute("COMMIT")
    connection.close()
    return list(range(first, first + count))


def end_all(path: Path) -> None:
    """End the workers' rows, since a claim reads all live ones. Their runs stay as they are; nobody needs them."""
    connection = sqlite_module().connect(path, isolation_level=None, timeout=20)
    connection.execute("UPDATE workers SET ended_at = 0, ended_why = 'measured' WHERE ended_at IS NULL")
    connection.close()


def claims_a_second(path: Path, claimers: int, claims: int, claimer: Callable[..., None]) -> tuple[float, int]:
    """How many runs `claimers` processes claim a second, all together; and how many were taken twice."""
    lots = [register(path, claims + 1) for _ in range(claimers)]
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(claimers), context.Queue()
    processes = [context.Process(target=claimer, args=(str(path), lot, barrier, answers)) for lot in lots]
    for process in processes:
        process.start()
    found = [answers.get(timeout=300) for _ in processes]
    for process in processes:
        process.join()
    end_all(path)
    taken = [run_id for _, _, run_ids in found for run_id in run_ids]
    if None in taken:
        raise RuntimeError("the queue ran dry")
    # The machine's clock is the same for all processes: from the first start to the last end.
    seconds = max(end for _, end, _ in found) - min(start for start, _, _ in found)
    return claimers * claims / seconds, len(taken) - len(set(taken))


def measure(folder: Path, claimers: int, claims: int, rounds: int, peers: list[str]) -> dict[str, Any]:
    """The median rates of all sides at one number of claimers."""
    rates: dict[str, list[float]] = {}
    doubles = 0
    missing = {}
    for _ in range(rounds):
        for name, claimer in (("hlbq", claim_with_hlbq), ("raw", claim_raw)):
            rate, twice = claims_a_second(folder / "hlbq.db", claimers, claims, claimer)
            rates.setdefault(name, []).append(rate)
            doubles += twice if name == "hlbq" else 0
        for peer in peers:
            if peer == "optuna" and (claimers > MOST_OPTUNA_CLAIMERS or peer in rates):
                continue  # once: it takes minutes
            number = OPTUNA_CLAIMS if peer == "optuna" else claims
            arguments = ["--claimers", str(claimers), "--claims", str(number)]
            answer = ask_peer("peer_queues", peer, str(folder / f"{peer}.db"), *arguments)
            if MISSING in answer:
                missing[peer] = answer[MISSING]
            else:
                rates.setdefault(peer, []).append(answer["rate"])
    found = {name: statistics.median(values) for name, values in rates.items()}
    ratios = {name: found["hlbq"] / rate for name, rate in found.items() if name != "hlbq"}
    return {"claims_a_second": found, "ratios": ratios, "doubles": doubles, "missing": missing, "all": rates}


def fill(folder: Path, queue: int) -> tuple[list[str], dict[str, str]]:
    """Fill hlbq's queue and the peers'; returns the available ones, and why others are missing."""
    with open_store(str(folder / "hlbq.db"), mode=OpenMode.CREATE) as store:
        store.submit(make_sweep(queue // 5, 5))
    there, missing = [], {}
    for peer in ("huey", "optuna"):
        answer = ask_peer("peer_queues", peer, str(folder / f"{peer}.db"), "--fill", str(queue))
        if MISSING in answer:
            missing[peer] = answer[MISSING]
        else:
            there.append(peer)
    return there, missing


def main() -> None:
    """Print claims a second and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--claimers", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--claims", type=int, default=200, help="by each claimer in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--queue", type=int, default=100_000)
    asked = parser.parse_args()
    figures: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        peers, missing = fill(folder, asked.queue)
        for peer, why in missing.items():
            print(f"{peer} is missing: {why}")
        figures["one_by_one"] = found = one_by_one(folder / "hlbq.db", 5 * asked.claims)
        own, raw = (1_000 * found["median_seconds"][side] for side in ("hlbq", "raw"))
        low, high = found["quartiles"]
        print(
            f"claim by claim: {own:.2f} ms, raw {raw:.2f} ms; {found['ratio_to_raw']:.2f}x raw's rate "
            f"(quartiles {low:.2f} to {high:.2f})",
            flush=True,
        )
        for claimers in asked.claimers:
            load = os.getloadavg()[0]
            found = measure(folder, claimers, asked.claims, asked.rounds, peers)
            figures[f"claims_{claimers}"] = {**found, "load_before": load}
            rates = ", ".join(f"{side} {rate:.4g}/s" for side, rate in found["claims_a_second"].items())
            ratios = ", ".join(
                f"{ratio:.2f}x {side} (target {TARGETS[side]:g}x)" for side, ratio in found["ratios"].items()
            )
            print(f"{claimers} claimers: {rates}; hlbq is {ratios}; doubles {found['doubles']}", flush=True)
    report("claims", {**figures, "missing": missing}, ("hlbq", "sqlalchemy", "pysqlite3"))


if __name__ == "__main__":
    main()
