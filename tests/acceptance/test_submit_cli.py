"""`hlbq submit` and the commands that change a sweep, from the typed line to the rows in the database."""

import json
import os
import shlex
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hlbgpt_core.errors import DataError
from hlbgpt_core.points import Phase, Progress
from orchestrator.queue.attempts import Ending
from orchestrator.queue.runs import RunFilter, RunRecord
from orchestrator.queue.states import Reason, State
from orchestrator.queue.sweeps import SweepRecord
from orchestrator.queue.workers import WorkerIdentity
from orchestrator.store import OpenMode, open_store
from orchestrator.sweep.plan import make_plan
from orchestrator.sweep.submission import check_place
from tests.command_line import Hlbq, hlbq_in

ROOT = Path(__file__).parents[2]
OLDER_LINE = (
    "submit -cw --wandb_project test --seed 1000 --num_runs 5 --max_epochs 5 "
    "--depth 4 8 16 32 --width 192 384 --num_heads 1 3 6"
)
WORKER = WorkerIdentity(host="h", hostname="here", pid=1, start_ticks=1, device="cpu")
HLBQ = "import sys; from orchestrator.cli.main import main; main()"


@pytest.fixture
def hlbq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hlbq:
    """Run `hlbq` in an empty folder, within this process, its stdin no terminal."""
    return hlbq_in(tmp_path, monkeypatch, capsys)


def sweep_of(number: int = 1, db: str = "hlbq.db") -> SweepRecord:
    """A sweep as stored."""
    with open_store(db, mode=OpenMode.READ) as store:
        found = store.sweep(number)
    assert found is not None
    return found


def runs_of(number: int = 1, db: str = "hlbq.db") -> list[RunRecord]:
    """The runs of a sweep as stored, by number."""
    with open_store(db, mode=OpenMode.READ) as store:
        return list(store.runs(RunFilter(sweep_ids=(number,))))


def test_the_line_of_the_older_script_means_the_same(hlbq: Hlbq, tmp_path: Path) -> None:
    done = hlbq(OLDER_LINE)
    assert done.code == 0, done.err
    assert done.out.splitlines() == ["sweep 1: 120 runs: 24 arms, seeds 1000 to 1004", "next: hlbq worker"]
    sweep, runs = sweep_of(), runs_of()
    assert sweep.argv == ["hlbq", *shlex.split(OLDER_LINE)]
    assert sweep.wandb_project == "test"
    assert sweep.csv is not None
    assert sweep.csv.path == str(tmp_path / "results_041.csv")
    assert (sweep.csv.append, sweep.csv.host) == (False, socket.gethostname())
    assert [run.seed for run in runs] == [seed for seed in range(1000, 1005) for _ in range(24)]
    assert {(run.settings["depth"], run.settings["width"], run.settings["num_heads"]) for run in runs} == {
        (depth, width, heads) for depth in (4, 8, 16, 32) for width in (192, 384) for heads in (1, 3, 6)
    }
    assert {run.settings["max_epochs"] for run in runs} == {5.0}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hlbq.db"], "submit writes no CSV"


def test_every_run_stores_its_resolved_settings_and_sizes(hlbq: Hlbq) -> None:
    assert hlbq("submit --recipe 0.4.1 0.3.0").code == 0
    first, second = runs_of()
    assert (first.settings["depth"], first.settings["width"], first.settings["num_heads"]) == (8, 384, 1)
    assert first.num_params == 46_009_736
    assert (second.settings["num_heads"], second.settings["weight_decay"]) == (3, 0.03)
    assert second.num_params == 30_823_302


def test_bookkeeping_is_fixed_at_submit(hlbq: Hlbq) -> None:
    line = (
        "submit --name first --note 'a note' --priority 7 --checkpoint_every 5 --keep-checkpoints "
        "--stall_timeout 33 --max_attempts 4"
    )
    assert hlbq(line).code == 0
    (run,) = runs_of()
    assert (run.bookkeeping.checkpoint_every_seconds, run.bookkeeping.keep_checkpoints) == (5.0, True)
    assert (run.bookkeeping.stall_timeout_seconds, run.bookkeeping.limits.max_attempts) == (33.0, 4)
    assert run.priority == 7
    assert (sweep_of().name, sweep_of().note) == ("first", "a note")


