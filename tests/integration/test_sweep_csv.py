"""Whose a CSV of `-c` is when several sweeps name it, and that no row is lost with a killed worker."""

import csv
import itertools
import random
import socket
from pathlib import Path

import pytest

from orchestrator.export.csv_table import read_csv_rows
from orchestrator.export.writing import catch_up, rewrite_sweep_csv
from orchestrator.queue.attempts import Ending
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason
from orchestrator.queue.sweeps import CsvTarget, SweepRecord
from orchestrator.store import OpenMode, Store, open_store
from tests.command_line import Hlbq, hlbq_in
from tests.sample_sweep import register, sample_facts, sample_points, submit_sweep

HOST = socket.gethostname()
SEEDS = (1, 2)
ORDERS = [*itertools.product([False, True], repeat=2), *itertools.product([False, True], repeat=3)]


@pytest.fixture
def queue(tmp_path: Path) -> Store:
    return open_store(str(tmp_path / "hlbq.db"), mode=OpenMode.CREATE)


def submitted(store: Store, path: Path, *, append: bool = False) -> SweepRecord:
    return submit_sweep(store, seeds=SEEDS, csv=CsvTarget(path=str(path), append=append, host=HOST))


def end_a_run(store: Store, worker: int, sweep: SweepRecord, reason: Reason = Reason.FINISHED) -> None:
    """As a worker does that is killed before it writes the CSV."""
    claim = store.claim(worker, sweep_ids=(sweep.id,))
    assert claim is not None
    store.flush(claim.lease, points=sample_points(2), facts=sample_facts())
    store.finish(claim.lease, Ending(reason=reason))


def rows(path: Path) -> list[tuple[int, int]]:
    return [(row["sweep"], row["seed"]) for row in read_csv_rows(path)] if path.exists() else []


def catch_up_all(store: Store) -> list[str]:
    """What the next worker does, and `hlbq status`; what they say."""
    return [catch_up(store, one.sweep_id, host=HOST) for one in store.csv_states(HOST) if one.behind]


@pytest.mark.parametrize("draw", range(4))
@pytest.mark.parametrize("appends", ORDERS)
def test_in_every_order_the_newest_sweep_without_append_and_those_after_it_keep_their_rows(
    queue: Store, tmp_path: Path, appends: tuple[bool, ...], draw: int
) -> None:
    drawn = random.Random(f"{appends} {draw}")
    path, worker = tmp_path / "results.csv", register(queue)
    (tmp_path / "here").mkdir()
    (tmp_path / "link.csv").symlink_to(path)
    names = [path, tmp_path / "here" / ".." / "results.csv", tmp_path / "link.csv"]
    steps = [number for number in range(len(appends)) for _ in range(1 + len(SEEDS))]
    drawn.shuffle(steps)
    # The first of a sweep's steps is its submit, in the order of their numbers; the others end a run each.
    first = {number: steps.index(number) for number in set(steps)}
    rank = {number: place for place, number in enumerate(sorted(first, key=first.__getitem__))}
    sweeps: list[SweepRecord] = []
    ended: list[list[tuple[int, int]]] = []
    for number in (rank[step] for step in steps):
        if number == len(sweeps):
            sweeps.append(submitted(queue, names[number], append=appends[number]))
            ended.append([])
            continue
        sweep = sweeps[number]
        end_a_run(queue, worker, sweep)
        ended[number].append((sweep.id, SEEDS[len(ended[number])]))
        owner = max((one for one in range(len(sweeps)) if not appends[one]), default=0)
        if drawn.random() < 0.5:  # else the worker is killed here
            rewrite_sweep_csv(queue, sweep)
            if number >= owner:
                assert set(ended[number]) <= set(rows(path))
        if drawn.random() < 0.3:
            assert not any(catch_up_all(queue))
            kept = {row for rows_of_one in ended[owner:] for row in rows_of_one}
            # Until the owner has rows of its own, what was there before stays.
            assert set(rows(path)) == kept or (set(rows(path)) >= kept and not ended[owner])
    assert not any(catch_up_all(queue)) and not catch_up_all(queue)
    owner = max((one for one in range(len(sweeps)) if not appends[one]), default=0)
    expected = [(sweep.id, seed) for sweep in sweeps[owner:] for seed in SEEDS]
    assert sorted(rows(path)) == expected
    assert (tmp_path / "link.csv").is_symlink()


