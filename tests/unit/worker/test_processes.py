"""What the kernel says of processes, on real ones."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import pytest

from worker import processes
from worker.processes import ProcessState, host_id, kill_exactly, process_state, start_ticks


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield process
    process.kill()
    process.wait()


def wait_for_state(pid: int, ticks: int, state: ProcessState) -> None:
    until = time.monotonic() + 10
    while process_state(pid, ticks) is not state:
        assert time.monotonic() < until, f"process {pid} never became {state}"
        time.sleep(0.01)


def test_alive_stopped_dead(sleeper: "subprocess.Popen[bytes]") -> None:
    ticks = start_ticks(sleeper.pid)
    assert ticks > 0
    assert process_state(sleeper.pid, ticks) is ProcessState.ALIVE
    os.kill(sleeper.pid, signal.SIGSTOP)
    wait_for_state(sleeper.pid, ticks, ProcessState.STOPPED)
    os.kill(sleeper.pid, signal.SIGCONT)
    wait_for_state(sleeper.pid, ticks, ProcessState.ALIVE)
    os.kill(sleeper.pid, signal.SIGKILL)
    wait_for_state(sleeper.pid, ticks, ProcessState.DEAD)  # a zombie until it is waited for
    sleeper.wait()
    assert process_state(sleeper.pid, ticks) is ProcessState.DEAD


def test_a_pid_used_anew_is_another_process(sleeper: "subprocess.Popen[bytes]") -> None:
    earlier = start_ticks(sleeper.pid) - 1
    assert process_state(sleeper.pid, earlier) is ProcessState.DEAD
    assert not kill_exactly(sleeper.pid, earlier)
    assert sleeper.poll() is None


def test_a_stopped_process_can_be_killed(sleeper: "subprocess.Popen[bytes]") -> None:
    ticks = start_ticks(sleeper.pid)
    os.kill(sleeper.pid, signal.SIGSTOP)
    assert kill_exactly(sleeper.pid, ticks)
    assert sleeper.wait(timeout=120) == -signal.SIGKILL


def test_a_process_of_which_proc_tells_nothing_is_alive_while_it_is_there(
    sleeper: "subprocess.Popen[bytes]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Hosts may hide the processes of other users (hidepid): their workers were taken for dead, and their runs given
    away as often as they were claimed."""
    ticks, is_hidden = start_ticks(sleeper.pid), PermissionError(1, "Operation not permitted")
    with monkeypatch.context() as hidden:
        hidden.setattr(processes, "_stat_fields", lambda pid: None)
        assert process_state(sleeper.pid, ticks) is ProcessState.ALIVE
        hidden.setattr(os, "kill", raises(is_hidden))
        assert process_state(sleeper.pid, ticks) is ProcessState.ALIVE
    sleeper.kill()
    sleeper.wait()
    assert process_state(sleeper.pid, ticks) is ProcessState.DEAD


def raises(error: Exception) -> Callable[..., None]:
    def call(*_: object) -> None:
        raise error

    return call


def test_the_host_is_boot_and_pid_namespace() -> None:
    assert host_id() == host_id()
    assert host_id().count("/") == 1
