"""A real worker (supervisor, store, pipes, signals) with a trainer of the test's choice and faults at named points.

The faults are drawn inside the process, at the very statement: `claim`, `flush`, `commit_checkpoint`, `finish` and
`beat`, each before, inside (all statements done, the transaction not yet committed) and after. Each that strikes while
the worker holds a run is noted in a log file first, in one write.
"""

import argparse
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, event

from hlbgpt_core.errors import HlbqError
from orchestrator.files.standard_streams import open_closed_streams, unfailing_text
from orchestrator.launch.stop_signals import heed_interrupts, ignore_late_signals
from orchestrator.launch.worker_command import WorkerOptions
from orchestrator.store import OpenMode, Store, open_store
from tests.stand_in_trainer import command as stand_in_command
from worker.__main__ import identity_of
from worker.devices.devices import cpu_device
from worker.processes import die_with_parent
from worker.supervisor import Supervisor
from worker.timing import Timing
from worker.trainer.trainer_handle import trainer_command
from worker.trainer.trainer_manager import TrainerManager

WATCHED = ("claim", "flush", "commit_checkpoint", "finish", "beat")


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What goes wrong in a worker.

    `kill` and `stop` give the probability of a SIGKILL and of a SIGSTOP by point ("flush.before"); `host` pretends
    another host, so that only the lease tells; `real_trainer` trains for real, `no_trainer` has none that the system
    can start; `no_fence` takes the check of the fence out of this process; `pages_file` names a file with the greatest
    size of the database in pages.
    """

    kill: dict[str, float] = field(default_factory=dict)
    stop: dict[str, float] = field(default_factory=dict)
    host: str = ""
    real_trainer: bool = False
    no_trainer: bool = False
    no_fence: bool = False
    pages_file: str = ""
    landed: str = ""
    timing: dict[str, float] = field(default_factory=dict)


class FaultyStore:
    """A store that passes everything on, and may end or stop the process at a watched method."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store, self._faults = store, faults
        self._random = random.Random(os.urandom(8))
        self._holding = False
        self._method = ""
        event.listen(store._engine, "commit", self._inside)

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        return self._with_faults(name, method) if name in WATCHED else method

    def _with_faults(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            self._limit_pages()
            self._perhaps(f"{name}.before")
            self._method = name
            try:
                result = method(*given, **named)
            finally:
                self._method = ""
            if name == "claim":
                self._holding = result is not None
            self._perhaps(f"{name}.after")
            if name == "finish":
                self._holding = False
            return result

        return call

    def _inside(self, connection: Connection) -> None:
        """Called before each commit of this process."""
        if self._method and connection.get_execution_options().get("hlbq_writes"):
            self._perhaps(f"{self._method}.inside")

    def _perhaps(self, point: str) -> None:
        if not self._holding and point != "claim.inside":
            return
        for probabilities, number in ((self._faults.kill, signal.SIGKILL), (self._faults.stop, signal.SIGSTOP)):
            if self._random.random() < probabilities.get(point, 0.0):
                note_landed(self._faults.landed, point)
                os.kill(os.getpid(), number)

    def _limit_pages(self) -> None:
        if self._faults.pages_file:
            pages = int(Path(self._faults.pages_file).read_text())
            with self._store._read() as connection:
                connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")


def note_landed(path: str, point: str) -> None:
    """One line for a fault that is about to land."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, f"{time.time():.3f} {os.getpid()} {point}\n".encode())
    os.close(descriptor)


def take_the_fence_out() -> None:
    """Have this process's store accept writes from whoever once held a run: the suite must see what follows."""
    from orchestrator.store.working import held_run as queue

    queue._check_fence = lambda connection, lease: None
    Store.still_holds = lambda self, lease: True  # type: ignore[method-assign]


def _trainer(faults: Faults, options: WorkerOptions) -> Sequence[str]:
    if faults.no_trainer:
        return ["/not/there"]
    return trainer_command("cpu", options) if faults.real_trainer else stand_in_command()


def main() -> int:
    heed_interrupts()
    open_closed_streams()
    sys.stderr = unfailing_text(2)  # as a real worker's: nobody may listen any more
    parser = argparse.ArgumentParser()
    parser.add_argument("--db", required=True)
    parser.add_argument("--state_dir", required=True)
    parser.add_argument("--watch", action="store_true")
    parser.add_argument("--sweep", type=int, nargs="*", default=[])
    parser.add_argument("--faults", default="{}")
    parser.add_argument("--slot", type=int, default=0)
    parser.add_argument("--slots", type=int, default=1)
    parser.add_argument("--with-parent", type=int, default=0)
    given = parser.parse_args()
    if given.with_parent:
        die_with_parent(given.with_parent, signal.SIGTERM)
    faults = Faults(**json.loads(given.faults))
    device, options = cpu_device(), WorkerOptions(watch=given.watch, sweep=given.sweep)
    identity = identity_of(device, slot=given.slot, slots=given.slots)
    if faults.host:
        identity = replace(identity, host=faults.host)
    if faults.no_fence:
        take_the_fence_out()
    timing = Timing(**faults.timing)
    try:
        with open_store(given.db, mode=OpenMode.WRITE, busy_timeout_seconds=timing.busy_timeout_seconds) as store:
            state_folder = Path(given.state_dir)
            state_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            supervisor = Supervisor(
                store=FaultyStore(store, faults),  # type: ignore[arg-type]
                state_folder=state_folder,
                identity=identity,
                device=device,
                trainers=TrainerManager(
                    command=_trainer(faults, options),
                    device=device,
                    threads=options.threads,
                    kill_grace_seconds=timing.kill_grace_seconds,
                    say=lambda text: print(text, file=sys.stderr, flush=True),
                ),
                options=options,
                timing=timing,
            )
            supervisor.stop_requests.heed_signals()
            supervisor.run()
    except HlbqError as error:
        print(f"error: {error}", file=sys.stderr, flush=True)
        return 2
    return 0


def run_as_program() -> None:
    """Raises SystemExit with the exit code."""
    exit_code = main()
    ignore_late_signals()
    sys.exit(exit_code)


if __name__ == "__main__":
    run_as_program()
