"""Which code computed: commit and changes from git, and neither where there is no git to ask."""

import os
import subprocess
from pathlib import Path

import pytest

from hlbgpt_core.code_version import version_of
from hlbgpt_core.device import driver_version


def git(folder: Path, *arguments: str) -> str:
    who = ["-c", "user.name=a", "-c", "user.email=a@b", "-c", "commit.gpgsign=false"]
    return subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A package in a checkout with one commit and a remote that holds a password."""
    folder = tmp_path / "core"
    folder.mkdir()
    (folder / "__init__.py").write_text("")
    (folder / "model.py").write_text("width = 1\n")
    (tmp_path / "notes.txt").write_text("")
    (tmp_path / ".gitignore").write_text("*.pyc\n")
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", ".")
    git(tmp_path, "commit", "-q", "-m", "first")
    git(tmp_path, "remote", "add", "origin", "https://me:pa55word@example.invalid/a.git")
    return folder


def test_a_clean_checkout_gives_its_commit(package: Path) -> None:
    found = version_of(package)
    assert found.git_commit == git(package, "rev-parse", "HEAD").strip() and found.git_dirty == ""
    assert "pa55word" not in repr(found)
    (package.parent / "notes.txt").write_text("changed")
    (package / "model.pyc").write_text("ignored")
    assert version_of(package) == found, "what is not the core's code does not count"


def test_each_change_has_its_digest(package: Path) -> None:
    digests = []
    (package / "model.py").write_text("width = 2\n")
    digests.append(version_of(package).git_dirty)
    git(package, "add", ".")
    assert version_of(package).git_dirty == digests[0], "staged or not is the same code"
    (package / "other.py").write_text("depth = 1\n")
    digests.append(version_of(package).git_dirty)
    (package / "other.py").write_text("depth = 2\n")
    digests.append(version_of(package).git_dirty)
    assert len(set(digests)) == 3 and all(digest and len(digest) == 16 for digest in digests)


def test_outside_a_checkout_there_is_no_commit(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = tmp_path / ".venv" / "core"
    installed.mkdir(parents=True)
    (installed / "__init__.py").write_text("")
    assert version_of(installed).git_commit is None, "a package below somebody's checkout is not part of it"
    monkeypatch.setenv("GIT_DIR", str(tmp_path / ".git"))
    assert version_of(installed).git_commit is None
    monkeypatch.setenv("PATH", "")
    assert version_of(package).git_commit is None


def test_a_git_that_hangs_is_given_up(package: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = tmp_path / "bin" / "git"
    slow.parent.mkdir()
    slow.write_text("#!/bin/sh\nexec sleep 60\n")
    slow.chmod(0o755)
    monkeypatch.setenv("PATH", f"{slow.parent}{os.pathsep}{os.environ['PATH']}")
    found = version_of(package, limit_seconds=0.2)
    assert found.git_commit is None and found.git_dirty is None


def test_the_driver_tells_its_version(tmp_path: Path) -> None:
    file = tmp_path / "version"
    file.write_text(
        "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  570.86.15  Release Build\nGCC version:  gcc 12.3.0\n"
    )
    assert driver_version(file) == "570.86.15"
    assert driver_version(tmp_path / "nothing") is None