def test_json_is_one_object_on_stdout(hlbq: Hlbq) -> None:
    done = hlbq("submit --db other.db --num_heads 1 5 --num_runs 2 --json")
    answer = json.loads(done.out)
    assert (answer["sweep"], answer["runs"], answer["arms"], answer["left_out"]) == (1, 2, 1, 1)
    assert answer["next"] == "hlbq worker --db other.db"
    assert "num_heads 5 does not divide width 384" in done.err
    assert "the same run again: hlbq submit --db other.db --depth" in hlbq("show --db other.db 1").out


def test_dry_run_shows_everything_and_writes_nothing(hlbq: Hlbq, tmp_path: Path) -> None:
    done = hlbq("submit -c --num_heads 1 5 --max_tokens 1e6 --dry-run")
    assert done.code == 0
    for words in ("46.0M", "57,236", "num_heads 5 does not divide width 384", "1.0M in all"):
        assert words in done.out, words
    plan = json.loads(hlbq("submit --num_heads 1 5 --max_tokens 1e6 --num_runs 3 --dry_run --json").out)
    assert (plan["runs"], plan["max_tokens"]) == (3, 3_000_000)
    assert plan["left_out"][0]["given"]["num_heads"] == 5
    assert list(tmp_path.iterdir()) == []


def test_review_prints_and_refuses_to_ask_without_a_terminal(hlbq: Hlbq, tmp_path: Path) -> None:
    done = hlbq("submit --review_settings --num_heads 1 3 5")
    assert done.code == 2
    assert "--yes" in done.err
    assert "2 arms x 1 seed" in done.out
    assert list(tmp_path.iterdir()) == []
    assert hlbq("submit --review_settings --num_heads 1 3 5 --yes").code == 0
    assert len(runs_of()) == 2


@pytest.mark.parametrize(("answer", "code"), [("y", 0), ("n", 1), ("", 1)])
def test_review_asks_on_a_terminal(tmp_path: Path, answer: str, code: int) -> None:
    parent, child = os.openpty()
    try:
        os.write(parent, f"{answer}\n".encode())
        done = subprocess.run(
            [sys.executable, "-c", HLBQ, "submit", "--review_settings"],
            stdin=child,
            stdout=subprocess.PIPE,
            stderr=child,
            cwd=tmp_path,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            timeout=120,
        )
    finally:
        os.close(child)
        os.close(parent)
    assert done.returncode == code
    assert (tmp_path / "hlbq.db").exists() == (answer == "y")


def test_a_second_submit_adds_a_sweep(hlbq: Hlbq) -> None:
    hlbq("submit")
    assert hlbq("submit --num_runs 2").out.startswith("sweep 2: 2 runs")


def test_credentials_are_not_stored(hlbq: Hlbq) -> None:
    assert hlbq("submit --note postgresql://me:secret@host/db").code == 0
    assert "secret" not in " ".join(sweep_of().argv)


BAD_LINES = {
    "--depth 4": ("depth 4 with width -1", "--width"),
    "--width 0 64": ("depth -1 with width 64", "--depth"),
    "--num_heads 1,2": ("'1,2' is not a number", "Put spaces between values: --num_heads 1 2. In a sweep file"),
    "--num_heads [1, 2]": ("'[1,' is not a number", "Put spaces between values: --num_heads 1 2"),
    "--baseline num_heads>1": ("--baseline num_heads>1: no value", "Write --baseline depth=VALUE."),
    "--num_heads 0": ("num_heads: 0 is too small", "at least 1"),
    "--lr_mult nan": ("'nan' is not a finite number", "finite"),
    "--lr_mult -1": ("lr_mult: -1 is too small", "above 0"),
    "--max_steps 1e400": ("'1e400' is not a finite number", "finite"),
    "--dept 4": ("no option '--dept'", "--depth"),
    "--num-head 4": ("no option '--num-head'", "--num_heads"),
    "--num_heads 5 7": ("no combination", "num_heads 7 does not divide"),
    "--name 'a\nb'": ("holds control characters", "plain text"),
    "--note 'a\x07b'": ("holds control characters", "plain text"),
    "--recipe 0.4": ("'0.4' is not one of the choices", "0.4.1"),
    "--tokenizer gpt9": ("'gpt9' is not known", "bytes"),
    "--dataset wikitext": ("'wikitext'", "wikitext-103"),
    "--dataset text:missing.txt": ("missing.txt", ""),
    "--dataset text:empty.txt": ("empty.txt", ""),
    "--dataset text:text.txt": ("training text has at most", "--max_sequence_length"),
    "--dataset text:binary.txt": ("binary.txt", ""),
    "--seed -1": ("-1 is too small", "0"),
    "--seed 1 --seed 2": ("given twice", ""),
    "--num_runs 0": ("0 is too small", "1"),
    "--num_runs 99999999": ("99,999,999 runs", "at most"),
    "--checkpoint_every inf": ("'inf' is not a finite number", ""),
    "-c --logfile folder": ("is a folder", "results.csv"),
    "-c --logfile nowhere/results.csv": ("there is no folder", "mkdir"),
    "--db folder": ("is a folder", "--db"),
    "--db text.txt": ("is not a database", "--db"),
    "--db nowhere/hlbq.db": ("does not exist", "mkdir"),
    "--db mysql://host/db": ("mysql", "postgresql"),
    "extra": ("extra", ""),
}


