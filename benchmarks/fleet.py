"""64 workers on one PostgreSQL, each writing 10 points a second: `python -m benchmarks.fleet [--workers 64]`.

Real supervisors (each a process with its connection, beats, flushes and judging) use the tests' stand-in trainer, on a
private server with its default durability (fsync, synchronous_commit). First they claim and finish runs as fast as they
can, for claims a second; then they train. A latency is the time of a whole method of the store, as its worker sees it,
on a machine that runs both workers and server. Target: 1,000,000 points an hour.
"""

import argparse
import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.submit import make_sweep
from orchestrator.launch.worker_command import WorkerOptions
from orchestrator.queue.attempts import Ending
from orchestrator.queue.states import Reason
from orchestrator.queue.workers import WorkerIdentity
from orchestrator.store import OpenMode, Store, open_store
from tests.faults.harness import ask
from tests.postgresql_server import PostgresqlServer, private_server
from tests.stand_in_trainer import Plan
from tests.stand_in_trainer import command as stand_in_command
from worker.devices.devices import cpu_device
from worker.processes import host_id, start_ticks
from worker.supervisor import Supervisor
from worker.timing import Timing
from worker.trainer.trainer_manager import TrainerManager

TIMED = ("flush", "finish", "claim", "beat", "live_workers")
TARGET_POINTS_AN_HOUR = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Asked:
    """The options of the command line."""

    workers: int
    seconds: float
    claim_seconds: float
    points_a_second: float


