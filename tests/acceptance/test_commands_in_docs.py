"""The sweeps that README and the pages of docs/ have readers type are accepted as they stand."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.command_line import Hlbq, hlbq_in

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
# What a page makes first: a sweep file, a setting of one's own.
MADE_THERE = re.compile(r"\.\.\.|\.toml\b|--residual_gain\b")


def typed_sweeps() -> Iterator[str]:
    for page in PAGES:
        for line in re.findall(r"\bhlbq (?:submit|search) (-[^\n`]*)", page.read_text(encoding="utf-8")):
            command = re.split(r"&&|   |#|  \||\\$", line)[0]
            if not MADE_THERE.search(command):
                yield re.sub(r"--db \S+|--dry-run", "", command).strip()


@pytest.fixture
def hlbq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hlbq:
    return hlbq_in(tmp_path, monkeypatch, capsys)


@pytest.mark.parametrize("line", sorted(set(typed_sweeps())))
def test_a_sweep_of_the_docs_can_be_typed(hlbq: Hlbq, line: str) -> None:
    done = hlbq(f"submit {line} --dry-run")
    assert done.code == 0, done.err


def test_the_pages_are_read() -> None:
    assert len(set(typed_sweeps())) > 20
