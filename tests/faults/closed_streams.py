"""Workers whose standard streams are closed, full or gone: `hlbq worker` trains as any other."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.faults.harness import Fleet, Ground, judged, new_sweep, read_ledger, scaled, submit, with_stand_in
from tests.faults.report import FaultRow
from tests.stand_in_trainer import Plan

ROUNDS = 3
PLAN = Plan(steps=20)
REDIRECTIONS = ("<&-", ">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-", ">/dev/full 2>/dev/full", "gone")


def run(scale: float, ground: Ground) -> list[FaultRow]:
    """Both databases."""
    rounds = scaled(ROUNDS, scale)
    return [_closed(rounds, kind, db, folder) for kind, db, folder in ground.databases("closed-streams")]


def _closed(rounds: int, kind: str, db: str, folder: Path) -> FaultRow:
    began = time.monotonic()
    broken = []
    with Fleet(db=db, folder=folder, workers=0, plan=PLAN) as fleet:
        for redirection in REDIRECTIONS * rounds:
            submit(db, new_sweep(2))
            code = _work(db, folder, redirection)
            if code != 0:
                broken.append(f"{redirection}: exit code {code}")
        ledger = read_ledger(db, PLAN)
    words = {"besides": "of a worker: none, some or all closed, full, or the reader gone"}
    landed = len(REDIRECTIONS) * rounds
    return judged("closed streams", kind, ledger, fleet, began, landed=landed, broken=broken, **words)


def _work(db: str, folder: Path, redirection: str) -> int:
    """One `hlbq worker` until the queue is empty; returns its exit code. 124: it hung."""
    worker = [sys.executable, "-P", "-m", "orchestrator.cli.main", "worker", "--device", "cpu"]
    read_end, write_end = os.pipe()
    os.close(read_end)
    gone = redirection == "gone"
    command = worker if gone else ["sh", "-c", f'exec "$@" {redirection}', "sh", *worker]
    streams = write_end if gone else subprocess.DEVNULL
    process = subprocess.Popen(
        [*command, "--db", db, "--state_dir", str(folder / "state")],
        cwd=folder,
        env={**os.environ, **with_stand_in(PLAN)},
        stdout=streams,
        stderr=streams,
    )
    os.close(write_end)
    try:
        return process.wait(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        return 124