@pytest.mark.parametrize("line", BAD_LINES)
def test_bad_input_is_refused_and_nothing_is_written(hlbq: Hlbq, tmp_path: Path, line: str) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "text.txt").write_text("no database, only text\n" * 10)
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "binary.txt").write_bytes(bytes(range(256)) * 20)
    before = sorted(tmp_path.rglob("*"))
    done = hlbq(f"submit {line}")
    assert done.code == 2
    for words in BAD_LINES[line]:
        assert words in done.err
    assert "Traceback" not in done.err
    assert done.out == ""
    assert sorted(tmp_path.rglob("*")) == before


def test_a_read_only_database_is_refused(hlbq: Hlbq, tmp_path: Path) -> None:
    hlbq("submit")
    (tmp_path / "hlbq.db").chmod(0o444)
    done = hlbq("submit")
    assert done.code == 2
    assert "read-only" in done.err


def test_a_text_path_becomes_absolute(hlbq: Hlbq, tmp_path: Path) -> None:
    (tmp_path / "my.txt").write_text("plain words\n" * 3000)
    assert hlbq("submit --dataset text:my.txt").code == 0
    assert runs_of()[0].settings["dataset"] == f"text:{tmp_path}/my.txt"


def test_options_without_effect_are_warned_about(hlbq: Hlbq) -> None:
    done = hlbq("submit --logfile x.csv --wandb_project p --depth 8 --width 384 --model_scale 2")
    assert done.code == 0
    for words in ("without --log_csv", "without --log_wandb", "model_scale has no effect"):
        assert words in done.err


def test_cancel_and_retry_name_the_count_and_want_a_yes(hlbq: Hlbq) -> None:
    hlbq("submit --num_runs 3")
    refused = hlbq("cancel --sweep 1")
    assert refused.code == 2
    assert "Cancel 3 runs?" in refused.err
    assert "--yes" in refused.err
    assert {run.state for run in runs_of()} == {State.PENDING}
    assert hlbq("cancel --run 2").out == "1 run cancelled\n"
    done = hlbq("cancel --sweep 1 --yes")
    assert done.out == "2 runs cancelled\n" and done.err == "", "what was just changed is no reason"
    assert hlbq("retry --where seed=101 seed=102 --yes").out == "2 runs back in the queue\n"
    assert [run.state for run in runs_of()] == [State.CANCELLED, State.PENDING, State.PENDING]
    none = hlbq("retry --run 2 3")
    assert none.out == "0 runs back in the queue\n"
    assert none.err == "nothing to retry: 2 pending. It changes runs that are failed or cancelled.\n"


@pytest.mark.parametrize("command", ["cancel", "pause", "unpause", "retry"])
def test_commands_that_change_runs_want_to_know_which(hlbq: Hlbq, command: str) -> None:
    hlbq("submit")
    done = hlbq(command)
    assert done.code == 2
    assert "which runs? There is no filter" in done.err
    assert runs_of()[0].state is State.PENDING


def test_pause_and_unpause(hlbq: Hlbq) -> None:
    hlbq("submit --num_runs 2")
    assert hlbq("pause --all --yes").out == "2 runs paused\n"
    assert all(run.paused for run in runs_of())
    assert hlbq("unpause --run 1").code == 0
    assert [run.paused for run in runs_of()] == [False, True]


