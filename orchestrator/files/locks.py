"""Locks on files. The kernel drops them when their process ends, however it ends."""

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from pathlib import Path

from hlbgpt_core.errors import HlbqError

_POLL_SECONDS = 0.05


def lock_at_once(descriptor: int) -> bool:
    """Lock an open file until its descriptor is closed; False if another process holds it.

    Raises OSError on a disk without locks.
    """
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def try_lock(path: Path, *, mode: int = 0o600) -> Iterator[bool]:
    """Hold the lock file for the block; False, at once, if another process holds it. Raises OSError.

    The holder may remove the file: a lock counts only if its file still has that name.
    """
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        yield lock_at_once(descriptor) and _is_still(descriptor, path)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def wait_for_lock(path: Path, *, timeout_seconds: float, too_late: HlbqError, mode: int = 0o600) -> Iterator[None]:
    """Hold the lock file for the block; raises `too_late` if another process holds it for longer, and OSError."""
    give_up_at = time.monotonic() + timeout_seconds
    while True:
        with try_lock(path, mode=mode) as is_held:
            if is_held:
                yield
                return
        if time.monotonic() > give_up_at:
            raise too_late
        time.sleep(_POLL_SECONDS)


def _is_still(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
