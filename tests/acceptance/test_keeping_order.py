"""`hlbq delete`, `rename`, `note` and `tag`, and the filter by tag, from the typed line on."""

import csv
import json
import os
import pty
import shutil
import sys
from pathlib import Path

import pytest

from orchestrator.queue.labels import LONGEST_NAME, LONGEST_TAG
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason
from orchestrator.store import OpenMode, Store, open_store
from orchestrator.store.known import known_run, known_sweep
from tests.command_line import Hlbq, hlbq_in
from tests.sample_sweep import register, sample_points, submit_sweep, work


@pytest.fixture
def hlbq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hlbq:
    return hlbq_in(tmp_path, monkeypatch, capsys)


def opened() -> Store:
    return open_store("hlbq.db", mode=OpenMode.WRITE)


def filled(state: Path) -> None:
    """Two sweeps of two runs, all completed, with checkpoints and logs; and the files of another database's run."""
    with open_store("hlbq.db", mode=OpenMode.CREATE) as store:
        for name in ("first", "second"):
            submit_sweep(store, [{"depth": 2}, {"depth": 4}], name=name)
        worker = register(store)
        for _ in range(4):
            run = work(store, worker, sample_points(2), reason=Reason.DIVERGED).run
            make_files(state, run.uid)
    make_files(state, "r0123456789abcdef")


def make_files(state: Path, uid: str) -> None:
    for kind in ("checkpoints", "logs"):
        (state / kind / uid).mkdir(parents=True)
        (state / kind / uid / "1").write_text("x")


def uids(state: Path, kind: str) -> set[str]:
    return {one.name for one in (state / kind).iterdir()}


def test_delete_counts_first_wants_a_yes_and_removes_the_files(hlbq: Hlbq, tmp_path: Path) -> None:
    state = tmp_path / "hlbq.db.state"
    filled(state)
    for line in ("delete --sweep 1", "delete --run 1"):
        refused = hlbq(line)
        assert refused.code == 2 and "--yes" in refused.err
    assert "Delete 2 runs with 6 points, and sweep 1 for good?" in hlbq("delete --sweep 1").err
    with opened() as store:
        kept = {run.uid for run in store.runs(RunFilter(sweep_ids=(2,)))}
        gone = known_run(store, 1).uid
        store.take_sync(gone, "me")
        store.plan_sync(gone, "me", generation=0, step=1, fence=1)
    done = hlbq("delete --sweep 1 --yes")
    assert (done.code, done.out) == (0, "deleted: 2 runs with 6 points, and sweep 1\n")
    assert done.err == "1 run of these was sent to W&B, which keeps it\n"
    for kind in ("checkpoints", "logs"):
        assert uids(state, kind) == kept | {"r0123456789abcdef"}
    again = hlbq("delete --sweep 1 --yes")
    assert again.code == 2 and "error: sweep 1 was deleted by" in again.err
    assert json.loads(hlbq("delete --where depth=4 --yes --json").out) == {
        "runs": 1,
        "sweeps": [],
        "points": 3,
        "runs_on_wandb": 0,
    }
    assert hlbq("delete --state pending").out == "deleted: 0 runs with 0 points\n"
    assert hlbq("submit --depth 2 --width 64").out.startswith("sweep 3:")


def test_files_that_a_killed_delete_left_are_leftovers(hlbq: Hlbq, tmp_path: Path) -> None:
    state = tmp_path / "hlbq.db.state"
    filled(state)
    with opened() as store:
        uid = known_run(store, 2).uid
        store.delete([2], "ada")
    assert f"left over: {state}/checkpoints/{uid} (checkpoints of a deleted run" in hlbq("db check").out
    assert hlbq("db check --repair").out.count("of a deleted run") == 2
    assert uid not in uids(state, "logs") and len(uids(state, "logs")) == 4


