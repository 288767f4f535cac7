"""Paths as people type them: an unknown user, a ring of links, a pipe that nobody fills."""

import errno
import os
import stat
from pathlib import Path
from typing import IO

from orchestrator.errors import UsageError


def expanded(path: Path | str) -> Path:
    """The path with `~` replaced. Raises UsageError for a user that there is not."""
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UsageError(f"'{path}' names an unknown user", "Write the path in full.") from None


def open_to_read(path: Path | str) -> IO[bytes]:
    """Open a file, or a pipe that somebody writes into: another pipe ends at once.

    Raises OSError, and for what would never end too: a device, a socket, a folder; and as `expanded`.
    """
    descriptor = os.open(expanded(path), os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    mode = os.fstat(descriptor).st_mode
    if not (stat.S_ISREG(mode) or stat.S_ISFIFO(mode)):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "it is a folder, a device or a socket", str(path))
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "rb")


def open_to_write(path: Path) -> IO[bytes]:
    """Open a device, or a pipe that somebody reads. Raises OSError for any other."""
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno == errno.ENXIO:
            raise OSError(errno.ENXIO, "it is a pipe or a socket that nobody reads", str(path)) from None
        raise
    os.set_blocking(descriptor, True)
    return os.fdopen(descriptor, "wb")
