"""`hlbq worker --slots` and `--gpus` as people type them: real processes and signals, the CPU and made-up GPUs."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason, State
from orchestrator.status.reading import read_status
from orchestrator.status.text import status_lines
from orchestrator.store import OpenMode, Store, open_store
from tests.faults.harness import ROOT, Fleet, children, new_sweep, submit, wait_until
from tests.stand_in_trainer import Plan
from worker.processes import ProcessState, process_state, start_ticks

HLBQ = [sys.executable, "-P", "-m", "orchestrator.cli.main"]


class Shell:
    """A folder in which `hlbq` is typed, with a driver that lists two GPUs."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.db = folder, str(folder / "hlbq.db")
        hidden = ("CUDA_VISIBLE_DEVICES", "SLURM_JOB_ID", "HLBQ_JOB")
        self.environment = {name: value for name, value in os.environ.items() if name not in hidden}
        self.environment["PYTHONPATH"] = f"{ROOT / 'tests' / 'stand_in_driver'}:{ROOT}"
        self.started: list[subprocess.Popen[bytes]] = []

    def start(self, line: str, **environment: str) -> "subprocess.Popen[bytes]":
        with (self.folder / "said.txt").open("ab") as said:
            process = subprocess.Popen(
                [*HLBQ, *line.split()], cwd=self.folder, env=self.environment | environment, stdout=said, stderr=said
            )
        self.started.append(process)
        return process

    def run(self, line: str, **environment: str) -> int:
        return self.start(line, **environment).wait(timeout=200)

    def said(self) -> str:
        return (self.folder / "said.txt").read_text()


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    made = Shell(tmp_path)
    yield made
    for process in made.started:
        if process.poll() is None:
            process.kill()
            process.wait()


@pytest.fixture
def crew(tmp_path: Path) -> Iterator[Fleet]:
    """A fleet whose one process is a parent of two slots with stand-ins for trainers."""
    made = Fleet(db=str(tmp_path / "hlbq.db"), folder=tmp_path, workers=1)
    made.plan = Plan(steps=100_000, step_seconds=0.02, checkpoint_every=5)
    yield made
    made.stop()


def both_train(store: Store) -> bool:
    return sum(run.step > 0 for run in store.runs(RunFilter(states=(State.RUNNING,)))) == 2


def test_a_killed_worker_is_started_anew_and_a_killed_parent_leaves_nobody_behind(crew: Fleet) -> None:
    submit(crew.db, new_sweep(2))
    parent = crew.start_one(program="tests.pool_process", options=["--slots", "2"])
    with open_store(crew.db, mode=OpenMode.READ) as store:
        wait_until(lambda: both_train(store), seconds=120, what="both slots train")
        first, second = sorted(store.workers(), key=lambda one: one.identity.slot)
        assert [(one.identity.slot, one.identity.slots) for one in (first, second)] == [(0, 2), (1, 2)]
        assert [store.attempts(run_id)[-1].shared_slots for run_id in (1, 2)] == [2, 2]
        status = "\n".join(status_lines(read_status(store, RunFilter(), now=0.0)))
        assert "; 2.0K tokens/s" in status and "2.0K tokens/s in 2 slots" in status

        os.kill(first.identity.pid, signal.SIGKILL)
        wait_until(
            lambda: [one.id for one in store.workers() if one.run_id] == [second.id, 3] and both_train(store),
            seconds=120,
            what="a third worker goes on in the place of the first",
        )
        assert "slot 0 died (SIGKILL); restarting it in 0.1 s" in crew.log()
        workers = {pid: start_ticks(pid) for pid in children(parent.pid)}
        assert len(workers) == 2
        parent.kill()
        parent.wait()
        wait_until(
            lambda: all(process_state(*one) is ProcessState.DEAD for one in workers.items()),
            seconds=120,
            what="the workers end",
        )
        assert store.workers() == []
        for run in store.runs(RunFilter()):
            assert (run.state, run.reason) == (State.PENDING, Reason.RELEASED)
            assert run.checkpoint is not None


