"""Real runs of other evaluations, and with a test at the end: what a worker records and what commands make of it."""

import ast
import csv
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hlbgpt_core.points import Split
from orchestrator.queue.records import RunFilter
from orchestrator.store import OpenMode, open_store
from tests.tiny_model import TINY_OPTIONS

Hlbq = Callable[..., "subprocess.CompletedProcess[str]"]
SHORT = ("--dataset", "pystdlib", *TINY_OPTIONS, "--max_steps", "8", "--eval_every", "4", "--max_epochs", "1000")


@pytest.fixture
def hlbq(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Hlbq:
    """hlbq as a process of its own, in a folder of its own."""
    cache = tmp_path_factory.getbasetemp() / "cache-of-evaluations"
    surroundings = {**os.environ, "HLBQ_CACHE": str(cache), "OMP_NUM_THREADS": "1"}

    def call(*arguments: str) -> "subprocess.CompletedProcess[str]":
        line = [sys.executable, "-m", "orchestrator.cli.main", *arguments]
        return subprocess.run(line, cwd=tmp_path, env=surroundings, capture_output=True, text=True, timeout=300)

    return call


def test_arms_that_learn_the_same_are_not_told_apart_by_their_evaluations(hlbq: Hlbq) -> None:
    submitted = hlbq("submit", *SHORT, "--num_eval_tokens", "1024", "4096", "--num_runs", "2", "--db", "a.db")
    assert submitted.returncode == 0, submitted.stderr
    worked = hlbq("worker", "--device", "cpu", "--db", "a.db")
    assert worked.returncode == 0, worked.stderr
    compared = hlbq("compare", "--db", "a.db", "--baseline", "num_eval_tokens=1024")
    assert compared.returncode == 2 and "different evaluations" in compared.stderr
    insisted = hlbq("compare", "--db", "a.db", "--baseline", "num_eval_tokens=1024", "--allow_mixed_evaluation")
    assert insisted.returncode == 0 and "is of different evaluations" in insisted.stderr
    for figure in ("--final", "--heatmap"):
        over = ["num_eval_tokens"] if figure == "--final" else ["num_eval_tokens", "num_params"]
        assert hlbq("plot", "figure.png", figure, *over, "--db", "a.db").returncode == 2


def test_one_test_point_a_run_in_every_reader(hlbq: Hlbq, tmp_path: Path) -> None:
    lines = [*SHORT, "--max_sequence_length", "32", "64", "--eval_sequence_length", "32", "--test_tokens", "640"]
    ran = hlbq("run", *lines, "--device", "cpu", "--db", "a.db")
    assert ran.returncode == 0, ran.stderr
    assert hlbq("export", "results.csv", "--db", "a.db").returncode == 0
    with open_store(str(tmp_path / "a.db"), mode=OpenMode.READ) as store:
        tests = [one.point for one in store.points(RunFilter(), Split.TEST)]
        runs = list(store.runs(RunFilter()))
    # Sequences grow after ten steps: up to there both arms learn the same, and their evaluations agree on it.
    assert [point.step for point in tests] == [8, 8] and tests[0].loss == tests[1].loss
    for fact in ("evaluation_fingerprint", "test_evaluation_fingerprint", "test_fingerprint"):
        assert len({run.facts[fact] for run in runs}) == 1
    assert f"test loss {tests[0].loss:.4f}" in hlbq("show", "1", "--db", "a.db").stdout
    with (tmp_path / "results.csv").open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [ast.literal_eval(row["test_loss"]) for row in rows] == [[point.loss] for point in tests]
    compared = hlbq("compare", "--metric", "test_loss", "--db", "a.db")
    assert compared.returncode == 0 and "max_sequence_length" in compared.stdout


def test_evaluations_longer_than_training_are_refused_at_submit(hlbq: Hlbq, tmp_path: Path) -> None:
    refused = hlbq("submit", *SHORT, "--eval_sequence_length", "128", "--db", "a.db")
    assert refused.returncode == 2 and "eval_sequence_length 128 is above max_sequence_length 64" in refused.stderr
    assert not (tmp_path / "a.db").exists()
    (tmp_path / "short.txt").write_text("word " * 500)
    line = ["--max_steps", "1", "--test_tokens", "64", "--db", "a.db"]
    refused = hlbq("submit", "--dataset", "text:short.txt", *TINY_OPTIONS, *line)
    assert refused.returncode == 2 and "the validation text has at most" in refused.stderr
