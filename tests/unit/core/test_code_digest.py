"""The digest of the code: what changes it, what does not, and what it leaves aside."""

import ast
import hashlib
import os
import shutil
from pathlib import Path

import pytest

from hlbgpt_core.code_digest import CoreCode, core_digest, core_folder, parsed_form
from hlbgpt_core.same_code import SAME_CODE

LINE = "LEARNING_RATE = 0.1\n"


@pytest.fixture
def core(tmp_path: Path) -> Path:
    """A copy of the core."""
    folder = tmp_path / "hlbgpt_core"
    shutil.copytree(core_folder(), folder, ignore=shutil.ignore_patterns("__pycache__"))
    return folder


def test_the_newest_shipped_digest_is_that_of_this_code() -> None:
    assert SAME_CODE[-1][-1] == core_digest(), (
        "what trains in hlbgpt_core has changed. If `python -m hlbgpt_core.replay` shows that no number did, add what "
        "`python -m hlbgpt_core.code_digest` prints to the last group of hlbgpt_core/same_code.py; else add a new group"
    )


def test_no_digest_is_in_two_groups() -> None:
    listed = [digest for group in SAME_CODE for digest in group]
    assert len(listed) == len(set(listed)) and all(len(digest) == 16 for digest in listed)


@pytest.mark.parametrize("file", ["recipes/v041.py", "settings.py", "training/training_step.py", "text/data.py"])
def test_only_what_python_reads_counts(core: Path, file: str) -> None:
    code, path = CoreCode(core), core / file
    before, text = code.digest(), path.read_text()
    path.write_text("#!/usr/bin/python\n" + text + "\n\n# edited\n")
    assert code.digest() == before
    path.write_text(text.replace('"""', '"""Of late: ', 1))
    assert code.digest() == before
    path.write_text(ast.unparse(ast.parse(text)))
    assert code.digest() == before
    path.write_text(text + LINE)
    assert code.digest() != before
    path.write_text(text)
    assert code.digest() == before


@pytest.mark.parametrize(
    ("file", "counts"),
    [
        ("recipes/mine.py", True),
        ("optimisers_of_mine/muon.py", True),
        ("commands/generation.py", False),
        ("commands/more.py", False),
        ("replay.py", False),
        ("recipes/.#v041.py", False),
        ("recipes/v041.py~", False),
        ("recipes/.v041.py.swp", False),
        ("recipes/__pycache__/v041.py", False),
        ("recipes/notes.txt", False),
        (".ipynb_checkpoints/v041.py", False),
    ],
)
def test_which_files_count(core: Path, file: str, counts: bool) -> None:
    before = core_digest(core)
    (core / file).parent.mkdir(exist_ok=True)
    (core / file).write_text(LINE)
    assert (core_digest(core) != before) == counts


def test_what_is_no_file_is_passed_over(core: Path) -> None:
    before = core_digest(core)
    (core / "recipes" / ".#v041.py").symlink_to("ada@here.1234:1700000000")
    (core / "recipes" / "gone.py").symlink_to("nowhere.py")
    (core / "recipes" / "round.py").symlink_to("round.py")
    os.mkfifo(core / "recipes" / "pipe.py")
    (core / "recipes" / "folder.py").mkdir()
    assert core_digest(core) == before
    (core / "recipes" / "linked.py").symlink_to("v041.py")
    assert core_digest(core) != before


def test_a_file_that_vanishes_while_it_is_read_is_passed_over(core: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (core / "mine.py").write_text(LINE)
    read = Path.read_bytes

    def vanish(path: Path) -> bytes:
        if path.name == "mine.py":
            path.unlink()
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", vanish)
    assert core_digest(core) == core_digest(core_folder())


@pytest.mark.parametrize("content", [b"def f(:\n", b"x = '\xff'\n", b"\0", b"(" * 5000, b"-" * 20000 + b"1\n"])
def test_what_python_cannot_parse_counts_byte_by_byte(core: Path, content: bytes) -> None:
    code, path = CoreCode(core), core / "mine.py"
    path.write_bytes(content)
    broken = code.digest()
    path.write_bytes(content + b"# edited\n")
    assert code.digest() != broken


def test_unchanged_files_are_not_read_again(core: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = CoreCode(core)
    code.digest()
    (core / "mine.py").write_text(LINE)
    read, seen = Path.read_bytes, []

    def note(path: Path) -> bytes:
        seen.append(path.name)
        return read(path)

    monkeypatch.setattr(Path, "read_bytes", note)
    code.digest()
    assert seen == ["mine.py"]


def test_the_parsed_form_is_the_same_in_every_version_of_python() -> None:
    text = '''
"""Docstring."""
from typing import Generic, TypeVar
T = TypeVar("T")
@decorate
class A(Generic[T], metaclass=type):
    """Docstring."""
    x: int = 1_000
    "Of x."
    async def f(self, a, /, b=2, *c: int, d, e=None, **g) -> "int":
        """Docstring."""
        global T
        async with a as b: await c
        return f"{a!r:>{b}} {c=}" u"\\u00e9\\U0001f9ea" if a else {**g, 1: (2.5e-9, 1j, b"x", ..., True)}
def h():
    pass
match h():
    case {"a": 1, **rest} if rest is not None: pass
    case None | [1, *_]: h[1:2, ::3] @= lambda *a: [y for y in a if y]
try: pass
except* ValueError as error: raise error from None
'''
    assert hashlib.sha256(parsed_form(text.encode())).hexdigest()[:16] == "acd78bd5e1051484"
