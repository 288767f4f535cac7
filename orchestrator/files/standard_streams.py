"""Standard streams that are closed, full or gone: whoever prints is not to fail for it."""

import io
import os
import sys
from typing import Any


def open_closed_streams() -> None:
    """Open /dev/null where stdin, stdout or stderr is closed (`>&-`, as cron and service managers do).

    To be called first of all: the next file that is opened would take the stream's place, and hold what is printed.
    Children inherit what is opened.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest number that is free, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    # Python has None for a stream that was closed at its start.
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))  # noqa: PTH123, SIM115


class UnfailingFile(io.FileIO):
    """A file whose writes are dropped where the system refuses them: a full disk, a reader that is gone."""

    def write(self, content: Any, /) -> int:
        """Write, or pretend to."""
        try:
            return super().write(content) or 0
        except OSError:
            return len(content)


def unfailing_text(descriptor: int, encoding: str = "utf-8") -> io.TextIOWrapper:
    """A text stream on `descriptor` that drops what cannot be written, and never closes it."""
    file = io.BufferedWriter(UnfailingFile(descriptor, "wb", closefd=False))
    return io.TextIOWrapper(file, encoding=encoding, errors="backslashreplace", line_buffering=True)
