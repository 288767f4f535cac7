"""The sync beside the workers: it sends what they train, and whatever becomes of it changes nothing for training."""

import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import State
from orchestrator.store import OpenMode, open_store
from tests.faults.harness import Fleet, new_sweep, read_ledger, submit, wait_until
from tests.stand_in_trainer import Plan
from tests.wandb_server import KEY, wandb_server

# Packages named wandb that stand before the real one.
BAD = {
    "crashes": "import os, signal; os.kill(os.getpid(), signal.SIGSEGV)",
    "hangs": "import time; time.sleep(600)",
    "fails": "raise RuntimeError('a made-up error')",
}


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(db=str(tmp_path / "hlbq.db"), folder=tmp_path, workers=1, plan=Plan(steps=30, checkpoint_every=10))
    submit(made.db, replace(new_sweep(3), wandb_project="proj"))
    yield made
    made.stop()
    for pid in syncs_of(tmp_path):
        os.kill(pid, signal.SIGKILL)


def syncs_of(folder: Path) -> list[int]:
    """The syncs that workers started for the database in this folder, by their command lines."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
        except OSError:
            continue
        if "--by_workers" in words and str(folder / "state") in words:
            found.append(int(process.name))
    return found


def work_off(fleet: Fleet) -> None:
    assert fleet.start_one(watch=False).wait(timeout=120) == 0
    assert read_ledger(fleet.db, fleet.plan).clean
    assert fleet.complaints() == ()


@pytest.mark.parametrize("how", ["crashes", *(pytest.param(how, marks=pytest.mark.long) for how in ("hangs", "fails"))])
def test_a_sync_that_goes_wrong_changes_nothing_for_training(fleet: Fleet, how: str) -> None:
    package = fleet.folder / "bad" / "wandb"
    package.mkdir(parents=True)
    began = fleet.folder / "began"
    (package / "__init__.py").write_text(f"open({str(began)!r}, 'w').close()\n{BAD[how]}\n")
    root = str(Path(__file__).parents[2])
    fleet.environment = {"PYTHONPATH": f"{package.parent}{os.pathsep}{root}", "WANDB_API_KEY": KEY}
    work_off(fleet)
    wait_until(began.exists, seconds=120, what="the sync has begun")
    if how == "hangs":
        (pid,) = syncs_of(fleet.folder)  # one for three runs
        assert os.getpriority(os.PRIO_PROCESS, pid) == 19
    else:
        wait_until(lambda: syncs_of(fleet.folder) == [], seconds=120, what="it is gone")


def test_what_workers_train_is_sent_and_then_the_sync_ends(fleet: Fleet) -> None:
    with wandb_server() as server:
        fleet.environment = {**server.environment(), "HOME": str(fleet.folder)}
        work_off(fleet)
        wait_until(lambda: syncs_of(fleet.folder) == [], seconds=120, what="all is sent")
        with open_store(fleet.db, mode=OpenMode.READ) as store:
            runs = list(store.runs(RunFilter()))
            for run in runs:
                curve = [line["step"] for line in server.runs[run.uid].history if "train/loss" in line]
                assert run.state is State.COMPLETED and curve == list(range(1, 31))
                assert server.runs[run.uid].exit_codes[-1] == 0
            assert store.unsent(RunFilter(), limit=1) == []
        log = (fleet.folder / "state" / "logs" / "wandb-sync.log").read_text()
        assert "points sent" in log and KEY not in log


def test_without_a_log_in_the_worker_says_where_to_look_once(fleet: Fleet) -> None:
    fleet.environment = {"WANDB_API_KEY": "", "HOME": str(fleet.folder), "NETRC": str(fleet.folder / ".netrc")}
    fleet.plan = Plan(steps=60, step_seconds=0.05, checkpoint_every=10)
    work_off(fleet)
    assert fleet.log().count("nothing is sent to wandb") <= 1
    wait_until(lambda: syncs_of(fleet.folder) == [], seconds=120, what="it is gone")
    log = (fleet.folder / "state" / "logs" / "wandb-sync.log").read_text()
    assert "you are not logged in to wandb" in log and "Traceback" not in log