class TimedStore:
    """A store that notes how long some of its methods take, in seconds."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.seconds: dict[str, list[float]] = {name: [] for name in TIMED}

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        if name not in TIMED:
            return method

        def timed(*given: Any, **named: Any) -> Any:
            start = time.perf_counter()
            try:
                return method(*given, **named)
            finally:
                self.seconds[name].append(time.perf_counter() - start)

        return timed


def worker(number: int, db: str, folder: str, asked: Asked, barrier: Any, answers: Any) -> None:
    """One worker process: claims as fast as it can, then trains until stopped."""
    # Runs of 20 s, so that claims and ends are part of the load. A step takes a little more than its sleep.
    rate = asked.points_a_second
    plan = Plan(steps=int(20 * rate), step_seconds=0.95 / rate, checkpoint_every=int(10 * rate))
    os.environ["STAND_IN"] = json.dumps(asdict(plan))
    identity = WorkerIdentity(
        host=host_id(), hostname="here", pid=os.getpid(), start_ticks=start_ticks(os.getpid()), device=f"slot{number}"
    )
    with open_store(db, mode=OpenMode.WRITE) as store:
        timed = TimedStore(store)
        barrier.wait()
        claims = _claim_and_finish(timed, identity, asked.claim_seconds)
        claim_seconds = {name: timed.seconds.pop(name) for name in ("claim", "finish")}
        timed.seconds = {name: [] for name in TIMED}
        device, options = cpu_device(), WorkerOptions(watch=True)
        trainers = TrainerManager(
            command=stand_in_command(),
            device=device,
            threads=options.threads,
            kill_grace_seconds=Timing.kill_grace_seconds,
            say=lambda text: None,
        )
        supervisor = Supervisor(
            store=timed,  # type: ignore[arg-type]
            state_folder=Path(folder),
            identity=identity,
            device=device,
            trainers=trainers,
            options=options,
            say=lambda text: None,
        )
        supervisor.stop_requests.heed_signals()
        barrier.wait()
        supervisor.run()
        answers.put((claims, claim_seconds, timed.seconds, time.process_time()))


def _claim_and_finish(store: Any, identity: WorkerIdentity, seconds: float) -> int:
    worker_id = store.register_worker(identity, lease_seconds=60.0)
    until, count = time.perf_counter() + seconds, 0
    while time.perf_counter() < until:
        claim = store.claim(worker_id)
        if claim is None:
            raise RuntimeError("the queue ran dry")
        store.finish(claim.lease, Ending(reason=Reason.FINISHED))
        count += 1
    store.end_worker(worker_id, "measured")
    return count


def measure(asked: Asked, server: PostgresqlServer, folder: Path) -> dict[str, Any]:
    """Run the fleet once; the figures by name."""
    db = server.create_database()
    with open_store(db, mode=OpenMode.CREATE) as store:
        store.submit(make_sweep(4_000, 5))
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["benchmarks.submit", "tests.postgresql_server", "worker.supervisor"])
        barrier, answers = context.Barrier(asked.workers + 1), context.Queue()
        fleet = [
            context.Process(target=worker, args=(number, db, str(folder), asked, barrier, answers))
            for number in range(asked.workers)
        ]
        for process in fleet:
            process.start()
        barrier.wait()
        barrier.wait()
        _wait_until_all_train(store, asked.workers)
        before = _moment(store, server)
        time.sleep(asked.seconds)
        after = _moment(store, server)
        for process in fleet:
            process.terminate()
        told = [answers.get(timeout=120) for _ in fleet]
        for process in fleet:
            process.join()
        bytes_a_point = ask(store, "SELECT pg_total_relation_size('points') / greatest(1, count(*)) FROM points")
        lost = ask(store, "SELECT count(*) FROM attempts WHERE reason NOT IN ('finished', 'released')")
    return _figures(asked, told, before, after) | {"attempts_lost": lost, "bytes_a_point": bytes_a_point}


def _wait_until_all_train(store: Store, workers: int) -> None:
    until = time.monotonic() + 300
    while ask(store, "SELECT count(*) FROM attempts WHERE ended_at IS NULL AND step > 0") < workers:
        if time.monotonic() > until:
            raise RuntimeError("the workers do not all train")
        time.sleep(0.5)


def _moment(store: Store, server: PostgresqlServer) -> dict[str, float]:
    return {
        "at": time.perf_counter(),
        "points": ask(store, "SELECT count(*) FROM points"),
        "transactions": ask(store, "SELECT xact_commit FROM pg_stat_database WHERE datname = current_database()"),
        "database_cpu": cpu_seconds(server),
    }


def cpu_seconds(server: PostgresqlServer) -> float:
    """CPU seconds of the server's processes so far, including ended ones."""
    postmaster = (server.folder / "data" / "postmaster.pid").read_text().split()[0]
    ticks = 0
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if path.parent.name == postmaster:
            ticks += sum(int(field) for field in fields[11:15])  # its own and those of children that have ended
        elif fields[1] == postmaster:
            ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _figures(asked: Asked, told: Sequence[Any], before: dict[str, float], after: dict[str, float]) -> dict[str, Any]:
    seconds = after["at"] - before["at"]
    points = (after["points"] - before["points"]) / seconds
    every = {name: sorted(one for each in told for one in each[2][name]) for name in TIMED}
    claim = sorted(one for each in told for one in each[1]["claim"])
    return {
        "workers": asked.workers,
        "seconds": round(seconds, 1),
        "claims_a_second": round(sum(each[0] for each in told) / asked.claim_seconds),
        "claim_p50_ms": _percentile(claim, 0.5),
        "claim_p99_ms": _percentile(claim, 0.99),
        "points_a_second": round(points),
        "points_an_hour": round(3600 * points),
        "target_points_an_hour": TARGET_POINTS_AN_HOUR,
        "flush_p50_ms": _percentile(every["flush"], 0.5),
        "flush_p99_ms": _percentile(every["flush"], 0.99),
        "beat_p99_ms": _percentile(every["beat"], 0.99),
        "look_at_others_p50_ms": _percentile(every["live_workers"], 0.5),
        "transactions_a_second": round((after["transactions"] - before["transactions"]) / seconds),
        "database_cores": round((after["database_cpu"] - before["database_cpu"]) / seconds, 3),
        "supervisor_cpu_seconds_median": round(statistics.median(each[3] for each in told), 2),
        "load_average": round(os.getloadavg()[0], 1),
    }


def _percentile(ordered: Sequence[float], share: float) -> float | None:
    """In milliseconds."""
    return round(1e3 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 2) if ordered else None


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--workers", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=60, help="of training that is measured")
    parser.add_argument("--claim_seconds", type=float, default=5)
    parser.add_argument("--points_a_second", type=float, default=10, help="by each worker")
    asked = Asked(**vars(parser.parse_args()))
    with tempfile.TemporaryDirectory() as folder, private_server(durable=True) as server:
        print(json.dumps(measure(asked, server, Path(folder))))


if __name__ == "__main__":
    main()
