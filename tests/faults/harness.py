"""Fleets of real workers that are hurt, and the ledger that is checked afterwards."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import text

from hlbgpt_core.points import Split
from hlbgpt_core.scale import check, resolve
from hlbgpt_core.settings import Settings
from orchestrator.errors import DatabaseBusyError
from orchestrator.queue.runs import Bookkeeping, RunFilter
from orchestrator.queue.states import Limits, Reason, State
from orchestrator.queue.sweeps import NewArm, NewRun, NewSweep
from orchestrator.store import OpenMode, Store, open_store
from tests.faults.report import FaultRow
from tests.faults.worker_under_fault import Faults, run_as_program
from tests.postgresql_server import PostgresqlServer
from tests.ready_processes import ReadyProcess
from tests.stand_in_trainer import Plan, point_at
from tests.store_examples import stored
from worker.timing import Timing

ROOT = Path(__file__).parents[2]
# What `make test-long` and the suite's --quick draw, and what `make test` has time for.
QUICK_SCALE, SHORTEST_SCALE = 0.02, 0.004
# Losses and errors are what the suite makes: budgets must not end its runs.
PATIENT = Limits(max_attempts=10_000, max_losses=10_000, backoff_seconds=0.01, max_backoff_seconds=0.05)
SHORT = {
    "beat_seconds": 0.3,
    "lease_seconds": 2.0,
    "self_fence_seconds": 1.5,
    "busy_timeout_seconds": 5.0,
    "flush_seconds": 0.05,
    "idle_poll_seconds": 0.05,
    "database_retry_seconds": 0.1,
    "kill_grace_seconds": 2.0,
}
UNHURRIED = asdict(Timing())

Worker = subprocess.Popen[bytes] | ReadyProcess


@dataclass(frozen=True, kw_only=True)
class Ground:
    """Where a fault is tried: a folder for everything, and a PostgreSQL server if there is one.

    `seed` is what dice are thrown by: a long fault is tried in several parts.
    """

    folder: Path
    seed: int = 0
    postgresql: PostgresqlServer | None = None
    no_postgresql: str = ""

    def place(self, name: str) -> Path:
        """A new folder."""
        for number in range(1, 1000):
            made = self.folder / f"{name}-{number}"
            with contextlib.suppress(FileExistsError):
                made.mkdir(mode=0o700, parents=True)
                return made
        raise AssertionError(f"too many folders for {name}")

    def databases(self, name: str, *, sqlite_alone: bool = False) -> Iterator[tuple[str, str, Path]]:
        """(kind, location, folder) of a database not yet made: on SQLite, then on PostgreSQL where there is one."""
        folder = self.place(name)
        yield "SQLite", str(folder / "hlbq.db"), folder
        if self.postgresql is not None and not sqlite_alone:
            yield "PostgreSQL", self.postgresql.create_database(), self.place(name)


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
    """Worker processes on one database, started anew as they die. A context manager that stops them.

    `inside` is a command that runs others, for instance in a network namespace. `state` is where their checkpoints go.
    """

    db: str
    folder: Path
    workers: int
    faults: Faults = field(default_factory=Faults)
    plan: Plan = field(default_factory=Plan)
    environment: dict[str, str] = field(default_factory=dict)
    inside: Sequence[str] = ()
    state: Path | None = None
    processes: list[Worker] = field(default_factory=list)
    exits: Counter[int] = field(default_factory=Counter)
    started: list[int] = field(default_factory=list)

    def __enter__(self) -> "Fleet":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self.stop()
        if kind is not None:
            print(f"the workers said:\n{self.log()[-3000:]}", file=sys.stderr)

    @property
    def landed_path(self) -> Path:
        """Where workers and stand-ins note the faults that are about to land."""
        return self.folder / "landed.txt"

    def landed(self) -> list[str]:
        """The named points of the faults noted so far."""
        if not self.landed_path.exists():
            return []
        return [line.split()[2] for line in self.landed_path.read_text().splitlines()]

    def start_one(
        self,
        *,
        faults: Faults | None = None,
        watch: bool = True,
        program: str = "",
        options: Sequence[str] = (),
    ) -> Worker:
        """Start one worker, or a `program` that leads some; its words go to a log of the fleet.

        A `#` in its host becomes its number. It is forked, unless something is to be seen of Python's own start.
        """
        chosen = faults or self.faults
        host = chosen.host.replace("#", str(len(self.started)))
        chosen = replace(chosen, landed=str(self.landed_path), timing=SHORT | chosen.timing, host=host)
        plan = replace(self.plan, landed=str(self.landed_path))
        arguments = [
            *options,
            "--db",
            self.db,
            "--state_dir",
            str(self.state or self.folder / "state"),
            "--faults",
            json.dumps(asdict(chosen)),
            *(["--watch"] if watch else []),
        ]
        environment = {
            **os.environ,
            "STAND_IN": json.dumps(asdict(plan)),
            "PYTHONPATH": str(ROOT),
            **self.environment,
        }
        log = self.folder / "workers.log"
        if self.inside or self.environment or program:
            command = [*self.inside, sys.executable, "-m", program or run_as_program.__module__, *arguments]
            with log.open("ab") as said:
                process: Worker = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=said, stderr=said)
        else:
            process = ReadyProcess(run_as_program, arguments, environment=environment, log=log)
        self.processes.append(process)
        self.started.append(process.pid)
        return process

    def keep_up(self) -> None:
        """Replace the workers that died."""
        for one in self.processes:
            if one.poll() is not None:
                self.exits[one.returncode] += 1
        self.processes = [one for one in self.processes if one.poll() is None]
        while len(self.processes) < self.workers:
            self.start_one()

    def dead(self) -> int:
        """How many of the workers at hand have ended, for whatever reason."""
        return sum(one.poll() is not None for one in self.processes)

    def drain(self, *, seconds: float, what: str = "every run ends") -> None:
        """Keep the fleet up until no run is pending or running."""

        def done() -> bool:
            self.keep_up()
            return drained(store)

        with open_store(self.db, mode=OpenMode.READ) as store:
            wait_until(done, seconds=seconds, what=what)

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
            self.exits[process.returncode] += 1
        self.processes = []

    def log(self) -> str:
        """What the workers said."""
        path = self.folder / "workers.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def complaints(self) -> tuple[str, ...]:
        """What workers must never do, whatever happens to them: crash with a traceback, leave trainers behind."""
        found = []
        if tracebacks := self.log().count("Traceback (most recent call last)"):
            found.append(f"{tracebacks} tracebacks of workers")
        with contextlib.suppress(AssertionError):  # those of a worker that was just killed need a moment
            wait_until(lambda: not trainers_of(self.started), seconds=30, what="the trainers end")
        if left := trainers_of(self.started):
            found.append(f"{len(left)} trainers left behind")
        return tuple(found)


def with_stand_in(plan: Plan, *, driver: bool = False) -> dict[str, str]:
    """Variables by which `hlbq worker`, and what starts it, has a stand-in for a trainer, or for a GPU's driver too."""
    folders = [ROOT / "tests" / "stand_in_site", *([ROOT / "tests" / "stand_in_driver"] if driver else []), ROOT]
    return {"PYTHONPATH": ":".join(map(str, folders)), "STAND_IN": json.dumps(asdict(plan))}


