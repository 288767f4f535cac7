"""The log of a run: everything that its trainer prints. If it cannot be written (a full disk), the run goes on."""

import io
import os
import sys
from pathlib import Path
from typing import Any

from orchestrator.files.state_folder import make_private_folder


class UnfailingFile(io.FileIO):
    """A file whose writes are dropped where the disk refuses them: whoever prints is not to fail for it."""

    def write(self, content: Any, /) -> int:
        """Write, or pretend to."""
        try:
            return super().write(content) or 0
        except OSError:
            return len(content)


def open_log(path: Path) -> int:
    """A descriptor of the log, to be appended to, its folder made; of nothing where it cannot be had."""
    try:
        make_private_folder(path.parent)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def log_to(path: Path) -> None:
    """Send standard output and error, C libraries' too, to the run's log."""
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = open_log(path)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    sys.stdout, sys.stderr = _unfailing_text(1), _unfailing_text(2)


def _unfailing_text(descriptor: int) -> io.TextIOWrapper:
    file = io.BufferedWriter(UnfailingFile(descriptor, "wb", closefd=False))
    return io.TextIOWrapper(file, encoding="utf-8", errors="backslashreplace", line_buffering=True)
