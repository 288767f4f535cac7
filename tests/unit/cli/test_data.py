"""`hlbq data`: what is in the cache, by name or by dataset, and out of it again."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from hlbgpt_core.commands.data_command import PlainLines, progress_on_stderr
from hlbgpt_core.text.data import load_data
from orchestrator.cli.data import size_text
from orchestrator.cli.main import run_program


@dataclass(frozen=True, kw_only=True)
class Done:
    """How a command ended, and what it printed."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What it printed for programs."""
        return json.loads(self.out)


Hlbq = Callable[..., Done]


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HLBQ_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def hlbq(cache: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Hlbq:
    """Run `hlbq data` in this process, its stdin no terminal."""

    def call(*arguments: str) -> Done:
        with open(os.devnull) as nothing:  # noqa: PTH123
            monkeypatch.setattr(sys, "stdin", nothing)
            code = run_program(["data", *arguments])
        printed = capsys.readouterr()
        return Done(code=code, out=printed.out, err=printed.err)

    return call


@pytest.fixture
def text(tmp_path: Path, cache: Path) -> Path:
    """A text that is in the cache as bytes."""
    file = tmp_path / "words.txt"
    file.write_text("to be or not to be\n" * 100)
    load_data(f"text:{file}", "bytes")
    return file


def test_an_empty_cache_says_how_to_fill_it(hlbq: Hlbq, cache: Path) -> None:
    found = hlbq("list")
    assert (found.code, found.out) == (0, "") and str(cache) in found.err and "hlbq data prepare" in found.err
    assert hlbq("list", "--json").json == {"cache": str(cache), "datasets": []}
    assert not cache.exists(), "looking makes nothing"


def test_the_list_has_sizes(hlbq: Hlbq, text: Path) -> None:
    (listed,) = hlbq("list", "--json").json["datasets"]
    assert (listed["dataset"], listed["tokenizer"]) == (f"text:{text}", "bytes")
    assert listed["train_tokens"] + listed["val_tokens"] == 1900
    assert listed["bytes_on_disk"] > 2 * 1900
    table = hlbq("list").out
    assert listed["name"] in table and "KB" in table


def test_info_goes_by_name_or_by_dataset(hlbq: Hlbq, text: Path) -> None:
    (listed,) = hlbq("list", "--json").json["datasets"]
    for typed in ([listed["name"]], [f"text:{text}"], [f"text:{text}", "--tokenizer", "bytes"]):
        (told,) = hlbq("info", *typed, "--json").json
        assert (told["name"], told["train_bytes"] + told["val_bytes"]) == (listed["name"], 1900)
        assert told["text"] == "unchanged" and told["fingerprint"] == listed["fingerprint"]
    assert "1,805" in hlbq("info", listed["name"]).out
    text.write_text("something else\n" * 100)
    assert "changed since" in hlbq("info", listed["name"]).out
    text.unlink()
    assert "no longer here" in hlbq("info", listed["name"]).out


def test_verify_finds_altered_tokens(hlbq: Hlbq, text: Path, cache: Path) -> None:
    assert hlbq("info", f"text:{text}", "--verify", "--json").json[0]["verified"] == "whole"
    (file,) = cache.glob("tokens/*/train.bin")
    file.write_bytes(b"xx" + file.read_bytes()[2:])
    assert hlbq("info", f"text:{text}").code == 0, "sizes alone do not show it"
    found = hlbq("info", f"text:{text}", "--verify")
    assert found.code == 1 and "altered" in found.out and "hlbq data remove" in found.err


def test_remove_asks_first(hlbq: Hlbq, text: Path, cache: Path) -> None:
    asked = hlbq("remove", f"text:{text}")
    assert asked.code == 2 and "--yes" in asked.err and list(cache.glob("tokens/*"))
    removed = hlbq("remove", f"text:{text}", "--yes", "--json")
    assert removed.code == 0 and removed.json["removed"][0]["dataset"] == f"text:{text}"
    assert list(cache.glob("tokens/*")) == [] and text.exists()
    assert hlbq("remove", f"text:{text}", "--yes").code == 2


def test_a_name_that_is_not_there_gets_the_nearest(hlbq: Hlbq, text: Path) -> None:
    for command in ("info", "remove"):
        refused = hlbq(command, f"text:{text}t")
        assert refused.code == 2 and f"Did you mean 'text:{text}'?" in refused.err and "hlbq data list" in refused.err
        assert "'gpt2'" in hlbq(command, f"text:{text}", "--tokenizer", "gpt2").err
        assert hlbq(command, "../../etc").code == 2


def test_prepare_encodes_and_says_so(tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text("to be or not to be\n" * 100)

    def prepare(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-P", "-m", "orchestrator.cli.main", "data", "prepare", *arguments],
            cwd=tmp_path,
            env={**os.environ, "HLBQ_CACHE": str(tmp_path / "cache")},
            capture_output=True,
            text=True,
        )

    done = prepare("text:words.txt", "--tokenizer", "bytes", "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["dataset"] == f"text:{tmp_path}/words.txt"
    assert json.loads(done.stdout)["train_tokens"] == 1805
    again = prepare("text:words.txt", "--tokenizer", "bytes")
    assert "1,805 tokens" in again.stdout
    assert re.fullmatch(r"(checking the cache(: \d+%)?\n)*", again.stderr), "there was nothing else to do"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        (["pystdlb"], "Did you mean 'pystdlib'?"),
        (["text:nothing.txt"], "nothing.txt"),
        (["pystdlib", "--tokenizer", "gpt3"], "'gpt3' is not known"),
        (["pystdlib", "--tokenizer", "bpe:5"], "bpe:8192"),
    ],
)
def test_prepare_refuses_before_it_starts(typed: list[str], said: str, hlbq: Hlbq) -> None:
    refused = hlbq("prepare", *typed)
    assert refused.code == 2 and said in refused.err and refused.out == ""


def test_plain_lines_come_at_each_tenth(capsys: pytest.CaptureFixture[str]) -> None:
    with progress_on_stderr() as on_progress:
        assert isinstance(on_progress, PlainLines), "this is no terminal"
        on_progress("reading", 0.0)
        for percent in range(1, 101):
            on_progress("encoding", percent / 100)
    lines = capsys.readouterr().err.splitlines()
    assert lines[:3] == ["reading", "encoding: 1%", "encoding: 10%"] and lines[-1] == "encoding: 100%"
    assert len(lines) == 12


def test_sizes_are_short() -> None:
    assert [size_text(size) for size in (0, 999, 30_800, 1_234_000_000)] == ["0 B", "999 B", "30.8 KB", "1.2 GB"]