def test_extend_adds_seeds_to_every_arm_and_arms_with_every_seed(hlbq: Hlbq) -> None:
    hlbq("submit --num_heads 1 3 --num_runs 2 --seed 10")
    done = hlbq("extend 1 --num_heads 6")
    assert done.out == "sweep 1: 2 runs added (1 new arm)\n" and done.err == "train what was added: hlbq worker\n"
    assert hlbq("extend 1 --num-runs 3").out == "sweep 1: 3 runs added (0 new arms)\n"
    assert hlbq("extend 1 --num_runs 3").out == "sweep 1: 0 runs added (0 new arms)\n"
    found = {(run.settings["num_heads"], run.seed, run.run_num) for run in runs_of()}
    assert found == {(heads, 9 + number, number) for heads in (1, 3, 6) for number in (1, 2, 3)}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("extend 1", "nothing to add"),
        ("extend 9 --num_runs 3", "no sweep 9"),
        ("extend 1 --num_runs 1", "is fewer"),
        ("extend 1 --num_heads x", "'x' is not a number"),
        ("show 99", "no run 99"),
        ("show --sweep 99", "no sweep 99"),
        ("show", "which run or sweep?"),
        ("logs 1", "has not been started yet"),
        ("logs 99", "no run 99"),
        ("cancel --where dept=4", "no setting 'dept'"),
        ("cancel --all --sweep 1", "--all"),
        ("cancel --state faild", "'faild'"),
        ("retry --failed --state completed --yes", "does nothing to runs that are completed"),
    ],
)
def test_mistakes_of_other_commands(hlbq: Hlbq, line: str, words: str) -> None:
    hlbq("submit --num_runs 2")
    done = hlbq(line)
    assert done.code == 2
    assert words in done.err
    assert "Traceback" not in done.err


@pytest.mark.parametrize("line", ["show 1", "logs 1", "wait", "cancel --all", "extend 1 --num_runs 2", "db info"])
def test_commands_that_need_a_database_make_none(hlbq: Hlbq, tmp_path: Path, line: str) -> None:
    done = hlbq(line)
    assert done.code == 2
    assert "there is no database" in done.err
    assert list(tmp_path.iterdir()) == []


def test_show_prints_a_run_and_a_sweep(hlbq: Hlbq) -> None:
    hlbq("submit --num_heads 1 3 --name heads")
    run = hlbq("show 2")
    assert "num_heads" in run.out
    assert "seed 100" in run.out
    assert "pending" in run.out
    story: dict[str, Any] = json.loads(hlbq("show 2 --json").out)
    assert story["run"]["settings"]["num_heads"] == 3
    sweep = hlbq("show --sweep 1")
    assert "'heads'" in sweep.out
    assert "num_heads: 1 3" in sweep.out
    assert [one["id"] for one in json.loads(hlbq("show --sweep 1 --json").out)["runs"]] == [1, 2]
    uid = story["run"]["uid"]
    assert json.loads(hlbq(f"show {uid} --json").out)["run"]["id"] == 2


def fail_the_first_run(db: str = "hlbq.db") -> RunRecord:
    """Have a worker claim run 1 and end it with an error for good."""
    ending = Ending(
        reason=Reason.ERROR,
        error_type="ValueError",
        error_message="a made-up fault",
        error_traceback="Traceback (most recent call last):\n  made up\nValueError: a made-up fault\n",
    )
    with open_store(db, mode=OpenMode.WRITE) as store:
        claim = store.claim(store.register_worker(WORKER, lease_seconds=60))
        assert claim is not None
        log = Path(f"{db}.state") / claim.log_path
        log.parent.mkdir(parents=True)
        log.write_text("what the trainer said\n")
        return store.finish(claim.lease, ending)


def test_a_failed_run_shows_its_error_and_its_log(hlbq: Hlbq) -> None:
    hlbq("submit --max_attempts 1")
    assert fail_the_first_run().state is State.FAILED
    shown = hlbq("show 1").out
    for words in ("failed (error)", "ValueError: a made-up fault", "Traceback (most recent", "hlbq retry --run 1"):
        assert words in shown, words
    assert hlbq("logs 1").out == "what the trainer said\n"
    assert hlbq("logs 1 --attempt 1").out == "what the trainer said\n"
    assert "no attempt 2" in hlbq("logs 1 --attempt 2").err
    next(Path("hlbq.db.state").glob("logs/*/*.log")).write_text("")
    quiet = hlbq("logs 1")
    assert (quiet.code, quiet.out) == (0, "") and "run 1 has printed nothing" in quiet.err
    missing = hlbq("logs 1 --state_dir elsewhere")
    assert missing.code == 2
    assert "--state_dir" in missing.err
    waited = hlbq("wait")
    assert (waited.code, waited.out) == (1, "1 failed\n")
    assert "hlbq status --state failed --sweep 1, hlbq show RUN" in waited.err
    assert waited.err.endswith("hlbq retry --failed --sweep 1\n"), "not those of other sweeps"
    chosen = hlbq("wait --where depth=8 seed=100 --state failed")
    assert chosen.err.endswith("hlbq retry --failed --where depth=8 seed=100\n")
    assert hlbq("retry --failed --sweep 1").out == "1 run back in the queue\n"
    assert runs_of()[0].state is State.PENDING


