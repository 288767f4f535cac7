"""A system without room for a trainer process: the worker says so and ends, and nothing is left open."""

import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.faults.harness import wait_until
from worker.__main__ import main
from worker.exit_codes import EXIT_USAGE
from worker.processes import ProcessState, process_state
from worker.trainer import trainer_handle
from worker.trainer.trainer_handle import Inbox, TrainerDied, TrainerHandle, TrainerStartError


def full(*_: Any, **__: Any) -> Any:
    raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208


def test_the_worker_ends_with_a_word(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(trainer_handle.subprocess, "Popen", full)
    assert main(["--db", str(tmp_path / "hlbq.db")]) == EXIT_USAGE
    said = capsys.readouterr().err
    assert "the trainer process cannot be started: Resource temporarily unavailable" in said
    assert "ulimit -a" in said and "Traceback" not in said


@pytest.mark.parametrize("place", ["pipe", "process", "thread"])
def test_nothing_stays_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, place: str) -> None:
    started: list[subprocess.Popen[bytes]] = []
    before = open_descriptors()
    if place == "pipe":
        first = iter([os.pipe()])
        monkeypatch.setattr(trainer_handle.os, "pipe", lambda: next(first, None) or full())
    elif place == "process":
        monkeypatch.setattr(trainer_handle.subprocess, "Popen", full)
    else:

        def no_thread(self: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        begin = subprocess.Popen

        def popen(*given: Any, **named: Any) -> Any:
            started.append(begin(*given, **named))
            return started[-1]

        monkeypatch.setattr(threading.Thread, "start", no_thread)
        monkeypatch.setattr(trainer_handle.subprocess, "Popen", popen)
    with pytest.raises(TrainerStartError):
        TrainerHandle(["sleep", "60"], {}, tmp_path / "log", Inbox())
    assert open_descriptors() == before
    assert all(one.returncode is not None for one in started)


FORKS = """
import os, signal, sys, time
child = os.fork()
if child == 0:
    time.sleep(600)
print(child, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_the_end_of_a_trainer_that_forked_is_heard_at_once(tmp_path: Path) -> None:
    """The fork holds the pipe open; the worker took the trainer for one that hangs, for as long as that lived."""
    inbox, log = Inbox(), tmp_path / "log"
    trainer = TrainerHandle([sys.executable, "-c", FORKS], {}, log, inbox)
    assert inbox.next(120) == TrainerDied(pid=trainer.pid, returncode=-signal.SIGKILL, loaded=False)
    fork = int(log.read_text())
    wait_until(lambda: process_state(fork, 0) is ProcessState.DEAD, seconds=120, what="the fork has ended")
