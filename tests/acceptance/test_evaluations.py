"""Real runs of other evaluations, and with a test at the end: what a worker records and what commands make of it."""

import ast
import csv
from collections.abc import Callable
from pathlib import Path

import pytest

from hlbgpt_core.points import Split
from orchestrator.queue.runs import RunFilter
from orchestrator.store import OpenMode, open_store
from tests.command_line import Done, hlbq_and_workers_in
from tests.store_examples import stored_points
from tests.tiny_model import TINY_OPTIONS

Hlbq = Callable[..., Done]
SHORT = ("--dataset", "pystdlib", *TINY_OPTIONS, "--max_steps", "8", "--eval_every", "4", "--max_epochs", "1000")


@pytest.fixture
def hlbq(
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Hlbq:
    """hlbq in a folder of its own."""
    monkeypatch.setenv("HLBQ_CACHE", str(tmp_path_factory.getbasetemp() / "cache-of-evaluations"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    return hlbq_and_workers_in(tmp_path, monkeypatch, capsys)


def test_arms_that_learn_the_same_are_not_told_apart_by_their_evaluations(hlbq: Hlbq) -> None:
    hlbq("submit", *SHORT, "--num_eval_tokens", "1024", "4096", "--num_runs", "2", "--db", "a.db")
    hlbq("worker", "--device", "cpu", "--db", "a.db")
    compared = ("compare", "--db", "a.db", "--baseline", "num_eval_tokens=1024")
    assert "different evaluations" in hlbq(*compared, code=2).err
    assert "is of different evaluations" in hlbq(*compared, "--allow_mixed_evaluation").err
    for figure in ("--final", "--heatmap"):
        over = ["num_eval_tokens"] if figure == "--final" else ["num_eval_tokens", "num_params"]
        hlbq("plot", "figure.png", figure, *over, "--db", "a.db", code=2)


def test_one_test_point_a_run_in_every_reader(hlbq: Hlbq, tmp_path: Path) -> None:
    lines = [*SHORT, "--max_sequence_length", "32", "64", "--eval_sequence_length", "32", "--test_tokens", "640"]
    hlbq("run", *lines, "--device", "cpu", "--db", "a.db")
    hlbq("export", "results.csv", "--db", "a.db")
    with open_store(str(tmp_path / "a.db"), mode=OpenMode.READ) as store:
        tests = [one.point for one in stored_points(store, RunFilter(), Split.TEST)]
        runs = list(store.runs(RunFilter()))
    # Sequences grow after ten steps: up to there both arms learn the same, and their evaluations agree on it.
    assert [point.step for point in tests] == [8, 8] and tests[0].loss == tests[1].loss
    for fact in ("evaluation_fingerprint", "test_evaluation_fingerprint", "test_fingerprint"):
        assert len({run.facts[fact] for run in runs}) == 1
    assert f"test loss {tests[0].loss:.4f}" in hlbq("show", "1", "--db", "a.db").out
    with (tmp_path / "results.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [ast.literal_eval(row["test_loss"]) for row in rows] == [[point.loss] for point in tests]
    compared = hlbq("compare", "--metric", "test_loss", "--db", "a.db")
    assert "max_sequence_length" in compared.out


def test_evaluations_longer_than_training_are_refused_at_submit(hlbq: Hlbq, tmp_path: Path) -> None:
    refused = hlbq("submit", *SHORT, "--eval_sequence_length", "128", "--db", "a.db", code=2)
    assert "eval_sequence_length 128 is above max_sequence_length 64" in refused.err
    assert not (tmp_path / "a.db").exists()
    (tmp_path / "short.txt").write_text("word " * 500)
    line = ["--max_steps", "1", "--test_tokens", "64", "--db", "a.db"]
    refused = hlbq("submit", "--dataset", "text:short.txt", *TINY_OPTIONS, *line, code=2)
    assert "the validation text has at most" in refused.err
