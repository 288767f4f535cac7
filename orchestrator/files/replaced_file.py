"""Writing a file so that nobody ever reads half of it."""

import contextlib
import errno
import glob
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from orchestrator.errors import ExportError
from orchestrator.files.locks import lock_at_once, wait_for_lock

LOCK_TIMEOUT_SECONDS = 60.0
_ORPHANED_AFTER_SECONDS = 60.0
_BUFFER_BYTES = 1 << 20


@contextlib.contextmanager
def replaced_file(path: Path) -> Iterator[IO[bytes]]:
    """A new file that takes the place of `path` when the block ends well; else the old one stays whole.

    It is written beside `path` and renamed, with the mode that the umask gives. A pipe or a device is written
    directly. Raises ExportError for a folder, a missing or unwritable folder around it, and a full disk.
    """
    with export_errors(path):
        target = path.expanduser().resolve()  # what a link points to is replaced, not the link
        check_not_a_folder(path)
        if not target.parent.is_dir():
            raise ExportError(f"there is no folder '{target.parent}'", f"Make it first: mkdir -p {target.parent}")
        if target.exists() and not target.is_file():
            with target.open("wb") as stream:
                yield stream
            return
        # Judged by the mode bits, so that root is told too.
        if target.exists() and not target.stat().st_mode & 0o222:
            raise ExportError(f"'{path}' is read-only", f"chmod u+w {path}, or name another file.")
        if not target.parent.stat().st_mode & 0o222:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        with _written_beside(target) as stream:
            yield stream


def check_not_a_folder(path: Path, example: str = "results.csv") -> None:
    """Raise ExportError, naming a file in it, where `path` is a folder."""
    if path.expanduser().is_dir():
        raise ExportError(f"'{path}' is a folder", f"Name a file in it, for instance {path / example}.")


@contextlib.contextmanager
def _written_beside(target: Path) -> Iterator[IO[bytes]]:
    _remove_orphans(target)
    beside = target.with_name(f".{target.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    # os.open and not a temporary file of tempfile's: the umask shall decide on the mode.
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    try:
        with contextlib.suppress(OSError):  # where there are no locks, files of the killed stay
            lock_at_once(descriptor)
        with os.fdopen(descriptor, "wb", buffering=_BUFFER_BYTES) as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(target)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise


def _remove_orphans(target: Path) -> None:
    """Remove what writers of this file left that were killed: their lock on it is gone with them."""
    for beside in target.parent.glob(f".{glob.escape(target.name)}.*-????????.tmp"):
        with contextlib.suppress(OSError):
            descriptor = os.open(beside, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                # A new one may not be locked yet.
                age_seconds = time.time() - os.fstat(descriptor).st_mtime
                if age_seconds > _ORPHANED_AFTER_SECONDS and lock_at_once(descriptor):
                    beside.unlink()
            finally:
                os.close(descriptor)


@contextlib.contextmanager
def locked_file(path: Path, *, timeout_seconds: float = LOCK_TIMEOUT_SECONDS) -> Iterator[None]:
    """Hold `path`'s lock file (`.NAME.lock` beside it) for the block. The kernel drops it with the process.

    Raises ExportError where another process holds it for longer than `timeout_seconds`.
    """
    target = path.expanduser().resolve()
    beside = target.with_name(f".{target.name}.lock")
    too_late = ExportError(
        f"'{path}' has been locked by another process for {timeout_seconds:g} s",
        f"`fuser {beside}` names it; the table can be written by hand with hlbq export.",
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
            "Name a file in a folder that you can write to, on a disk with room; what was there is as it was.",
        ) from None