def test_delete_asks_on_a_terminal(hlbq: Hlbq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    filled(tmp_path / "hlbq.db.state")
    pid, terminal = pty.fork()
    if not pid:
        os.execv(sys.executable, [sys.executable, "-m", "orchestrator.cli.main", "delete", "--run", "1"])
    os.write(terminal, b"n\n")
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 1
    with opened() as store:
        assert store.run(1) is not None
    os.close(terminal)


def test_a_deleted_sweep_is_called_so_everywhere(hlbq: Hlbq, tmp_path: Path) -> None:
    filled(tmp_path / "hlbq.db.state")
    assert hlbq("delete --sweep 2 --yes").code == 0
    lines = [
        "show --sweep 2",
        "wait --sweep 2",
        "status --sweep 2",
        "status --watch --sweep 2",
        "export x.csv --sweep 2",
    ]
    lines += [
        "plot x.png --sweep 2",
        "compare --sweep 2",
        "report 2 x.html",
        "extend 2 --num_runs 3",
        "decide 2",
        "note --sweep 2 x",
    ]
    lines += ["sync --sweep 2", "rename 2 x", "tag --sweep 2 +x", "delete --sweep 2 -y"]
    for line in lines:
        done = hlbq(line)
        assert done.code == 2 and "error: sweep 2 was deleted by" in done.err, (line, done)
    for line in ("show 3", "logs 3", "wait --run 3", "tag 3 +x", "note 3 x"):
        done = hlbq(line)
        assert done.code == 2 and "error: run 3 was deleted by" in done.err, (line, done)
    assert hlbq("wait --sweep 9").code == 2


def test_notes_and_tags_are_seen_and_filtered_by(hlbq: Hlbq, tmp_path: Path) -> None:
    filled(tmp_path / "hlbq.db.state")
    assert hlbq("tag --sweep 1 +paper +x").out == "sweep 1: paper x\n"
    assert hlbq("tag 3 +good -todo").out == "run 3: good\n"
    assert hlbq("tag -x --sweep 1").out == "sweep 1: paper\n"
    assert json.loads(hlbq("tag 3 +a --json").out) == {"run": 3, "tags": ["a", "good"]}
    assert hlbq("tag 3 -a").out == "run 3: good\n"
    assert hlbq("rename 1 'a name'").out == "sweep 1 is now called 'a name'\n"
    assert hlbq("note --sweep 1 'for the paper'").out == "sweep 1: noted\n"
    assert json.loads(hlbq("note 3 'it jumps' --json").out) == {"run": 3, "note": "it jumps"}
    shown = hlbq("show --sweep 1").out
    assert "sweep 1 'a name'" in shown and "tags: paper\nnote: for the paper" in shown
    assert "tags: good\nnote: it jumps" in hlbq("show 3").out and "tags: paper\n" in hlbq("show 1").out
    assert json.loads(hlbq("show 3 --json").out)["run"]["tags"] == ["good"]
    assert "paper" in hlbq("status --sweep 1").out
    assert json.loads(hlbq("status --json").out)["sweeps"][0]["tags"] == ["paper"]
    assert json.loads(hlbq("status --tag good paper --json").out)["total"] == 3
    assert hlbq("export r.csv --tag good paper").code == 0
    with Path("r.csv").open(newline="") as stream:
        assert [(row["run_id"], row["tags"]) for row in csv.DictReader(stream)] == [
            ("1", "paper"),
            ("2", "paper"),
            ("3", "good"),
        ]
    assert hlbq("retry --tag good").out == "1 run back in the queue\n"
    assert hlbq("pause --tag good").out == "1 run paused\n"
    assert hlbq("cancel --tag good").out == "1 run cancelled\n"
    assert hlbq("plot x.svg --tag paper").code == 0
    assert hlbq("export x.csv --tag nothing").err.startswith("error: no run matches")
    assert hlbq("delete --tag paper -y").out == "deleted: 2 runs with 6 points, and sweep 1\n"
    assert hlbq("note 3 -- '-0.03 against the baseline'").code == 0
    assert hlbq("rename 2 ''").out == "sweep 2 has no name now\n"
    assert hlbq("note 3 ''").out == "run 3: the note is removed\n"
    shutil.copy("hlbq.db", "before.db")
    assert hlbq("db copy --release before.db after.db").code == 0
    with open_store("after.db", mode=OpenMode.READ) as store:
        assert known_run(store, 3).tags == ("good",)


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("tag 1", "neither adds nor removes"),
        ("tag +a", "which run or sweep?"),
        ("tag 1 a", "'a' neither adds nor removes"),
        ("tag 1 ''", "neither adds nor removes"),
        ("tag 1 +a -a", "both added and removed"),
        ("tag 1 +", "can't be a tag"),
        ("tag 1 +=x", "can't be a tag"),
        ("tag 1 '+a b'", "can't be a tag"),
        ("tag 1 '+a\x1b[2J'", "can't be a tag"),
        (f"tag 1 +{'a' * (LONGEST_TAG + 1)}", "the tag has 65 characters"),
        ("status --tag 'a b'", "can't be a tag"),
        ("tag 99 +a", "there is no run 99"),
        ("tag nobody +a", "there is no run 'nobody'"),
        ("tag", "which run or sweep?"),
        ("rename 9 x", "there is no sweep 9"),
        ("rename x y", "SWEEP: 'x' is not a whole number\nFor instance: 4\n"),
        ("rename 1 'a\x1b[31mb'", "holds control characters"),
        ("rename 1 'a\nb'", "holds control characters"),
        ("rename 1 '\udc80'", "holds control characters"),
        (f"rename 1 {'a' * (LONGEST_NAME + 1)}", "the name has 201 characters"),
        ("note 1 'a\x07'", "holds control characters"),
        ("note 1", "a note is one text, but got 0"),
        ("note 1 a b", "a note is one text, but got 2"),
        ("note 1 '-0.03 against the baseline'", "Put -- before it: -- '-0.03 against the baseline'\n"),
        ("note 1 '--no better'", "Put -- before it: -- '--no better'\n"),
        ("note --sweep 1 2 text", "a note is one text, but got 2"),
        ("delete", "which runs? There is no filter"),
        ("delete --all --run 1", "--all means every run"),
    ],
)
def test_what_can_not_be_is_refused_in_plain_text(hlbq: Hlbq, line: str, says: str) -> None:
    with open_store("hlbq.db", mode=OpenMode.CREATE) as store:
        submit_sweep(store)
    done = hlbq(line)
    assert done.code == 2 and says in done.err
    assert all(letter.isprintable() or letter == "\n" for letter in done.err)
    with opened() as store:
        run, sweep = known_run(store, 1), known_sweep(store, 1)
    assert (run.note, run.tags, sweep.note, sweep.tags, sweep.name) == ("", (), "", [], "")
