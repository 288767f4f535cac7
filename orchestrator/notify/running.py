"""One call of a user's command: JSON on its standard input, a limit on its time, and never an exception."""

import contextlib
import os
import signal
import subprocess
import tempfile
import threading
from collections import deque
from collections.abc import Mapping
from typing import IO

from orchestrator.launch.stop_signals import signal_name
from orchestrator.notify.commands import UserCommand
from orchestrator.notify.message import one_line

LIMIT_SECONDS = 60.0
_GRACE_SECONDS = 2.0
_LONGEST_TAIL = 500


def call(
    command: UserCommand, text: str, environment: Mapping[str, str], *, limit_seconds: float = LIMIT_SECONDS
) -> str:
    """Call the command in its own process group; returns what went wrong, empty if it succeeded. `environment` comes on
    top of this process's own. Past the time limit the whole group is killed."""
    here = os.path.isdir(command.folder)  # noqa: PTH112
    try:
        # A file, not a pipe: a command that does not read it blocks nobody.
        with tempfile.TemporaryFile() as told:
            told.write(text.encode(errors="backslashreplace"))  # of a path's bytes JSON takes these escapes
            told.seek(0)
            process = subprocess.Popen(
                # Bytes: names come through as UTF-8 in any locale, paths as they are.
                [b"/bin/sh", b"-c", command.line.encode()],
                cwd=command.folder if here else os.path.expanduser("~"),  # noqa: PTH111
                env=dict(os.environb)
                | {name.encode(): value.encode(errors="surrogateescape") for name, value in environment.items()},
                stdin=told,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
    except OSError as error:
        return f"it could not be started: {error.strerror or error}"
    assert process.stdout is not None  # this was requested
    words = _LastWords(process.stdout)
    try:
        code = process.wait(timeout=limit_seconds)
    except subprocess.TimeoutExpired:
        _end_group(process)
        return f"it took longer than {limit_seconds:g} s and was killed{words.after_colon()}"
    except BaseException:  # Ctrl-C: the next try must not find it still running
        _end_group(process)
        raise
    if code == 0:
        return ""
    how = f"exit code {code}" if code > 0 else f"killed by {signal_name(-code)}"
    return f"{how}{words.after_colon()}"


class _LastWords:
    """The end of a command's output, read so that the command never waits."""

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._kept: deque[bytes] = deque(maxlen=_LONGEST_TAIL)
        self._thread = threading.Thread(target=self._read, name="last-words", daemon=True)
        self._thread.start()

    def after_colon(self) -> str:
        """`: what it printed last`, in one line; empty if it printed nothing."""
        self._thread.join(timeout=1.0)  # a process that it left behind may hold the pipe forever
        text = b"".join(list(self._kept))[-_LONGEST_TAIL:].decode(errors="replace")
        line = one_line(text)
        return f": {line}" if line else ""

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while chunk := os.read(self._pipe.fileno(), 65_536):
                self._kept.append(chunk[-_LONGEST_TAIL:])


def _end_group(process: "subprocess.Popen[bytes]") -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError, subprocess.TimeoutExpired):
            os.killpg(process.pid, number)
            process.wait(timeout=_GRACE_SECONDS)
    process.wait()
