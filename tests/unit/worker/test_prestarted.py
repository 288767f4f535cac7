"""Workers that get ready before there is a sweep: told to go, or gone with the block, and in no case heard before."""

import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.launch.prestarted import PrestartedWorkers

# A worker that writes what it was told to the log that it was told of.
OBEDIENT = (
    "import json, sys; line = sys.stdin.readline(); order = json.loads(line); "
    "open(order['log'], 'a').write(line); sys.exit(int(sys.argv[1]))"
)


def test_all_are_told_the_sweep_and_their_log(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with PrestartedWorkers([sys.executable, "-c", OBEDIENT, "0"], 2) as workers:
        workers.go(7, log)
        assert not workers.at_work(wait_seconds=60)
        assert workers.broken() == ""
    assert [json.loads(line) for line in log.read_text().splitlines()] == [{"sweep": 7, "log": str(log)}] * 2


def test_the_last_words_of_one_that_could_not_work_are_kept(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("")
    early = "import sys; print('error: there is no GPU 5', file=sys.stderr); sys.exit(2)"
    with PrestartedWorkers([sys.executable, "-c", early], 1) as workers:
        workers.processes[0].wait()
        workers.go(1, log)
        assert not workers.at_work(wait_seconds=0)
        assert workers.broken() == "error: there is no GPU 5"


def test_a_mistake_before_the_sweep_is_stored_leaves_nobody_behind() -> None:
    with (
        pytest.raises(ValueError, match="a wrong command"),
        PrestartedWorkers([sys.executable, "-c", OBEDIENT, "0"], 2) as workers,
    ):
        raise ValueError("a wrong command")
    assert [process.returncode for process in workers.processes] == [-9, -9]


def test_a_real_worker_that_is_never_told_ends_in_silence_and_touches_nothing(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "worker", "--prestarted", "--device", "cpu", "--db", str(tmp_path / "no.db")]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert not list(tmp_path.iterdir())


def test_a_ctrl_c_that_comes_while_a_worker_starts_breaks_none_of_its_imports(tmp_path: Path) -> None:
    command = [sys.executable, "-P", "-m", "worker", "--prestarted", "--device", "cpu", "--db", str(tmp_path / "no.db")]
    with PrestartedWorkers(command, 1) as workers:
        workers.send_signal(signal.SIGINT)
        assert not workers.at_work(wait_seconds=60)
        assert [process.returncode for process in workers.processes] == [130]
        workers._early.seek(0)
        assert workers._early.read() == b""