def test_rows_that_a_file_held_before_stay_with_append_and_go_without(queue: Store, tmp_path: Path) -> None:
    path, worker = tmp_path / "results.csv", register(queue)
    with open_store(str(tmp_path / "other.db"), mode=OpenMode.CREATE) as other:
        theirs = submitted(other, path)
        end_a_run(other, register(other), theirs)
        rewrite_sweep_csv(other, theirs)
        mine = submitted(queue, path, append=True)
        for _ in SEEDS:
            end_a_run(queue, worker, mine)
            rewrite_sweep_csv(queue, mine)
        assert rows(path) == [(1, 1), (1, 1), (1, 2)]
        last = submitted(queue, path)
        end_a_run(queue, worker, last)
        rewrite_sweep_csv(queue, last)
        assert rows(path) == [(2, 1)]
        # The other database cannot know whose the file is now, but sees that its own rows are gone.
        end_a_run(other, register(other, pid=5), theirs)
        assert "has replaced" in "".join(catch_up_all(other)) and rows(path) == [(2, 1)]


def test_a_run_that_is_tried_again_is_behind_until_its_new_row_is_there(queue: Store, tmp_path: Path) -> None:
    path, worker = tmp_path / "results.csv", register(queue)
    sweep = submitted(queue, path)
    end_a_run(queue, worker, sweep)
    end_a_run(queue, worker, sweep, Reason.DIVERGED)
    assert not any(catch_up_all(queue))
    queue.retry(RunFilter(run_ids=(2,)), "user")
    end_a_run(queue, worker, sweep, Reason.DIVERGED)
    assert [one.behind for one in queue.csv_states(HOST)] == [True]
    assert not any(catch_up_all(queue))
    assert rows(path) == [(1, 1), (1, 2)]


def test_rows_of_deleted_runs_go_with_the_next_write_and_others_stay(queue: Store, tmp_path: Path) -> None:
    path, worker = tmp_path / "results.csv", register(queue)
    with open_store(str(tmp_path / "other.db"), mode=OpenMode.CREATE) as other:
        theirs = submitted(other, path)
        end_a_run(other, register(other), theirs)
        rewrite_sweep_csv(other, theirs)
    earlier, mine = (submitted(queue, path, append=True) for _ in range(2))
    for sweep in (earlier, mine):
        end_a_run(queue, worker, sweep)
        assert not any(catch_up_all(queue))
    queue.delete([3], "user")
    assert not any(catch_up_all(queue))
    assert rows(path) == [(1, 1), (1, 1), (2, 1)]  # no other run of the sweep has ended yet
    end_a_run(queue, worker, mine)  # as many as before have ended now
    assert not any(catch_up_all(queue)) and not catch_up_all(queue)
    assert rows(path) == [(1, 1), (1, 1), (2, 2)]
    assert len({row["uid"] for row in read_csv_rows(path)}) == 3


def test_the_only_rows_of_a_sweep_in_a_file_may_be_of_deleted_runs(queue: Store, tmp_path: Path) -> None:
    path, worker = tmp_path / "results.csv", register(queue)
    earlier, mine = (submitted(queue, path, append=True) for _ in range(2))
    for sweep in (earlier, mine, mine):
        end_a_run(queue, worker, sweep)
        assert not any(catch_up_all(queue))
    queue.delete([3], "user")
    assert not any(catch_up_all(queue))
    assert rows(path) == [(1, 1), (2, 2)]


def test_a_file_that_another_program_put_there_is_left(queue: Store, tmp_path: Path) -> None:
    path, worker = tmp_path / "results.csv", register(queue)
    sweep = submitted(queue, path)
    end_a_run(queue, worker, sweep)
    assert not any(catch_up_all(queue))
    for foreign in ("name,amount\nrent,12\n", "\x00\xff"):
        path.write_text(foreign)
        if foreign.startswith("name"):
            end_a_run(queue, worker, sweep)
        assert "not a table of runs that hlbq wrote with a uid" in "".join(catch_up_all(queue))
        assert path.read_text() == foreign


@pytest.fixture
def hlbq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hlbq:
    return hlbq_in(tmp_path, monkeypatch, capsys)


SUBMIT = "submit -c --depth 2 --width 64 --num_runs 2 --tokenizer bytes --logfile results.csv"


