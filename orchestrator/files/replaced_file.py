"""Writing a file so that readers see the old one or the complete new one."""

import contextlib
import errno
import glob
import os
import re
import secrets
import shlex
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from orchestrator.errors import ExportError
from orchestrator.files.given_path import expanded, open_to_write
from orchestrator.files.locks import lock_at_once, wait_for_lock

LOCK_TIMEOUT_SECONDS = 60.0
_ORPHANED_AFTER_SECONDS = 60.0
_BUFFER_BYTES = 1 << 20
_TEMPORARY = re.compile(r"\.(\d+-[0-9a-f]{8}\.tmp|\d+\.partial)$")


@contextlib.contextmanager
def replaced_file(path: Path) -> Iterator[IO[bytes]]:
    """A new file that replaces `path` when the block ends well; else the old one stays.

    It is written beside `path` and renamed, with the mode that the umask gives. A device, or a pipe that somebody
    reads, is written directly. Raises ExportError as `checked_target` does, and for a full disk.
    """
    target = checked_target(path)
    with export_errors(path):
        if target.exists() and not target.is_file():
            with open_to_write(target) as stream:
                yield stream
            return
        with _written_beside(target) as stream:
            yield stream


def checked_target(path: Path, example: str = "results.csv") -> Path:
    """What writing `path` replaces or writes into: the file that a link points to, not the link. Nothing is written.

    Raises ExportError for a folder (with a file in it as example), a missing or unwritable folder around it, and a file
    that is read-only; UsageError for an unknown user.
    """
    target = Path(os.path.realpath(expanded(path)))
    with export_errors(path):
        try:
            mode = target.stat().st_mode
        except (FileNotFoundError, NotADirectoryError):
            mode = 0
        if stat.S_ISDIR(mode):
            raise ExportError(f"'{path}' is a folder", f"Name a file in it, for instance {path / example}.")
        if not target.parent.is_dir():
            hint = f"Make it first: mkdir -p {shlex.quote(str(target.parent))}"
            raise ExportError(f"there is no folder '{target.parent}' for '{path}'", hint)
        # Judged by the mode bits, so that root gets the error too.
        if stat.S_ISREG(mode) and not mode & 0o222:
            raise ExportError(f"'{path}' is read-only", f"chmod u+w {shlex.quote(str(target))}, or name another file.")
        if not (mode and not stat.S_ISREG(mode)) and not target.parent.stat().st_mode & 0o222:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
    return target


@contextlib.contextmanager
def _written_beside(target: Path) -> Iterator[IO[bytes]]:
    for orphan in orphans_in(target.parent, name=glob.escape(target.name)):
        with contextlib.suppress(OSError):
            orphan.unlink()
    beside = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    # os.open and not a temporary file of tempfile's: the umask must decide the mode.
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with contextlib.suppress(OSError):  # without locks, files of killed processes stay
            lock_at_once(descriptor)
        with os.fdopen(descriptor, "wb", buffering=_BUFFER_BYTES) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def orphans_in(*folders: Path, name: str = "*") -> Iterator[Path]:
    """Files left in `folders` by killed writers of files called `name` (a pattern), and by killed backups."""
    for folder in folders:
        for beside in sorted({*folder.glob(f".{name}.*-????????.tmp"), *folder.glob(f".{name}.*.partial")}):
            if _TEMPORARY.search(beside.name) and _is_orphaned(beside):
                yield beside


def _is_orphaned(beside: Path) -> bool:
    with contextlib.suppress(OSError):
        descriptor = os.open(beside, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            # A new one may not be locked yet.
            age_seconds = time.time() - os.fstat(descriptor).st_mtime
            return age_seconds > _ORPHANED_AFTER_SECONDS and lock_at_once(descriptor)
        finally:
            os.close(descriptor)
    return False


@contextlib.contextmanager
def locked_file(path: Path, *, timeout_seconds: float = LOCK_TIMEOUT_SECONDS) -> Iterator[None]:
    """Hold `path`'s lock file (`.NAME.lock` beside it) for the block. The kernel drops it with the process.

    Raises ExportError if another process holds it for longer than `timeout_seconds`.
    """
    target = checked_target(path)
    beside = target.with_name(f".{target.name}.lock")
    too_late = ExportError(
        f"'{path}' has been locked by another process for {timeout_seconds:g} s",
        f"Find it with `fuser {beside}`, or write the table yourself: hlbq export results.csv",
    )
    with contextlib.ExitStack() as held:
        with export_errors(path):
            held.enter_context(wait_for_lock(beside, timeout_seconds=timeout_seconds, too_late=too_late, mode=0o666))
        yield


@contextlib.contextmanager
def export_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's errors into ExportError; a closed pipe stays what it is."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise ExportError(
            f"'{path}' can't be written: {reason[:1].lower()}{reason[1:]}",
            "Name a file in a folder that you can write to, on a disk with room. An existing file is unchanged.",
        ) from None
