"""The main job from the command line, on real text with the real trainer: submit, work, look, export."""

import ast
import csv
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hlbgpt_core.code_digest import core_digest
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import State
from orchestrator.store import OpenMode, open_store
from tests.command_line import Done, hlbq_and_workers_in
from tests.faults.harness import wait_until
from tests.store_examples import stored_points
from tests.tiny_model import TINY_OPTIONS

PYSTDLIB = ("--dataset", "pystdlib")
HLBQ = [sys.executable, "-P", "-m", "orchestrator.cli.main"]
Hlbq = Callable[..., Done]


@pytest.fixture
def hlbq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hlbq:
    return hlbq_and_workers_in(tmp_path, monkeypatch, capsys)


def read_csv(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def losses(folder: Path, run_id: int) -> list[tuple[Any, ...]]:
    """All that a run recorded but for its seconds, which no two attempts share."""
    with open_store(str(folder / "hlbq.db"), mode=OpenMode.READ) as store:
        return [
            (point.split, point.step, point.loss, point.acc, point.grad_norm, point.tokens_seen, point.lr)
            for point in (one.point for one in stored_points(store, RunFilter(run_ids=(run_id,))))
        ]


def test_from_settings_to_a_table(hlbq: Hlbq, tmp_path: Path) -> None:
    told = json.loads(
        hlbq(
            "submit",
            *TINY_OPTIONS,
            *PYSTDLIB,
            *"--num_heads 1 2 --num_runs 2 --max_steps 12 --log_every 1 --json".split(),
        ).out
    )
    assert told["runs"] == 4
    hlbq("worker", "--device", "cpu")
    status = json.loads(hlbq("status", "--json").out)
    assert json.dumps(status).count("completed") >= 1
    hlbq("export", "results.csv")
    rows = read_csv(tmp_path / "results.csv")
    assert [(row["num_heads"], row["seed"], row["run_num"]) for row in rows] == [
        ("1", "100", "1"),
        ("2", "100", "1"),
        ("1", "101", "2"),
        ("2", "101", "2"),
    ]
    for row in rows:
        curve = ast.literal_eval(row["train_loss"])
        assert len(curve) == 12 and curve == json.loads(row["train_loss"])
        assert float(row["last_val_loss"]) == ast.literal_eval(row["val_loss"])[-1]
        assert row["linear_value"] == "false" and row["state"] == "completed"
    assert "seed 101" in hlbq("show", "4").out


def test_runs_that_were_stopped_come_to_the_very_points_of_one_that_was_not(hlbq: Hlbq, tmp_path: Path) -> None:
    """Three runs of one seed: the first is killed, the second asked to stop, the third left alone."""
    long = "--max_steps 80 --log_every 1 --eval_every 25 --checkpoint_every 0.2".split()
    for _ in range(3):
        hlbq("submit", *TINY_OPTIONS, *PYSTDLIB, *long)
    with open_store(str(tmp_path / "hlbq.db"), mode=OpenMode.READ) as store:
        for run_id, fault in ((1, signal.SIGKILL), (2, signal.SIGTERM)):
            worker = subprocess.Popen([*HLBQ, "worker", "--device", "cpu"], cwd=tmp_path, stderr=subprocess.DEVNULL)

            def has_a_checkpoint() -> bool:
                run = store.run(run_id)  # noqa: B023
                return run is not None and run.checkpoint is not None and 15 < run.checkpoint.step < 75

            wait_until(has_a_checkpoint, seconds=240, what=f"a checkpoint of run {run_id}")
            worker.send_signal(fault)
            worker.wait(timeout=120)
            assert store.run(run_id).state in (State.PENDING, State.RUNNING)  # type: ignore[union-attr]
    hlbq("worker", "--device", "cpu")
    undisturbed = losses(tmp_path, 3)
    assert len(undisturbed) == 80 + 4
    with open_store(str(tmp_path / "hlbq.db"), mode=OpenMode.READ) as store:
        digests = {one.provenance["core_digest"] for run_id in (1, 2, 3) for one in store.attempts(run_id)}
        assert digests == {core_digest()}
        assert [len(store.attempts(run_id)) for run_id in (1, 2, 3)] == [2, 2, 1]
        for run_id in (1, 2):
            assert losses(tmp_path, run_id) == undisturbed
            first, second = store.attempts(run_id)
            assert second.start_step > 0 and first.start_step == 0
            points = [one.point for one in stored_points(store, RunFilter(run_ids=(run_id,)))]
            times = [point.cumulative_time for point in points if point.split == "train"]
            assert times == sorted(times)


def test_what_a_run_lacks_is_told_in_words_that_help(
    hlbq: Hlbq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that went away fails its run; a hub that cannot be reached is the host's fault, and fails none."""
    text = tmp_path / "words.txt"
    text.write_text("to be or not to be " * 5000)
    submit = ("submit", *TINY_OPTIONS, "--dataset", f"text:{text}", "--max_steps", "2")
    hlbq(*submit)
    hlbq("submit", "--num_runs", "1")  # needs no data, waits for no network
    text.unlink()
    for name, value in {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "hub"), "HLBQ_CACHE": str(tmp_path)}.items():
        monkeypatch.setenv(name, value)
    worked = hlbq("worker", "--device", "cpu", code=2)
    assert "pystdlib" in worked.err and "text:" in worked.err and "pending" in hlbq("show", "2").out
    shown = hlbq("show", "1").out
    assert "failed" in shown and "Traceback" in shown  # the whole error is kept with the run
    refused = hlbq(*submit, code=2).err
    said = refused.removeprefix("error: ").splitlines()[0]
    assert str(text) in said and said in shown


def test_the_trainer_is_started_anew_when_the_core_changes(tmp_path: Path) -> None:
    import shutil

    root = Path(__file__).parents[2]
    for package in ("hlbgpt_core", "orchestrator", "worker"):
        shutil.copytree(root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def hlbq(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*HLBQ, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )

    hlbq("submit", *TINY_OPTIONS, *PYSTDLIB, "--max_steps", "3")
    worker = subprocess.Popen(
        [*HLBQ, "worker", "--device", "cpu", "--watch"], cwd=tmp_path, env=environment, stderr=subprocess.PIPE
    )
    try:
        with open_store(str(tmp_path / "hlbq.db"), mode=OpenMode.READ) as store:
            wait_until(lambda: store.run(1).state is State.COMPLETED, seconds=120, what="run 1")  # type: ignore[union-attr]
            recipe = tmp_path / "hlbgpt_core" / "recipes" / "v041.py"
            recipe.write_text(recipe.read_text() + "\nEDITED = 1\n")
            hlbq("submit", *TINY_OPTIONS, *PYSTDLIB, "--max_steps", "3")
            wait_until(lambda: store.run(2).state is State.COMPLETED, seconds=120, what="run 2")  # type: ignore[union-attr]
            digests = [store.attempts(run_id)[0].provenance["core_digest"] for run_id in (1, 2)]
    finally:
        worker.terminate()
        said = worker.communicate(timeout=120)[1].decode()
    assert digests[0] != digests[1] and all(re.fullmatch("[0-9a-f]{16}", one) for one in digests)
    assert "changed on disk" in said


def test_a_run_that_other_code_began_is_held_until_somebody_chooses(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    import shutil

    root = Path(__file__).parents[2]
    for package in ("hlbgpt_core", "orchestrator", "worker", "migrations"):
        shutil.copytree(root / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}

    def hlbq(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [*HLBQ, *arguments], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
        )

    def start_worker() -> "subprocess.Popen[bytes]":
        started = subprocess.Popen([*HLBQ, "worker", "--device", "cpu"], cwd=tmp_path, env=environment)
        request.addfinalizer(started.kill)
        return started

    hlbq("submit", *TINY_OPTIONS, *PYSTDLIB, "--max_steps", "1000000", "--log_every", "1")
    worker = start_worker()
    with open_store(str(tmp_path / "hlbq.db"), mode=OpenMode.READ) as store:
        wait_until(lambda: any(stored_points(store, RunFilter())), seconds=120, what="the first points")
        worker.terminate()
        worker.wait(120)
        recipe = tmp_path / "hlbgpt_core" / "recipes" / "v041.py"
        recipe.write_text("# a comment\n" + recipe.read_text() + "\nEDITED = 1\n")
        before = losses(tmp_path, 1)
        said = hlbq("worker", "--device", "cpu").stderr
        run = store.run(1)
        assert run is not None and "run 1" in said and "held" in said
        assert (run.paused, len(run.code), run.held == run.code[0].digest) == (True, 1, False)
        assert losses(tmp_path, 1) == before and run.checkpoint is not None
        assert "+EDITED = 1" in hlbq("show", "1", "--diff").stdout
        assert "+EDITED = 1" in hlbq("code", "diff", run.code[0].digest[:8], run.held[:8]).stdout
        hlbq("code", "checkout", run.held, "edited")
        checked_out = tmp_path / "edited" / "hlbgpt_core" / "recipes" / "v041.py"
        assert checked_out.read_bytes() == recipe.read_bytes()
        hlbq("retry", "--run", "1", "--resume_across_code")
        worker = start_worker()
        last = max(step for _, step, *_ in before)
        wait_until(lambda: store.run(1).step > last + 1, seconds=120, what="steps of the edited code")  # type: ignore[union-attr]
        worker.terminate()
        worker.wait(120)
        assert "mixed code" in hlbq("show", "1").stdout
        assert set(before) <= set(losses(tmp_path, 1))


def test_a_gpu_that_is_not_there_is_a_clear_refusal(hlbq: Hlbq) -> None:
    hlbq("submit", *TINY_OPTIONS, *PYSTDLIB)
    refused = hlbq("worker", "--gpu", "99", code=2).err
    assert "no GPU 99" in refused and "--device cpu" in refused and "Traceback" not in refused
