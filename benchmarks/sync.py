"""`hlbq sync` of 10,000 points against wandb itself logging the same rows, to a W&B server on loopback.

    python -m benchmarks.sync [--points 10000] [--repeat 3]

Both in this process, in turns, wandb loaded and its service running; the smallest time of the repetitions counts.
hlbq's time goes from the database to the moved mark, with W&B's count confirmed; wandb's is init, log, finish. On a
loaded machine, the CPU seconds of this process and of wandb's service say more than the clock.
"""

import argparse
import contextlib
import os
import tempfile
import time
from pathlib import Path

from hlbgpt_core.points import Point, Split
from orchestrator.queue.attempts import Ending
from orchestrator.queue.runs import Bookkeeping, RunFilter
from orchestrator.queue.states import Reason
from orchestrator.queue.sweeps import NewArm, NewRun, NewSweep
from orchestrator.queue.workers import WorkerIdentity
from orchestrator.store import OpenMode, Store, open_store
from orchestrator.wandb_sync.leases import OwnFolder
from orchestrator.wandb_sync.rows import row_of
from orchestrator.wandb_sync.session import SyncTiming, Wandb, define_axes
from orchestrator.wandb_sync.syncing import Syncer
from tests.wandb_server import WandbServer, wandb_server

WORKER = WorkerIdentity(host="h", hostname="here", pid=1, start_ticks=1, device="cpu")


def example_point(step: int) -> Point:
    """A train point with four groups' learning rates, as a run of recipe 0.4.1 records."""
    return Point(
        split=Split.TRAIN,
        step=step,
        loss=5.0 + 1 / step,
        acc=0.3,
        pplx=150.0,
        cumulative_time=0.01 * step,
        tokens_seen=1000 * step,
        epoch=step / 1000,
        batch_size=8,
        seq_length=128,
        lr=0.001,
        weight_decay=0.1,
        grad_norm=1.5,
        microbatches=2,
        extra={f"lr_{group}": 0.001 for group in ("decay", "head", "bias", "embedding")},
    )


def completed_run(store: Store, points: list[Point]) -> str:
    """A run with these points that has ended; returns its uid."""
    arm = NewArm(key=os.urandom(4).hex(), settings={}, num_params=1, num_non_embedding_params=1)
    runs, bookkeeping = [NewRun(arm=0, run_num=1, seed=1)], Bookkeeping()
    store.submit(NewSweep(arms=[arm], runs=runs, bookkeeping=bookkeeping, wandb_project="bench"))
    claim = store.claim(store.register_worker(WORKER, lease_seconds=60))
    assert claim is not None
    store.finish(claim.lease, Ending(reason=Reason.FINISHED), points=points)
    return claim.run.uid


def time_hlbq(store: Store, wandb: Wandb, server: WandbServer, folder: Path, points: list[Point]) -> float:
    """Seconds of one pass that sends a run."""
    uid = completed_run(store, points)
    with OwnFolder(folder) as own:
        syncer = Syncer(store, wandb, own, folder, timing=SyncTiming(), say=lambda _: None)
        began = time.perf_counter()
        tally = syncer.send_all(RunFilter())
        seconds = time.perf_counter() - began
    assert (tally.points, len(server.runs[uid].history)) == (len(points), len(points))
    return seconds


def time_wandb(server: WandbServer, folder: Path, points: list[Point]) -> float:
    """Seconds of wandb alone, for the same rows with the same axes."""
    import wandb

    rows = [row_of(point) for point in points]
    settings = wandb.Settings(console="off", silent=True, x_disable_stats=True, x_disable_meta=True)
    began = time.perf_counter()
    run = wandb.init(project="bench", dir=str(folder), reinit="create_new", settings=settings)
    define_axes(run)
    for row in rows:
        run.log(row)
    run.finish()
    seconds = time.perf_counter() - began
    assert len(server.runs[run.id].history) == len(points)
    return seconds


def cpu_seconds() -> float:
    """CPU time so far of this process and of its running children, including wandb's service."""
    ticks = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # a process that has just ended
            fields = status.read_text().rpartition(")")[2].split()
            if int(fields[1]) == os.getpid():
                ticks += int(fields[11]) + int(fields[12])
    return time.process_time() + ticks / os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Measure in turns, print the rates."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--points", type=int, default=10_000)
    parser.add_argument("--repeat", type=int, default=3)
    given = parser.parse_args()
    points = [example_point(step) for step in range(1, given.points + 1)]
    times: dict[str, list[tuple[float, float]]] = {"wandb alone": [], "hlbq sync": []}
    with tempfile.TemporaryDirectory() as place, wandb_server() as server:
        folder = Path(place)
        os.environ |= server.environment()
        wandb = Wandb(SyncTiming())
        with open_store(str(folder / "hlbq.db"), mode=OpenMode.CREATE) as store:
            for _ in range(given.repeat):
                for name, measure in (
                    ("wandb alone", lambda: time_wandb(server, folder, points)),
                    ("hlbq sync", lambda: time_hlbq(store, wandb, server, folder, points)),
                ):
                    before = cpu_seconds()
                    times[name].append((measure(), cpu_seconds() - before))
        import wandb as library

        library.teardown()
    print(f"{given.points:,} points, best of {given.repeat}")
    for name, measured in times.items():
        seconds, busy = min(one for one, _ in measured), min(one for _, one in measured)
        print(f"{name:14}{seconds:8.2f} s{given.points / seconds:10,.0f} points/s{busy:10.2f} CPU s")


if __name__ == "__main__":
    main()