def trainers_of(supervisors: Sequence[int]) -> list[int]:
    """Trainer processes that live and were started by one of these supervisors."""
    wanted = {str(pid) for pid in supervisors}
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (folder / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if "--parent-pid" in words and words[words.index("--parent-pid") + 1] in wanted:
                found.append(int(folder.name))
    return found


def stop_between_transactions(store: Store, pids: Sequence[int]) -> None:
    """SIGSTOP processes, none of them inside a write transaction of SQLite: that would keep everybody from writing.

    `store` waits for a lock no longer than a moment.
    """
    while True:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            store.pause(RunFilter(run_ids=(-1,)), "nobody")  # writes nothing, but needs the lock
            return
        except DatabaseBusyError:
            for pid in pids:
                os.kill(pid, signal.SIGCONT)
            time.sleep(0.05)


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
    """What the database says after the faults.

    `lost_supervisors` and `lost_trainers` count attempts that were taken from a dead or silent supervisor, and that
    a supervisor reported of its killed trainer.
    """

    runs: int
    lost: int
    finished_twice: int
    wrong_points: int
    stale_rows: int = 0
    attempts: int = 0
    lost_supervisors: int = 0
    lost_trainers: int = 0
    problems: tuple[str, ...] = ()

    @property
    def clean(self) -> bool:
        """Whether the promise held."""
        return self.lost == self.finished_twice == self.wrong_points == self.stale_rows == 0 and not self.problems

    @property
    def landed(self) -> int:
        """Faults that took a run from its holder."""
        return self.lost_supervisors + self.lost_trainers


# A point that an attempt wrote past the step from which a later attempt of its run went on.
_STALE = """
    SELECT count(*) FROM points WHERE EXISTS (
        SELECT 1 FROM attempts AS later
        WHERE later.run_id = points.run_id AND later.fence > points.fence AND points.step > later.start_step
    )
"""
_FINISHED_TWICE = """
    SELECT count(*) FROM (
        SELECT run_id FROM events WHERE action = 'finish' GROUP BY run_id HAVING count(*) > 1
        UNION
        SELECT run_id FROM attempts WHERE reason = 'finished' GROUP BY run_id HAVING count(*) > 1
    ) AS twice
"""
_LOST = "SELECT count(*) FROM attempts WHERE reason = 'lost'"
_OPEN = "SELECT count(*) FROM attempts WHERE ended_at IS NULL AND run_id IN (SELECT id FROM runs WHERE ended_at > 0)"


def ask(store: Store, query: str) -> int:
    """One number from a database under test."""
    with store._read() as connection:
        return int(connection.execute(text(query)).scalar_one())


def losses(store: Store) -> int:
    """Attempts that ended as lost so far."""
    return ask(store, _LOST)


Curves = dict[int, list[tuple[Split, int, float]]]


def read_ledger(db: str, plan: Plan | None, *, curves: Curves | None = None) -> Ledger:
    """Check every run: completed or stopped early, finished exactly once, and exactly the points that it must have.

    Those are a stand-in's by its `plan`, or those of `curves` by seed; with neither, no place may be taken twice.
    """
    with open_store(db, mode=OpenMode.READ) as store:
        runs = list(store.runs(RunFilter()))
        wrong = 0
        for run in runs:
            points = _curve(store, run.id)
            if plan is not None:
                wrong += points != expected_points(run.seed, plan)
            elif curves is not None:
                wrong += points != curves[run.seed]
            else:
                wrong += len(points) != len({point[:2] for point in points})
        still_open = ask(store, _OPEN)
        return Ledger(
            runs=len(runs),
            lost=sum(run.state is not State.COMPLETED and run.reason is not Reason.PRUNED for run in runs),
            finished_twice=ask(store, _FINISHED_TWICE),
            wrong_points=wrong,
            stale_rows=ask(store, _STALE),
            attempts=ask(store, "SELECT count(*) FROM attempts"),
            lost_supervisors=ask(store, f"{_LOST} AND error_type <> 'TrainerKilled'"),
            lost_trainers=ask(store, f"{_LOST} AND error_type = 'TrainerKilled'"),
            problems=(*store.integrity_check(), *([f"{still_open} attempts never ended"] if still_open else [])),
        )


def judged(
    fault: str,
    kind: str,
    ledger: Ledger,
    fleet: Fleet,
    began: float,
    *,
    landed: int,
    broken: Sequence[str] = (),
    **words: Any,
) -> FaultRow:
    """The row of a fault that `landed`, after its ledger; `words` are besides and counts."""
    return FaultRow(
        fault=fault,
        database=kind,
        landed=landed,
        lost=ledger.lost + ledger.wrong_points,
        finished_twice=ledger.finished_twice,
        stale_rows=ledger.stale_rows,
        seconds=time.monotonic() - began,
        broken=(*ledger.problems, *fleet.complaints(), *broken),
        **words,
    )


def curves_of(db: str) -> Curves:
    """The points of every run by its seed, for comparison with runs that were disturbed."""
    found: Curves = {}
    with open_store(db, mode=OpenMode.READ) as store:
        for run in store.runs(RunFilter()):
            found[run.seed] = _curve(store, run.id)
    return found


def _curve(store: Store, run_id: int) -> list[tuple[Split, int, float]]:
    return [(one.point.split, one.point.step, one.point.loss) for one in stored(store, run_id)]


def ended_for(db: str, reason: Reason) -> int:
    """How many attempts ended for a reason."""
    with open_store(db, mode=OpenMode.READ) as store:
        return ask(store, f"SELECT count(*) FROM attempts WHERE reason = '{reason.value}'")


def expected_points(seed: int, plan: Plan) -> Sequence[tuple[Split, int, float]]:
    """Every point that a stand-in's run must end with, in the order in which the store gives them."""
    train = [(Split.TRAIN, step, point_at(seed, step).loss) for step in range(1, plan.steps + 1)]
    return [*train, (Split.VAL, plan.steps, point_at(seed, plan.steps).loss)]


def is_short(scale: float) -> bool:
    """Whether only a short draw is wanted: then scenes that take long, and second databases, may be left out."""
    return scale < 0.05


def is_shortest(scale: float) -> bool:
    """Whether `make test` draws: what `make test-long` draws besides may be left out."""
    return scale < QUICK_SCALE


def scaled(full: int, scale: float, *, least: int = 1) -> int:
    """A count of the full suite, made smaller for a short draw."""
    return max(least, round(full * scale))
