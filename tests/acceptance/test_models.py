"""A run's model after the run: kept, written from, exported, repeated."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.store import OpenMode, open_store
from tests.command_line import hlbq_in
from tests.tiny_model import TINY_OPTIONS

HLBQ = [sys.executable, "-P", "-m", "orchestrator.cli.main"]
FIVE_STEPS = (*TINY_OPTIONS, "--dataset", "pystdlib", "--max_steps", "5", "--eval_every", "2")
Done = subprocess.CompletedProcess[str]
Hlbq = Callable[..., Done]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three finished runs: 1 kept its end and its best, 2 its best, 3 nothing."""
    folder = tmp_path_factory.mktemp("models")
    for options in (("--keep_checkpoints", "--keep_best"), ("--keep-best",), ()):
        call(folder, "submit", *FIVE_STEPS, *options)
    call(folder, "worker", "--device", "cpu")
    return folder


@pytest.fixture
def hlbq(folder: Path) -> Hlbq:
    return lambda *arguments, code=0: call(folder, *arguments, code=code)


def call(folder: Path, *arguments: str, code: int = 0) -> Done:
    """Run hlbq in `folder`, and check its exit code."""
    environment = {name: value for name, value in os.environ.items() if name != "HLBQ_DB"}
    done = subprocess.run([*HLBQ, *arguments], cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == code, f"{done.returncode}\n{done.stdout}\n{done.stderr}"
    assert "Traceback" not in done.stderr
    return done


def test_what_a_run_keeps_is_what_it_was_told_to(folder: Path) -> None:
    with open_store(str(folder / "hlbq.db"), mode=OpenMode.READ) as store:
        runs = {number: store.run(number) for number in (1, 2, 3)}
    kept = {}
    for number, run in runs.items():
        assert run is not None
        place = folder / "hlbq.db.state" / "checkpoints" / run.uid
        kept[number] = sorted(path.name for path in place.iterdir()) if place.exists() else []
    assert kept == {1: ["1-5", "best"], 2: ["best"], 3: []}


def test_an_exported_model_writes_what_its_run_does(hlbq: Hlbq, folder: Path) -> None:
    assert "hlbq generate --model 'taken along'" in hlbq("export-model", "1", "taken along").stderr
    assert sorted(path.name for path in (folder / "taken along").iterdir()) == ["model.safetensors", "settings.json"]
    settings = json.loads((folder / "taken along" / "settings.json").read_text())["settings"]
    assert (settings["depth"], settings["tokenizer"], settings["max_steps"]) == (1, "bytes", 5)
    options = ("--prompt", "import ", "--length", "30", "--top_k", "20", "--seed", "3")
    written = hlbq("generate", "1", *options).stdout
    assert written.startswith("import ") and len(written) > len("import \n")
    assert hlbq("generate", "--model", "taken along", *options).stdout == written


def test_the_best_evaluation_writes_too(hlbq: Hlbq) -> None:
    told = json.loads(hlbq("generate", "2", "--temperature", "0", "--length", "3", "--json").stdout)
    assert len(told["tokens"]) <= 3 and told["prompt"] == "" and told["origin"]["seed"] == 100


def test_what_cannot_be_had_says_why_and_what_to_type(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hlbq_here = hlbq_in(folder, monkeypatch, capsys)
    monkeypatch.setattr("os.execv", lambda program, argv: pytest.fail(f"not refused: {argv}"))
    for typed, said in {
        "generate": "which model",
        "generate 1 --model x": "which model",
        "generate 99": "no run 99",
        "generate 3": "--keep_checkpoints",
        "generate 2 --checkpoint newest": "--keep_checkpoints",
        "generate 3 --checkpoint best": "--keep_best",
        "generate 1 --checkpoint bset": "Did you mean 'best'",
        "generate 1 --state_dir elsewhere": "elsewhere",
        "generate 1 --prompt \udcff": "not UTF-8",
        "generate --model nowhere": "nowhere",
        "generate 1 --length 0": "too small",
        "generate 1 --temperature -1": "too small",
        "generate 1 --device tpu": "tpu",
        "export-model 3 out": "--keep_checkpoints",
    }.items():
        refused = hlbq_here(typed)
        assert (refused.code, refused.out) == (2, ""), typed
        assert refused.err.startswith("error: ") and said in refused.err, typed


def test_a_run_tells_what_computed_it_and_how_to_repeat_it(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hlbq_here = hlbq_in(folder, monkeypatch, capsys)
    shown = json.loads(hlbq_here("show 1 --json").out)
    facts = shown["attempts"][0]["provenance"]
    wanted = "package_version git_commit git_dirty python torch cuda driver device_name device_memory_bytes host argv"
    assert set(wanted.split()) <= set(facts)
    assert facts["argv"][:2] == ["hlbq", "submit"] and "--keep_checkpoints" in facts["argv"]
    assert facts["data_fingerprint"] == shown["run"]["facts"]["data_fingerprint"] and facts["host"]
    assert facts["git_commit"] is None or re.fullmatch("[0-9a-f]{40}", facts["git_commit"])
    assert shown["repeat"] in hlbq_here("show 1").out
    planned = json.loads(hlbq_here(f"{shown['repeat'].removeprefix('hlbq ')} --dry-run --json").out)
    assert [arm["key"] for arm in planned["arms"]] == [shown["run"]["arm_key"]]
    assert (planned["runs"], planned["seed"]) == (1, shown["run"]["seed"])