@pytest.mark.parametrize(
    ("number", "why"), [(signal.SIGINT, "asked to stop"), (signal.SIGUSR1, "its time is nearly up")]
)
def test_a_signal_to_the_parent_releases_the_runs(crew: Fleet, number: signal.Signals, why: str) -> None:
    submit(crew.db, new_sweep(2))
    parent = crew.start_one(program="tests.pool_process", options=["--slots", "2"])
    with open_store(crew.db, mode=OpenMode.READ) as store:
        wait_until(lambda: both_train(store), seconds=120, what="both slots train")
        parent.send_signal(number)
        assert parent.wait(timeout=120) == 130
        assert {worker.ended_why for worker in store.workers(ended=True)} == {why}
        assert all(run.reason is Reason.RELEASED and run.checkpoint is not None for run in store.runs(RunFilter()))
    assert crew.complaints() == ()


def test_two_real_slots_share_the_cpu(shell: Shell) -> None:
    submit(shell.db, new_sweep(2, max_steps=5))
    assert shell.run("worker --device cpu --slots 2") == 0
    with open_store(shell.db, mode=OpenMode.READ) as store:
        assert all(run.state is State.COMPLETED for run in store.runs(RunFilter()))
        assert [attempt.shared_slots for run in (1, 2) for attempt in store.attempts(run)] == [2, 2]
        assert sorted(worker.identity.slot for worker in store.workers(ended=True)) == [0, 1]
    assert "cpu slot 1 of 2: run" in shell.said() and "2 workers ended" in shell.said()


def test_all_gpus_get_a_worker_each_with_slots(shell: Shell) -> None:
    submit(shell.db, new_sweep(1))
    with open_store(shell.db, mode=OpenMode.WRITE) as store:
        store.cancel(RunFilter(), "test")
    assert shell.run("worker --gpus all") == 0
    assert shell.run("worker --gpus 1 --slots 2", HLBQ_DB=shell.db) == 0
    with open_store(shell.db, mode=OpenMode.READ) as store:
        found = [(one.identity.device, one.identity.slot, one.identity.slots) for one in store.workers(ended=True)]
    assert sorted(found[:2]) == [("gpu0", 0, 1), ("gpu1", 0, 1)]
    assert sorted(found[2:]) == [("gpu1", 0, 2), ("gpu1", 1, 2)]
    assert "2 workers: gpu0, gpu1" in shell.said() and "2 workers ended" in shell.said()
    assert "no waiting run shows how much memory a slot needs" in shell.said()


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("worker --gpus 0,7", "there is no GPU 7 on this machine"),
        ("worker --gpus 0 1 2", "there is no GPU 2 on this machine"),
        ("worker --gpus 0 --device cpu", "--gpus and --device were given together"),
        ("worker --device cpu --slots 0", "--slots: 0 is too small"),
        ("run --gpus all --workers 2", "--workers was given with --gpus or --slots"),
    ],
)
def test_devices_that_make_no_sense_are_refused(shell: Shell, line: str, says: str) -> None:
    submit(shell.db, new_sweep(1))
    assert shell.run(line) == 2
    assert says in shell.said() and "Traceback" not in shell.said()


def test_slots_that_do_not_fit_are_fewer(shell: Shell) -> None:
    submit(shell.db, new_sweep(1, gpu_capacity_scalar=1.0))
    with open_store(shell.db, mode=OpenMode.WRITE) as store:
        store.pause(RunFilter(), "test")
        store.unpause(RunFilter(), "test")
    shell.environment["CUDA_VISIBLE_DEVICES"] = "0"
    parent = shell.start("worker --gpus all --slots 3")
    wait_until(lambda: "1 instead of 3 slots on gpu0" in shell.said(), seconds=120, what="the memory is looked at")
    wait_until(lambda: "1 worker: gpu0" in shell.said(), seconds=120, what="one is to be started")
    wait_until(
        lambda: bool(children(parent.pid)), seconds=60, what="it is started: from then on the parent hears signals"
    )
    parent.terminate()
    assert parent.wait(timeout=120) == 130
