"""16 writers, each 60 points a second, in one SQLite file: `python -m benchmarks.log_fleet [--seconds 60]`.

They write as supervisors do: every 2 s a flush of the new points, under the fence, with `synchronous=FULL`. A commit's
time is that of the whole method, including the wait for other writers. In turns with it: the same rows and statements
by the driver alone, and the cost of one fsync on this disk. `--aligned` makes all writers start at the same moment.
Target: no point lost, p99 under 100 ms.
"""

import argparse
import json
import multiprocessing
import os
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.submit import make_sweep
from hlbgpt_core.points import Phase, Point, Progress
from orchestrator.queue.attempts import Lease
from orchestrator.queue.workers import WorkerIdentity
from orchestrator.store import OpenMode, open_store
from orchestrator.store.opening.engine import sqlite_module
from orchestrator.store.points import _COLUMNS, _OR_REPLACE, point_row
from tests.faults.harness import ask
from tests.stand_in_trainer import point_at
from worker.timing import Timing

TARGET_P99_MS = 100
Flush = Callable[[Lease, Sequence[Point], Progress], None]

_FENCE = "SELECT id FROM runs WHERE id = ? AND fence = ? AND state = 'running'"
_POINTS = f"INSERT INTO points ({', '.join(_COLUMNS)}) VALUES ({', '.join('?' for _ in _COLUMNS)}) {_OR_REPLACE}"
_PROGRESS = """
UPDATE attempts SET step = ?, last_train_loss = ?, phase = 'train', fraction = 0, tokens_per_second = 0,
                    tokens_seen = 0, memory_bytes = 0
WHERE run_id = ? AND fence = ?
"""


def write_with_hlbq(path: str, number: int, asked: Any, barrier: Any, answers: Any) -> None:
    """One writer through the store."""
    with open_store(path, mode=OpenMode.WRITE) as store:
        lease = _claim(store, number)
        store.rehearse()
        _write(lambda *given: store.flush(given[0], points=given[1], progress=given[2]), lease, asked, barrier, answers)


def write_raw(path: str, number: int, asked: Any, barrier: Any, answers: Any) -> None:
    """One writer by the driver alone."""
    with open_store(path, mode=OpenMode.WRITE) as store:
        lease = _claim(store, number)
    connection = sqlite_module().connect(path, isolation_level=None, timeout=20)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")

    def flush(lease: Lease, points: Sequence[Point], live: Progress) -> None:
        rows = [point_row(lease.run_id, lease.fence, point) for point in points]
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(_FENCE, (lease.run_id, lease.fence)).fetchone()
        connection.executemany(_POINTS, [tuple(row[name] for name in _COLUMNS) for row in rows])
        connection.execute(_PROGRESS, (live.step, str(points[-1].loss), lease.run_id, lease.fence))
        connection.execute("COMMIT")

    _write(flush, lease, asked, barrier, answers)
    connection.close()


def _claim(store: Any, number: int) -> Lease:
    identity = WorkerIdentity(host="here", hostname="here", pid=1, start_ticks=1, device=f"slot{number}")
    claim = store.claim(store.register_worker(identity, lease_seconds=60))
    lease: Lease = claim.lease
    return lease


def _write(flush: Flush, lease: Lease, asked: Any, barrier: Any, answers: Any) -> None:
    """Flush new points every interval; returns the seconds of each flush and the number of points."""
    every = Timing().flush_seconds
    barrier.wait()
    began = time.perf_counter()
    due = began + (every if asked.aligned else random.uniform(0, every))
    seconds, step = [], 0
    while due < began + asked.seconds:
        time.sleep(max(0.0, due - time.perf_counter()))
        upto = int((due - began) * asked.points_a_second)
        points = [point_at(1, made) for made in range(step + 1, upto + 1)]
        start = time.perf_counter()
        if points:
            flush(lease, points, Progress(phase=Phase.TRAIN, step=upto))
        seconds.append(time.perf_counter() - start)
        # As in the supervisor, the interval begins at the end of the last flush.
        step, due = upto, time.perf_counter() + every
    answers.put((seconds, step))


def race(writer: Callable[..., None], asked: Any, folder: Path) -> dict[str, Any]:
    """All writers of one kind at once, on a new file."""
    path = folder / f"{writer.__name__}-{time.monotonic_ns()}.db"
    with open_store(str(path), mode=OpenMode.CREATE) as store:
        store.submit(make_sweep(asked.writers, 1))
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["benchmarks.submit", "tests.faults.harness"])
    barrier, answers = context.Barrier(asked.writers), context.Queue()
    writers = [
        context.Process(target=writer, args=(str(path), number, asked, barrier, answers))
        for number in range(asked.writers)
    ]
    for process in writers:
        process.start()
    told = [answers.get(timeout=asked.seconds + 120) for _ in writers]
    for process in writers:
        process.join()
    with open_store(str(path), mode=OpenMode.READ) as store:
        stored = ask(store, "SELECT count(*) FROM points")
    seconds = sorted(one for each, _ in told for one in each)
    return {
        "commits": len(seconds),
        "p50_ms": _ms(seconds, 0.5),
        "p99_ms": _ms(seconds, 0.99),
        "longest_ms": _ms(seconds, 1.0),
        "points": stored,
        "bytes_a_point": round(path.stat().st_size / max(1, stored)),
        "points_lost": sum(step for _, step in told) - stored,
    }


def fsync_ms(folder: Path, times: int = 200) -> dict[str, float]:
    """The cost of appending 64 KB, as a flush does, and syncing them to disk."""
    seconds = []
    with (folder / "fsync").open("wb", buffering=0) as file:
        for _ in range(times):
            file.write(os.urandom(65_536))
            start = time.perf_counter()
            os.fdatasync(file.fileno())
            seconds.append(time.perf_counter() - start)
            time.sleep(0.01)
    seconds.sort()
    return {"p50_ms": _ms(seconds, 0.5), "p99_ms": _ms(seconds, 0.99), "longest_ms": _ms(seconds, 1.0)}


def _ms(ordered: Sequence[float], share: float) -> float:
    return round(1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2)


def main() -> None:
    """Print the figures as JSON; of several rounds, the round with the median p99."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--writers", type=int, default=16)
    parser.add_argument("--points_a_second", type=float, default=60, help="by each writer")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--aligned", action="store_true")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        disk = [fsync_ms(Path(folder))]
        ours, raw = [], []
        for _ in range(asked.rounds):
            ours.append(race(write_with_hlbq, asked, Path(folder)))
            raw.append(race(write_raw, asked, Path(folder)))
        disk.append(fsync_ms(Path(folder)))
    figures = {
        "writers": asked.writers,
        "points_a_second_each": asked.points_a_second,
        "seconds": asked.seconds,
        "aligned": asked.aligned,
        "hlbq": _median(ours),
        "raw_sqlite3": _median(raw),
        "fdatasync_before_and_after": disk,
        "target_p99_ms": TARGET_P99_MS,
        "load_average": round(os.getloadavg()[0], 1),
    }
    print(json.dumps(figures))


def _median(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    middle = statistics.median_low([one["p99_ms"] for one in rounds])
    return next(one for one in rounds if one["p99_ms"] == middle)


if __name__ == "__main__":
    main()
