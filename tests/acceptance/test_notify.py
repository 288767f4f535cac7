"""`--notify` with real processes: workers that end at once, are killed in between, or belong to somebody else."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.dashboard.control import Change, apply
from orchestrator.notify.commands import submit_with_command
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Limits
from orchestrator.store import OpenMode, open_store
from tests.command_line import hlbq_in
from tests.faults.harness import Fleet, new_sweep, wait_until
from tests.faults.worker_under_fault import Faults
from tests.stand_in_trainer import Plan
from tests.tiny_model import TINY_OPTIONS


@pytest.fixture
def fleet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Fleet]:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    made = Fleet(db=str(tmp_path / "hlbq.db"), folder=tmp_path, workers=1, plan=Plan(steps=4))
    yield made
    made.stop()


def submit(fleet: Fleet, runs: int, line: str = "") -> None:
    sweep = new_sweep(runs, limits=Limits(max_attempts=1, max_losses=1))
    with open_store(fleet.db, mode=OpenMode.CREATE) as store:
        submit_with_command(store, sweep, line or f"cat >> {fleet.folder / 'told'}")


def told(fleet: Fleet) -> list[dict[str, Any]]:
    path = fleet.folder / "told"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def waiting(fleet: Fleet) -> int:
    with open_store(fleet.db, mode=OpenMode.READ) as store:
        return len(store.undelivered())


def test_workers_that_end_at_once_tell_each_thing_once(fleet: Fleet) -> None:
    submit(fleet, 3)
    fleet.plan = Plan(steps=4, on_seed={"101": "diverged"})
    for worker in [fleet.start_one(watch=False) for _ in range(3)]:
        worker.wait(timeout=120)
    wait_until(lambda: waiting(fleet) == 0, seconds=120, what="all is told")
    assert sorted(one["event"] for one in told(fleet)) == ["run_failed", "sweep_ended"]
    assert len({one["id"] for one in told(fleet)}) == 2
    (failed,) = [one["run"] for one in told(fleet) if one["run"]]
    assert (failed["seed"], failed["reason"]) == (101, "diverged")


def test_a_worker_killed_between_the_end_and_the_notice_loses_none(fleet: Fleet) -> None:
    submit(fleet, 1)
    killed = fleet.start_one(watch=False, faults=Faults(kill={"finish.after": 1.0}))
    assert killed.wait(timeout=120) == -9
    assert waiting(fleet) == 1 and told(fleet) == []
    assert fleet.start_one(watch=False).wait(timeout=120) == 0  # has nothing to train, and something to tell
    wait_until(lambda: waiting(fleet) == 0, seconds=120, what="the end is told")
    assert [one["event"] for one in told(fleet)] == ["sweep_ended"]


def test_a_cancel_from_a_page_of_the_dashboard_tells_where_no_worker_is_at_work(fleet: Fleet) -> None:
    submit(fleet, 2)
    with open_store(fleet.db, mode=OpenMode.WRITE) as store:
        change = Change(action="cancel", wanted=RunFilter(sweep_ids=(1,)))
        assert apply(store, change, "ada") == 2
    wait_until(lambda: waiting(fleet) == 0, seconds=120, what="the end is told")
    assert [one["event"] for one in told(fleet)] == ["sweep_ended"]


def test_another_users_workers_run_nothing(fleet: Fleet) -> None:
    submit(fleet, 1)
    fleet.environment = {"XDG_CONFIG_HOME": str(fleet.folder / "another-user")}
    assert fleet.start_one(watch=False).wait(timeout=120) == 0
    assert waiting(fleet) == 1 and told(fleet) == []


def test_a_command_that_hangs_slows_no_run(fleet: Fleet) -> None:
    submit(fleet, 4, f"echo $$ >> {fleet.folder / 'hangs'}; exec sleep 300")
    fleet.plan = Plan(steps=4, on_seed={"100": "diverged"})
    fleet.start_one(watch=True)
    with open_store(fleet.db, mode=OpenMode.READ) as store:
        wait_until((fleet.folder / "hangs").exists, seconds=120, what="the command is called")
        wait_until(lambda: store.counts(RunFilter())["completed"] == 3, seconds=120, what="the other runs end")  # type: ignore[index]
        assert store.undelivered()[0].holder  # the command still hangs
    os.kill(int((fleet.folder / "hangs").read_text().split()[0]), 9)


def test_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    hlbq = hlbq_in(tmp_path, monkeypatch, capsys)
    line = f"submit {' '.join(TINY_OPTIONS)} --dataset pystdlib"
    assert "is empty" in hlbq(f"{line} --notify ''").err and not list(tmp_path.iterdir())
    done = hlbq(f"{line} --num_runs 2 --notify 'cat >> told'")
    assert done.code == 0, done.err
    shown = hlbq("show --sweep 1").out
    assert "--notify '***'" in shown and "told" not in shown and "notifies: " in shown
    assert hlbq("cancel --sweep 1 --yes").code == 0  # no worker is at work: the command tells it
    hlbq("extend 1 --num_runs 3")
    hlbq("cancel --sweep 1 --yes")
    with open_store(str(tmp_path / "hlbq.db"), mode=OpenMode.READ) as store:
        wait_until(lambda: not store.undelivered(), seconds=120, what="both ends are told")
    said = [json.loads(one) for one in (tmp_path / "told").read_text().splitlines()]
    assert [one["sweep"]["counts"]["cancelled"] for one in said] == [2, 3]
    assert "sweep_ended, try 1" in hlbq("show --sweep 1").out
    assert "0 notices told" in hlbq("notify").err
