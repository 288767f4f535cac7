"""A real worker (supervisor, store, pipes, signals) with a trainer of the test's choice and faults at named points.

The faults are drawn inside the process, at the very statement: `claim`, `flush`, `commit_checkpoint` and `finish`,
before or after. Each that lands while the worker holds a run is noted in a log file first, in one write.
"""

import argparse
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from hlbgpt_core.errors import HlbqError
from orchestrator.store import OpenMode, Store, open_store
from tests.stand_in_trainer import command as stand_in_command
from worker.__main__ import identity_of
from worker.devices import cpu_device
from worker.supervisor import Supervisor, WorkerOptions
from worker.timing import Timing
from worker.trainer_handle import trainer_command

WATCHED = ("claim", "flush", "commit_checkpoint", "finish")


@dataclass(frozen=True, kw_only=True)
class Faults:
    """What goes wrong in a worker.

    `kill` gives the probability of a SIGKILL by point ("flush.before"); `host` pretends another host, so that only
    the lease tells; `real_trainer` trains for real.
    """

    kill: dict[str, float] = field(default_factory=dict)
    host: str = ""
    real_trainer: bool = False
    landed: str = ""
    timing: dict[str, float] = field(default_factory=dict)


class FaultyStore:
    """A store that passes everything on, and may end the process before or after a watched method."""

    def __init__(self, store: Store, faults: Faults) -> None:
        self._store, self._faults = store, faults
        self._random = random.Random(os.urandom(8))
        self._holding = False

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._store, name)
        return self._with_faults(name, method) if name in WATCHED else method

    def _with_faults(self, name: str, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            self._perhaps_die(f"{name}.before")
            result = method(*given, **named)
            if name == "claim":
                self._holding = result is not None
            self._perhaps_die(f"{name}.after")
            if name == "finish":
                self._holding = False
            return result

        return call

    def _perhaps_die(self, point: str) -> None:
        if self._holding and self._random.random() < self._faults.kill.get(point, 0.0):
            note_landed(self._faults.landed, point)
            os.kill(os.getpid(), signal.SIGKILL)


def note_landed(path: str, point: str) -> None:
    """One line for a fault that is about to land."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.write(descriptor, f"{time.time():.3f} {os.getpid()} {point}\n".encode())
    os.close(descriptor)


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--db", required=True)
    parser.add_argument("--state_dir", required=True)
    parser.add_argument("--watch", action="store_true")
    parser.add_argument("--faults", default="{}")
    given = parser.parse_args()
    faults = Faults(**json.loads(given.faults))
    device = cpu_device()
    identity = identity_of(device)
    if faults.host:
        identity = replace(identity, host=faults.host)
    with open_store(given.db, mode=OpenMode.WRITE) as store:
        state_folder = Path(given.state_dir)
        state_folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        supervisor = Supervisor(
            store=FaultyStore(store, faults),  # type: ignore[arg-type]
            state_folder=state_folder,
            identity=identity,
            device=device,
            command=trainer_command("cpu") if faults.real_trainer else stand_in_command(),
            options=WorkerOptions(watch=given.watch),
            timing=Timing(**faults.timing),
        )
        supervisor.install_signal_handlers()
        try:
            supervisor.run()
        except HlbqError as error:
            print(f"error: {error}", file=sys.stderr, flush=True)
            return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