def test_submit_says_whose_rows_go_and_status_show_and_events_whose_the_file_is(hlbq: Hlbq, tmp_path: Path) -> None:
    assert "rows" not in hlbq(SUBMIT).err
    said = hlbq(f"{SUBMIT} --dry-run").err
    assert "sweep 1 will no longer write" in said and "and its rows go" in said and "--append keeps them" in said
    assert "no longer write" not in hlbq(f"{SUBMIT} --append").err
    (tmp_path / "link.csv").symlink_to("results.csv")
    said = hlbq(SUBMIT.replace("results", "link"))
    assert said.code == 0 and "sweeps 1, 2 will no longer write" in said.err and "and their rows go" in said.err
    for number in (1, 2):
        assert "belongs to sweep 3 now, and gets no more of its rows" in hlbq(f"status --sweep {number}").out
        assert "of sweep 3 now" in hlbq(f"show --sweep {number}").out
    with open_store("hlbq.db", mode=OpenMode.READ) as store:
        taken = [event for event in store.events() if event.action == "CSV taken"]
        assert sorted(event.sweep_id or 0 for event in taken) == [1, 2] and "sweep 3" in taken[0].why


def test_status_writes_the_rows_that_a_killed_worker_did_not(hlbq: Hlbq, tmp_path: Path) -> None:
    hlbq(SUBMIT)
    with open_store("hlbq.db", mode=OpenMode.WRITE) as store:
        [sweep] = store.sweeps()
        end_a_run(store, register(store), sweep)
    assert hlbq("status").code == 0
    assert rows(tmp_path / "results.csv") == [(1, 100)]
    (tmp_path / "results.csv").unlink()
    assert hlbq("status --json").code == 0
    assert not (tmp_path / "results.csv").exists()  # whoever moves a file that is complete does not get it again


def test_delete_takes_the_rows_out_and_names_a_file_that_keeps_them(hlbq: Hlbq, tmp_path: Path) -> None:
    hlbq(SUBMIT)
    with open_store("hlbq.db", mode=OpenMode.WRITE) as store:
        [sweep] = store.sweeps()
        for _ in SEEDS:
            end_a_run(store, register(store), sweep)
    hlbq("status")
    assert "stay in" not in hlbq("delete --run 1 --yes").err
    assert rows(tmp_path / "results.csv") == [(1, 101)]
    assert f"the rows of sweep 1 stay in '{tmp_path}/results.csv'" in hlbq("delete --sweep 1 --yes").err


@pytest.mark.parametrize("append", ["", "--append"])
@pytest.mark.parametrize("content", [b"name,amount\nrent,12\n", b"\xff\x00\x01"])
def test_submit_refuses_a_file_of_another_program(hlbq: Hlbq, tmp_path: Path, append: str, content: bytes) -> None:
    path = tmp_path / "results.csv"
    path.write_bytes(content)
    said = hlbq(f"{SUBMIT} {append}")
    assert said.code == 2 and "is not a table of runs" in said.err
    assert path.read_bytes() == content and not (tmp_path / "hlbq.db").exists()


@pytest.mark.parametrize("name", ["x.parquet", "log.JSONL"])
def test_submit_refuses_the_ending_of_another_table(hlbq: Hlbq, tmp_path: Path, name: str) -> None:
    said = hlbq(SUBMIT.replace("results.csv", name))
    assert said.code == 2 and f"--logfile '{name}': the log is a CSV" in said.err
    assert f"Use --logfile={Path(name).stem}.csv" in said.err and not (tmp_path / "hlbq.db").exists()
    assert hlbq(SUBMIT.replace("results.csv", "log")).code == 0  # as ever


def test_the_table_of_the_original_tool_is_replaced_as_that_did(hlbq: Hlbq, tmp_path: Path) -> None:
    with (tmp_path / "results.csv").open("w") as stream:
        csv.writer(stream).writerows([["last_val_loss", "model_scale", "seed"], ["3.4", "1.0", "1000"]])
    said = hlbq(SUBMIT)
    assert said.code == 0 and "go when the first run of this sweep ends" in said.err
    assert hlbq(f"{SUBMIT} --append").code == 2
    with open_store("hlbq.db", mode=OpenMode.WRITE) as store:
        end_a_run(store, register(store), store.sweeps()[0])
    hlbq("status")
    assert rows(tmp_path / "results.csv") == [(1, 100)]
