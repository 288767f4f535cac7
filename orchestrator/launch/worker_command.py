"""The command that starts a worker process. The queue starts workers and never imports them."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class WorkerCommand:
    """What a worker is asked to do; `None` leaves the choice to the worker.

    `gpus` (`all`, or numbers such as `0,2`) and `slots` above 1 make it a parent of several workers.
    """

    db: str | None = None
    state_dir: str | None = None
    gpu: int | None = None
    gpus: str | None = None
    device: str | None = None
    slots: int = 1
    memory_check: bool = True
    watch: bool = False
    count: int = 0
    sweep_ids: Sequence[int] = ()
    threads: int = 1
    deterministic: bool = False
    fast: bool | None = None
    compile_mode: str = "auto"

    def argv(self, *, end_with_this_process: bool = False, prestarted: bool = False) -> list[str]:
        """The arguments of the process, the interpreter first.

        `end_with_this_process` has the kernel send the worker a SIGTERM when the caller dies. In `prestarted` it gets
        ready and waits to be told of its sweep (see `PrestartedWorkers`).
        """
        # -P: a file named like one of our packages in the user's folder must not take its place.
        arguments = [sys.executable, "-P", "-m", "worker", "--threads", str(self.threads), "--count", str(self.count)]
        named: dict[str, object] = {"--db": self.db, "--state_dir": self.state_dir}
        named |= {"--gpu": self.gpu, "--gpus": self.gpus, "--device": self.device}
        for option, value in named.items():
            if value is not None:
                arguments += [option, str(value)]
        for sweep_id in self.sweep_ids:
            arguments += ["--sweep", str(sweep_id)]
        if self.slots > 1:
            arguments += ["--slots", str(self.slots)]
        if not self.memory_check:
            arguments.append("--no-memory-check")
        if self.watch:
            arguments.append("--watch")
        if self.deterministic:
            arguments.append("--deterministic")
        if self.fast is not None:
            arguments.append("--fast" if self.fast else "--plain")
        if self.compile_mode != "auto":
            arguments += ["--compile", self.compile_mode]
        if end_with_this_process:
            arguments += ["--with-parent", str(os.getpid())]
        if prestarted:
            arguments.append("--prestarted")
        return arguments

    def hidden(self) -> tuple["WorkerCommand", dict[str, str]]:
        """The command and the environment to start it with: a database's URL, which may hold a password, is then in
        the environment and not in the process list."""
        if self.db is None or "://" not in self.db:
            return self, dict(os.environ)
        return replace(self, db=None), {**os.environ, "HLBQ_DB": self.db}
