"""The W&B sync under faults: `python -m tests.faults.wandb_faults [--scale SHARE]`, and a part of the fault suite.

Runs grow in a database while syncs are killed at random moments and a real HTTP server on loopback fails, drops
answers, hangs and restarts. In the end that server must hold every point of every run, each once.
"""

import argparse
import os
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from hlbgpt_core.points import Split
from orchestrator.queue.attempts import Lease
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason
from orchestrator.store import OpenMode, Store, open_store
from tests.faults.harness import Ground, scaled, wait_until
from tests.faults.report import FaultRow
from tests.faults.suite import prepared_ground
from tests.store_examples import claim, ending, facts, point, progress, register, saved, stored_points, submit
from tests.sync_process import start_sync
from tests.wandb_server import Fault, HeldRun, WandbServer, wandb_server

FULL = 200
RUNS = 3
POINTS_A_ROUND = 4
_KILL, _RESTART = "killed", "server restarted"
# Each answer that a run waits for, by the name that the server knows it by.
_PLACES = ("file_stream", "file_stream", "RunResumeStatus", "UpsertBucket", "Run(", "")


@dataclass(kw_only=True)
class Growth:
    """Runs that get longer. Every round commits a checkpoint; some points lie past it and must not be sent."""

    store: Store
    leases: list[Lease]
    step: int = 0

    def more(self) -> None:
        """A few more points for one of the runs."""
        lease = random.choice(self.leases)
        first, last = self.step + 1, self.step + POINTS_A_ROUND
        points = [point(step) for step in range(first, last)] + [point(last - 1, Split.VAL)]
        self.store.commit_checkpoint(lease, saved(last - 1), points=points)
        self.store.flush(lease, points=[point(last)], progress=progress(last))
        self.step = last

    def end(self) -> None:
        """The runs end, each in its own way."""
        for lease, reason in zip(self.leases, (Reason.FINISHED, Reason.DIVERGED, Reason.FINISHED), strict=True):
            self.store.finish(lease, ending(reason))


def run(scale: float, ground: Ground) -> list[FaultRow]:
    """The suite's row: all faults on one database."""
    folder = ground.place("wandb")
    wanted, began = scaled(FULL, scale, least=4), time.monotonic()
    with wandb_server() as server, open_store(str(folder / "hlbq.db"), mode=OpenMode.CREATE) as store:
        growth = begin(store)
        landed = strike(server, growth, folder, wanted)
        growth.end()
        server.disarm()
        said = sync_until_sent(server, store, folder)
        lost, doubled, broken = compare(server, store)
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(landed.items()))
    return [
        FaultRow(
            fault="W&B sync killed, server failing (figures are points)",
            database="SQLite",
            landed=landed.total(),
            lost=lost,
            finished_twice=doubled,
            besides=kinds,
            seconds=time.monotonic() - began,
            broken=(*broken, *(["the last sync failed: " + said] if said else [])),
        )
    ]


def begin(store: Store) -> Growth:
    """A sweep whose runs have all been claimed."""
    submit(store, seeds=RUNS, wandb_project="faults")
    claims = [claim(store, register(store, number)) for number in range(RUNS)]
    for one in claims:
        store.flush(one.lease, points=[], progress=progress(0), facts=facts())
    return Growth(store=store, leases=[one.lease for one in claims])


def strike(server: WandbServer, growth: Growth, folder: Path, wanted: int) -> Counter[str]:
    """Syncs, one after the other, each hit by something; returns what landed."""
    landed: Counter[str] = Counter()
    for turn in range(5 * wanted):
        if landed.total() >= wanted:
            break
        growth.more()
        kind = (_KILL, _KILL, _RESTART, *Fault)[turn % 7]
        if isinstance(kind, Fault):
            server.arm(kind, path=random.choice(_PLACES), times=1 if kind is Fault.TIMEOUT else 2)
        before = server.struck.total()
        process = start_sync(str(folder / "hlbq.db"), folder, server.environment())
        if kind in (_KILL, _RESTART):
            wait_until(lambda: _sending(growth.store) or process.poll() is not None, seconds=120, what="a session")  # noqa: B023
            time.sleep(random.uniform(0, 0.8))
            if process.poll() is None and _sending(growth.store):
                landed[kind] += 1
                if kind == _KILL:
                    process.kill()
                else:
                    server.stop()
                    time.sleep(random.uniform(0, 0.5))
                    server.start()
        process.communicate(timeout=120)
        server.disarm()
        if struck := server.struck.total() - before:
            landed[f"server: {kind}"] += struck
    return landed


def _sending(store: Store) -> bool:
    """Whether a sync holds a run."""
    marks = [store.sync_mark(run.uid) for run in store.runs(RunFilter())]
    return any(mark is not None and mark.lease_owner for mark in marks)


def sync_until_sent(server: WandbServer, store: Store, folder: Path) -> str:
    """Sync without faults; returns what was said if that fails."""
    process = start_sync(str(folder / "hlbq.db"), folder, server.environment())
    said = process.communicate(timeout=120)[0]
    return said if process.returncode or store.unsent(RunFilter(), limit=1) else ""


def compare(server: WandbServer, store: Store) -> tuple[int, int, list[str]]:
    """Points lost, points doubled, and what else is wrong, over all runs."""
    lost, doubled, broken = 0, 0, []
    for run in store.runs(RunFilter()):
        held = server.runs.get(run.uid, HeldRun())
        there = Counter(identity(line) for line in held.history)
        stored = stored_points(store, RunFilter(run_ids=(run.id,)))
        wanted = {(str(one.point.split), one.point.step, one.point.loss) for one in stored}
        lost += len(wanted - there.keys())
        doubled += sum(count - 1 for count in there.values())
        if there.keys() - wanted:
            broken.append(f"run {run.id}: W&B holds points that it never had")
        if held.changed or held.gaps:
            broken.append(f"run {run.id}: {held.changed} lines came again changed, {held.gaps} gaps")
        if [line["_step"] for line in held.history] != list(range(len(held.history))):
            broken.append(f"run {run.id}: W&B's steps do not count up")
        if held.summary.get("state") != run.state.value:
            broken.append(f"run {run.id}: W&B takes it for {held.summary.get('state')}, it is {run.state}")
    if strangers := server.runs.keys() - {run.uid for run in store.runs(RunFilter())}:
        broken.append(f"runs that are none: {sorted(strangers)}")
    return lost, doubled, broken


def identity(line: dict[str, object]) -> tuple[str, object, object]:
    """The point that a line of history is of: split, step and loss."""
    split = "train" if "train/loss" in line else "val"
    return split, line["step"], line[f"{split}/loss"]


def main() -> int:
    """All faults; prints the figures."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.wandb_faults")
    parser.add_argument("--scale", type=float, default=1.0, help=f"share of {FULL} faults")
    scale = parser.parse_args().scale
    random.seed(os.urandom(8))
    with prepared_ground() as ground:
        (row,) = run(scale, ground)
    print(f"landed {row.landed}: {row.besides}")
    print(f"lost {row.lost}, doubled {row.finished_twice}, in {row.seconds:.0f} s; {row.complaint or 'kept'}")
    return 0 if row.kept else 1


if __name__ == "__main__":
    sys.exit(main())
