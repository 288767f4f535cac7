"""Processes forked from one that has the store and the worker imported: to import them is most of a start."""

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from multiprocessing.context import ForkServerContext
from pathlib import Path


def ready_context() -> ForkServerContext:
    """As the others of multiprocessing. Threads and connections of the process that asks are not inherited."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["tests.faults.worker_under_fault", "tests.store_processes"])
    return context


class ReadyProcess:
    """A program of Python's as a forked process, with what tests use of a `subprocess.Popen`."""

    def __init__(
        self, main: Callable[[], None], arguments: Sequence[str], *, environment: Mapping[str, str], log: Path
    ) -> None:
        self._process = ready_context().Process(
            target=_call, args=(main, list(arguments), dict(environment), str(log)), daemon=False
        )
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid

    @property
    def returncode(self) -> int | None:
        """As Popen's: the exit code, or minus the signal that ended it; None while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """As Popen's."""
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """As Popen's."""
        self._process.join(timeout)
        if self.returncode is None:
            raise subprocess.TimeoutExpired(str(self._process), timeout or 0.0)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """As Popen's."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """As Popen's."""
        self._process.terminate()

    def kill(self) -> None:
        """As Popen's."""
        self._process.kill()


def _call(main: Callable[[], None], arguments: Sequence[str], environment: Mapping[str, str], log: str) -> None:
    descriptor = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv[1:] = arguments
    main()
