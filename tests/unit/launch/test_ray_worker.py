"""What the actor does with its worker, without Ray: starts it again after crashes, passes stops on, tells the end."""

import os
import signal
import sys
from pathlib import Path

import pytest

from orchestrator.launch import ray_worker
from orchestrator.launch.ray_worker import MOST_CRASHES_IN_A_ROW, RayWorker, WorkerOrder, WorkerReport
from orchestrator.launch.worker_command import WorkerOptions
from tests.faults.harness import wait_until
from worker.processes import ProcessState, process_state

# Notes each of its lives in a file; dies by SIGKILL in the first `crashes` of them.
LIVES = """
import os, pathlib, signal, sys
lives, crashes, then = pathlib.Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
with lives.open("a") as notes:
    notes.write("x")
print("life", len(lives.read_text()), flush=True)
if len(lives.read_text()) <= crashes:
    os.kill(os.getpid(), signal.SIGKILL)
exec(then)
"""


class ActorAlone(RayWorker):
    """The actor without a cluster, its worker a program of the test's."""

    def __init__(self, folder: Path, *, crashes: int = 0, then: str = "") -> None:
        self._program = [sys.executable, "-c", LIVES, str(folder / "lives"), str(crashes), then]
        super().__init__(WorkerOrder(options=WorkerOptions(), gpus=0, name="one", environment={"HLBQ_DB": "url"}))

    def _place(self) -> tuple[str, WorkerOptions]:
        return "node", self._order.options

    def arguments(self) -> list[str]:
        return self._program

    def end(self) -> WorkerReport:
        """The report once the worker has ended."""
        wait_until(lambda: self.report().exit_code is not None, seconds=120, what="the worker ends")
        return self.report()


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_worker, "FIRST_PAUSE_SECONDS", 0.01)


def test_a_worker_that_crashes_is_started_again(tmp_path: Path) -> None:
    report = ActorAlone(tmp_path, crashes=2, then="sys.exit(1)").end()
    assert (report.exit_code, report.crashes, report.last_words) == (1, 2, ("life 1", "life 2", "life 3"))


def test_one_that_crashes_again_and_again_is_given_up(tmp_path: Path) -> None:
    report = ActorAlone(tmp_path, crashes=99).end()
    assert (report.exit_code, report.crashes) == (-signal.SIGKILL, MOST_CRASHES_IN_A_ROW)


@pytest.mark.parametrize("code", [0, 1, 2, 130])
def test_an_end_of_its_own_will_is_no_crash(tmp_path: Path, code: int) -> None:
    report = ActorAlone(tmp_path, then=f"sys.exit({code})").end()
    assert (report.exit_code, report.crashes, len(report.last_words)) == (code, 0, 1)


def test_the_worker_is_told_its_database_and_its_job_by_the_environment(tmp_path: Path) -> None:
    report = ActorAlone(tmp_path, then="print(os.environ['HLBQ_DB'], os.environ['HLBQ_JOB'])").end()
    assert report.last_words[-1] == "url ray one"


def test_a_stop_reaches_the_worker_and_a_second_one_hurries_it(tmp_path: Path) -> None:
    waits = """
import time
came = []
for one in (signal.SIGTERM, signal.SIGINT):
    signal.signal(one, lambda number, frame: (came.append(number), print('asked', len(came), flush=True)))
print('ready', flush=True)
while len(came) < 2:
    time.sleep(0.05)  # signal.pause() would wait for ever for a signal that came just before it
print(*came)
sys.exit(130)
"""
    actor = ActorAlone(tmp_path, then=waits)
    for word in ("ready", "asked 1"):
        wait_until(lambda: word in actor.report().last_words, seconds=120, what=word)  # noqa: B023
        actor.stop()
    report = actor.end()
    # By SIGINT: in a cluster's job no SIGTERM hurries a worker.
    assert (report.exit_code, report.last_words[-1]) == (130, f"{signal.SIGTERM:d} {signal.SIGINT:d}")


def test_the_end_is_known_though_what_the_worker_started_lives_on(tmp_path: Path) -> None:
    lives_on = """
import subprocess
child = subprocess.Popen(['sleep', '600'])
print(child.pid, flush=True)
"""
    report = ActorAlone(tmp_path, then=lives_on).end()
    child = int(report.last_words[-1])
    assert (report.exit_code, process_state(child, 0)) == (0, ProcessState.ALIVE)
    os.kill(child, signal.SIGKILL)


def test_a_stop_between_two_lives_is_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_worker, "FIRST_PAUSE_SECONDS", 1000.0)
    actor = ActorAlone(tmp_path, crashes=1)
    wait_until(lambda: actor.report().crashes == 1, seconds=120, what="the crash is noticed")
    actor.stop()
    report = actor.end()
    assert (report.exit_code, report.last_words) == (130, ("life 1",))


def test_an_order_does_not_show_its_environment() -> None:
    order = WorkerOrder(options=WorkerOptions(), gpus=1, name="one", environment={"HLBQ_DB": "open-sesame"})
    assert "open-sesame" not in repr(order)