def test_an_error_without_a_type_is_said_without_one(hlbq: Hlbq) -> None:
    hlbq("submit --max_attempts 1")
    with open_store("hlbq.db", mode=OpenMode.WRITE) as store:
        claim = store.claim(store.register_worker(WORKER, lease_seconds=60))
        assert claim is not None
        store.finish(claim.lease, Ending(reason=Reason.ERROR, error_message="its process 7 is gone"))
    assert "error of attempt 1: its process 7 is gone\n" in hlbq("show 1").out


def test_dry_run_estimates_hours_from_completed_runs(hlbq: Hlbq) -> None:
    line = "submit --max_tokens 36e5 --num_runs 2"
    assert "time:" not in hlbq(f"{line} --dry-run").out
    hlbq(line)
    progress = Progress(phase=Phase.TRAIN, step=9, tokens_per_second=1000.0)
    with open_store("hlbq.db", mode=OpenMode.WRITE) as store:
        claim = store.claim(store.register_worker(WORKER, lease_seconds=60))
        assert claim is not None
        store.finish(claim.lease, Ending(reason=Reason.FINISHED), progress=progress)
    assert "at most about 2 h 00 min of one device" in hlbq(f"{line} --dry-run").out
    assert json.loads(hlbq(f"{line} --dry-run --json").out)["max_hours"] == 2.0
    assert json.loads(hlbq(f"{line} --depth 4 --width 192 --dry-run --json").out)["max_hours"] is None


def test_with_postgresql_the_workers_look_for_the_text() -> None:
    axes = {"dataset": ("text:/not/on/this/host.txt",)}
    plan = make_plan(axes)
    assert "workers will search for the text: path" in check_place(plan, axes, "postgresql://me@host/db")
    with pytest.raises(DataError):
        check_place(plan, axes, "hlbq.db")


def test_wait_comes_back_when_all_have_ended(hlbq: Hlbq) -> None:
    hlbq("submit --num_runs 2")
    hlbq("cancel --all --yes")
    done = hlbq("wait --json")
    assert done.code == 0
    assert json.loads(done.out)["cancelled"] == 2


def test_db_commands(hlbq: Hlbq, tmp_path: Path) -> None:
    hlbq("submit --num_runs 2")
    assert json.loads(hlbq("db info --json").out)["rows"]["runs"] == 2
    assert hlbq("db check").out == "no damage in hlbq.db\n"
    assert hlbq("db backup copy.db").code == 0
    assert len(runs_of(db="copy.db")) == 2
    assert hlbq("db backup copy.db").code == 2
    assert hlbq("db upgrade").code == 0


def test_as_a_process_with_a_reader_that_goes_away(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", HLBQ, "submit", "--dry-run", "--json", "--lr_mult", *map(str, range(1, 200))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env=environment,
        text=True,
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        process.stdout.close()
        errors = process.stderr.read()
        process.wait(timeout=120)
    assert "Traceback" not in errors
    assert "BrokenPipe" not in errors


def test_module_and_version_run_as_processes(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "orchestrator.cli.main", "--version"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        timeout=240,
    )
    assert done.returncode == 0
    assert done.stdout.startswith("hlbq ")


def test_a_higher_priority_is_taken_first(hlbq: Hlbq) -> None:
    hlbq("submit --num_runs 3")
    assert hlbq("priority 5 --run 3").out == "1 run now at priority 5\n"
    assert hlbq("priority high --run 3").code == 2
    with open_store("hlbq.db", mode=OpenMode.WRITE) as store:
        claim = store.claim(store.register_worker(WORKER, lease_seconds=60))
    assert claim is not None and claim.run.id == 3
