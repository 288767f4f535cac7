"""Fleets of real workers that are hurt, and the ledger that is checked afterwards."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hlbgpt_core.points import Split
from hlbgpt_core.scale import check, resolve
from hlbgpt_core.settings import Settings
from orchestrator.records import Bookkeeping, NewArm, NewRun, NewSweep, RunFilter
from orchestrator.runs import Limits, Reason, State
from orchestrator.store import OpenMode, Store, open_store
from tests.faults.worker_under_fault import Faults
from tests.stand_in_trainer import Plan, point_at

ROOT = Path(__file__).parents[2]
# Losses and errors are what the suite makes: budgets must not end its runs.
PATIENT = Limits(max_attempts=10_000, max_losses=10_000, backoff_seconds=0.01, max_backoff_seconds=0.05)
SHORT = {
    "beat_seconds": 0.3,
    "lease_seconds": 2.0,
    "self_fence_seconds": 1.5,
    "flush_seconds": 0.05,
    "idle_poll_seconds": 0.05,
    "database_retry_seconds": 0.1,
    "kill_grace_seconds": 2.0,
}


def small_settings(**given: object) -> Settings:
    """Settings of a tiny model on bytes; resolved."""
    tiny = {
        "dataset": "pystdlib",
        "tokenizer": "bytes",
        "depth": 1,
        "width": 64,
        "max_sequence_length": 64,
        "initial_sequence_length": 16,
        "sequence_growth_steps": 10,
        "gpu_capacity_scalar": 0.01,
        "lr_mult": 0.5,
        "max_microbatches": 2,
        "num_eval_tokens": 1024,
        "max_steps": 40,
        "log_every": 1,
    }
    return resolve(Settings.from_dict({**tiny, **given}))


def new_sweep(
    runs: int, *, arms: int = 1, limits: Limits = PATIENT, checkpoint_every_seconds: float = 60.0, **settings: object
) -> NewSweep:
    """A sweep of `runs` runs in all, seeds from 100, over `arms` arms that differ in lr_mult."""
    chosen = [small_settings(lr_mult=0.5 + 0.01 * arm, **settings) for arm in range(arms)]
    sizes = [check(one) for one in chosen]
    return NewSweep(
        arms=[
            NewArm(
                key=one.key(),
                settings=one.to_dict(),
                num_params=size.num_params,
                num_non_embedding_params=size.num_non_embedding_params,
            )
            for one, size in zip(chosen, sizes, strict=True)
        ],
        runs=[NewRun(arm=k % arms, run_num=1 + k // arms, seed=100 + k // arms) for k in range(runs)],
        bookkeeping=Bookkeeping(limits=limits, checkpoint_every_seconds=checkpoint_every_seconds),
    )


def submit(db: str, sweep: NewSweep) -> int:
    """Store a sweep; returns its number."""
    with open_store(db, mode=OpenMode.CREATE) as store:
        return store.submit(sweep).id


def wait_until(condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Wait on a condition; fails loudly past the limit."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise AssertionError(f"not within {seconds:g} s: {what}")
        time.sleep(0.02)


@dataclass(kw_only=True)
class Fleet:
    """Worker processes on one database, started anew as they die."""

    db: str
    folder: Path
    workers: int
    faults: Faults = field(default_factory=Faults)
    plan: Plan = field(default_factory=Plan)
    processes: list["subprocess.Popen[bytes]"] = field(default_factory=list)
    started: int = 0

    @property
    def landed_path(self) -> Path:
        """Where workers note the faults that landed."""
        return self.folder / "landed.txt"

    def landed(self) -> int:
        """How many faults landed on a holder so far."""
        return len(self.landed_path.read_text().splitlines()) if self.landed_path.exists() else 0

    def start_one(self, *, faults: Faults | None = None, watch: bool = True) -> "subprocess.Popen[bytes]":
        """Start one worker; its words go to a log of the fleet."""
        chosen = asdict(faults or self.faults) | {"landed": str(self.landed_path)}
        chosen["timing"] = SHORT | chosen["timing"]
        arguments = ["--db", self.db, "--state_dir", str(self.folder / "state"), "--faults", json.dumps(chosen)]
        self.started += 1
        with (self.folder / "workers.log").open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.faults.worker_under_fault", *arguments, *(["--watch"] if watch else [])],
                cwd=ROOT,
                env={**os.environ, "STAND_IN": json.dumps(asdict(self.plan)), "PYTHONPATH": str(ROOT)},
                stdout=log,
                stderr=log,
            )
        self.processes.append(process)
        return process

    def keep_up(self) -> None:
        """Replace the workers that died."""
        self.processes = [one for one in self.processes if one.poll() is None]
        while len(self.processes) < self.workers:
            self.start_one()

    def stop(self) -> None:
        """End every worker that is left, by its own process id."""
        for process in self.processes:
            if process.poll() is None:
                process.terminate()
        for process in self.processes:
            try:
                process.wait(timeout=15)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()

    def log(self) -> str:
        """What the workers said."""
        path = self.folder / "workers.log"
        return path.read_text(errors="replace") if path.exists() else ""


def children(pid: int) -> list[int]:
    """The child processes of a process."""
    try:
        return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []


def drained(store: Store) -> bool:
    """Whether no run is pending or running."""
    counts = store.counts(RunFilter())
    return not counts.get(State.PENDING, 0) and not counts.get(State.RUNNING, 0)


@dataclass(frozen=True, kw_only=True)
class Ledger:
    """What the database says after the faults."""

    runs: int
    lost: int
    finished_twice: int
    wrong_points: int

    @property
    def clean(self) -> bool:
        """Whether the promise held."""
        return self.lost == self.finished_twice == self.wrong_points == 0


def read_ledger(db: str, plan: Plan | None) -> Ledger:
    """Check every run: completed, finished exactly once, and (with a stand-in's plan) exactly its points."""
    with open_store(db, mode=OpenMode.READ) as store:
        runs = list(store.runs(RunFilter()))
        lost = sum(run.state is not State.COMPLETED for run in runs)
        twice = wrong = 0
        for run in runs:
            finished = [one for one in store.attempts(run.id) if one.reason is Reason.FINISHED]
            twice += len(finished) > 1
            points = [
                (one.point.split, one.point.step, one.point.loss) for one in store.points(RunFilter(run_ids=(run.id,)))
            ]
            if plan is not None:
                wrong += points != expected_points(run.seed, plan)
            else:
                wrong += len(points) != len({point[:2] for point in points})
    return Ledger(runs=len(runs), lost=lost, finished_twice=twice, wrong_points=wrong)


def expected_points(seed: int, plan: Plan) -> Sequence[tuple[Split, int, float]]:
    """Every point that a stand-in's run must end with, in the order in which the store gives them."""
    train = [(Split.TRAIN, step, point_at(seed, step).loss) for step in range(1, plan.steps + 1)]
    return [*train, (Split.VAL, plan.steps, point_at(seed, plan.steps).loss)]
