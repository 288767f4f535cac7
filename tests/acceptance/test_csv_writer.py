"""`-c`: the CSV follows the runs as they finish, and is never there before the first of them."""

import socket
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.export.csv_table import read_csv_rows
from orchestrator.queue.sweeps import CsvTarget
from orchestrator.store import OpenMode, open_store
from tests.faults.harness import Fleet, new_sweep, submit
from tests.sample_sweep import register, sample_points, work
from tests.stand_in_trainer import Plan


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(db=str(tmp_path / "hlbq.db"), folder=tmp_path, workers=1, plan=Plan(steps=4))


def submit_with_csv(fleet: Fleet, *, append: bool = False, host: str | None = None) -> Path:
    path = fleet.folder / "results.csv"
    target = CsvTarget(path=str(path), append=append, host=host or socket.gethostname())
    submit(fleet.db, replace(new_sweep(3), csv=target))
    return path


def work_off(fleet: Fleet) -> None:
    assert fleet.start_one(watch=False).wait(timeout=120) == 0


def test_every_finished_run_has_its_row(fleet: Fleet) -> None:
    path = submit_with_csv(fleet)
    assert not path.exists()
    work_off(fleet)
    rows = list(read_csv_rows(path))
    assert [row["seed"] for row in rows] == [100, 101, 102]
    assert all(len(row["train_loss"]) == 4 for row in rows)


def test_a_file_of_an_earlier_sweep_is_replaced_at_the_first_finish_and_not_before(fleet: Fleet) -> None:
    path = submit_with_csv(fleet)
    work_off(fleet)
    before = path.read_bytes()
    submit_with_csv(fleet)
    assert path.read_bytes() == before
    work_off(fleet)
    assert {row["sweep"] for row in read_csv_rows(path)} == {2}


def test_append_keeps_the_rows_of_earlier_sweeps(fleet: Fleet) -> None:
    path = submit_with_csv(fleet)
    work_off(fleet)
    submit_with_csv(fleet, append=True)
    work_off(fleet)
    assert [row["sweep"] for row in read_csv_rows(path)] == [1, 1, 1, 2, 2, 2]


def test_another_host_leaves_the_file_alone(fleet: Fleet) -> None:
    path = submit_with_csv(fleet, host="elsewhere")
    work_off(fleet)
    assert not path.exists()


def test_a_file_that_cannot_be_written_harms_no_run(fleet: Fleet) -> None:
    path = submit_with_csv(fleet)
    path.mkdir()
    work_off(fleet)
    assert "the CSV of sweep 1 was not written" in fleet.log()


def test_the_next_worker_writes_what_a_killed_one_did_not(fleet: Fleet) -> None:
    path = submit_with_csv(fleet)
    with open_store(fleet.db, mode=OpenMode.WRITE) as store:
        worker = register(store)
        for _ in range(3):
            work(store, worker, sample_points(2))
        store.end_worker(worker, "killed")
    work_off(fleet)
    assert [row["seed"] for row in read_csv_rows(path)] == [100, 101, 102]
