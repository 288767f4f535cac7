"""The log of a run: everything that its trainer prints. If it cannot be written (a full disk), the run goes on."""

import os
import sys
from pathlib import Path

from orchestrator.files.standard_streams import unfailing_text
from orchestrator.files.state_folder import make_private_folder

TAIL_BYTES = 8_000


def open_log(path: Path) -> int:
    """A descriptor of the log, to be appended to, its folder made; of nothing where it cannot be had."""
    try:
        make_private_folder(path.parent)
        return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    except OSError:
        return os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)


def tail_of_log(path: Path) -> str:
    """The end of a log, as text; empty where there is none."""
    try:
        with path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            log.seek(max(0, size - TAIL_BYTES))
            return log.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def log_to(path: Path) -> None:
    """Send standard output and error, C libraries' too, to the run's log."""
    sys.stdout.flush()
    sys.stderr.flush()
    descriptor = open_log(path)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    sys.stdout, sys.stderr = unfailing_text(1), unfailing_text(2)
