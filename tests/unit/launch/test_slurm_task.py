"""The task in a job: it passes a signal on once, and lets none reach a worker that has ended."""

import os
import signal
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from orchestrator.launch import slurm_task
from orchestrator.launch.slurm_task import WorkerTask
from orchestrator.launch.worker_command import WorkerOptions


@pytest.fixture
def kept_handlers() -> Iterator[None]:
    """The handlers that a task sets are set back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


class EndsAtOnce(subprocess.Popen[bytes]):
    """A worker that ends by itself; a signal comes once it was reaped."""

    def __init__(self, *_: Any, **__: Any) -> None:
        super().__init__(["true"])

    def wait(self, timeout: float | None = None) -> int:
        code = super().wait(timeout)
        signal.raise_signal(signal.SIGTERM)
        return code


@pytest.mark.usefixtures("kept_handlers")
def test_a_signal_after_the_end_reaches_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slurm_task.subprocess, "Popen", EndsAtOnce)
    assert WorkerTask(options=WorkerOptions())() == 0


def test_time_that_is_up_after_the_end_puts_no_job_back(monkeypatch: pytest.MonkeyPatch) -> None:
    task = WorkerTask(options=WorkerOptions(), _pid=os.getpid(), _code=0)
    monkeypatch.setattr(slurm_task.os, "kill", lambda pid, number: pytest.fail("nobody is there to be told"))
    with pytest.raises(SystemExit) as left:
        task.checkpoint()
    assert left.value.code == 0


def test_a_signal_in_the_middle_of_anothers_handler_is_not_passed_on_too(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    task = WorkerTask(options=WorkerOptions(), _pid=os.getpid())

    def kill(pid: int, number: int) -> None:
        told.append(number)
        if len(told) == 1:
            task._tell(signal.SIGTERM)

    monkeypatch.setattr(slurm_task.os, "kill", kill)
    task._tell(signal.SIGUSR1)
    assert told == [signal.SIGUSR1]
