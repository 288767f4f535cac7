"""The code that computes: the package's version, and git's commit if the core is in a checkout."""

import functools
import hashlib
import os
import subprocess
import time
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

GIT_SECONDS = 5.0
# Reading a repository must not start programs that its own settings name.
_GIT = ("git", "--no-pager", "-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null")
_DIFF = ("diff", "HEAD", "--no-ext-diff", "--no-textconv", "--no-color", "--binary", "--", ".")


class _GitFailedError(Exception):
    """git is missing, does not know the folder, or took too long."""


@dataclass(frozen=True, kw_only=True)
class CodeVersion:
    """`package` is the installed version ("" if not installed).

    `git_commit` is None outside a checkout, or if git does not answer. `git_dirty` is a digest of sixteen hex digits of
    what differs from the commit in the core's folder, "" if nothing differs.
    """

    package: str
    git_commit: str | None = None
    git_dirty: str | None = None


@functools.cache
def core_version() -> CodeVersion:
    """The version of the core that this process has loaded; git runs once per process."""
    return version_of(Path(__file__).parent)


def version_of(folder: Path, *, limit_seconds: float = GIT_SECONDS) -> CodeVersion:
    """The version of the package in `folder`. Takes no longer than `limit_seconds`, and never fails."""
    try:
        package = version("hlbq")
    except PackageNotFoundError:
        package = ""
    deadline = time.monotonic() + limit_seconds
    try:
        # A package installed inside somebody's checkout is not part of it.
        _git(folder, deadline, "ls-files", "--error-unmatch", "--", "__init__.py")
        commit = _git(folder, deadline, "rev-parse", "HEAD").decode("ascii", "replace").strip()
        changed = _git(folder, deadline, *_DIFF)
        unknown = _git(folder, deadline, "ls-files", "--others", "--exclude-standard", "-z", "--", ".")
        return CodeVersion(package=package, git_commit=commit, git_dirty=_dirty(folder, changed, unknown))
    except (_GitFailedError, OSError):
        return CodeVersion(package=package)


def _dirty(folder: Path, changed: bytes, unknown: bytes) -> str:
    """The digest of a diff and of the files that git does not track (their names end with a NUL)."""
    names = sorted(name for name in unknown.split(b"\0") if name)
    if not changed and not names:
        return ""
    digest = hashlib.sha256(changed)
    for name in names:
        digest.update(b"\0" + name + b"\0" + (folder / os.fsdecode(name)).read_bytes())
    return digest.hexdigest()[:16]


def _git(folder: Path, deadline: float, *arguments: str) -> bytes:
    """What git prints about `folder`. Raises _GitFailedError if it fails or takes too long."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    try:
        done = subprocess.run(
            [*_GIT, *arguments],
            cwd=folder,
            env={**environment, "GIT_OPTIONAL_LOCKS": "0", "GIT_TERMINAL_PROMPT": "0"},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=max(0.0, deadline - time.monotonic()),
        )
    except (OSError, subprocess.SubprocessError) as error:
        raise _GitFailedError from error
    if done.returncode:
        raise _GitFailedError
    return done.stdout
