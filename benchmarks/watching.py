"""What it costs the workers of a large fleet on PostgreSQL to watch each other: `python -m benchmarks.watching`.

A worker checks the others at every beat (10 s). Before: all of them. After: all on its host, and a share of about 64 of
the others. Measured is one check, as its worker waits for it and as CPU time of the server, with 100 to 10,000 live
workers, 8 on each host. From that follows the load of all checks on the server.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

from benchmarks.fleet import cpu_seconds
from orchestrator.queue.workers import Watch, WorkerIdentity
from orchestrator.store import OpenMode, Store, open_store
from orchestrator.store.base import insert_many
from orchestrator.store.tables import workers
from tests.postgresql_server import PostgresqlServer, private_server
from worker.failure_detector import WATCHED_ELSEWHERE
from worker.timing import Timing

A_HOST = 8
MEASURED_SECONDS = 5.0
_ROW = ("host", "hostname", "pid", "start_ticks", "device", "device_name", "slot", "slots", "program_version", "job")
_REST = ("lease_seconds", "started_at", "beat", "beat_at", "ended_why")


def add_workers(store: Store, count: int) -> None:
    """Rows of live workers, 8 a host; the first by the store itself."""
    store.register_worker(
        WorkerIdentity(host="host-0", hostname="host-0", pid=1, start_ticks=1, device="gpu0"), lease_seconds=60.0
    )
    rows = (
        (
            f"host-{k // A_HOST}",
            f"host-{k // A_HOST}",
            k,
            1,
            f"gpu{k % A_HOST}",
            "",
            0,
            1,
            "",
            "",
            60.0,
            0.0,
            1,
            0.0,
            "",
        )
        for k in range(1, count)
    )
    with store._write() as connection:
        insert_many(connection, workers, (*_ROW, *_REST), rows)
        connection.exec_driver_sql("ANALYZE workers")


def one_look(look: Callable[[], object], server: PostgresqlServer) -> dict[str, float]:
    """Milliseconds of a check: the worker's wait, and the server's CPU time (over many checks, since a tick is 10
    ms)."""
    look()
    seconds: list[float] = []
    cpu = cpu_seconds(server)
    while sum(seconds) < MEASURED_SECONDS:
        start = time.perf_counter()
        look()
        seconds.append(time.perf_counter() - start)
    cpu = (cpu_seconds(server) - cpu) / len(seconds)
    return {"waited_ms": round(1e3 * statistics.median(seconds), 2), "server_cpu_ms": round(1e3 * cpu, 3)}


def main() -> None:
    """Print a line for each size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[100, 1000, 10_000])
    sizes = parser.parse_args().sizes
    with private_server() as server:
        for size in sizes:
            with open_store(server.create_database(), mode=OpenMode.CREATE) as store:
                add_workers(store, size)
                share = min(1.0, WATCHED_ELSEWHERE / size) if size > 2 * WATCHED_ELSEWHERE else 1.0
                watch = Watch(host="host-3", share=share, start=0.4)
                figures: dict[str, object] = {"workers": size}
                for name, look in (
                    ("before", lambda store=store: store.workers()),
                    ("after", lambda store=store, watch=watch: store.live_workers(watch)),
                ):
                    found = one_look(look, server)
                    cores = found["server_cpu_ms"] / 1e3 * size / Timing().beat_seconds
                    figures[name] = {**found, "rows": len(look()), "server_cores_for_all": round(cores, 3)}
                print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    main()
