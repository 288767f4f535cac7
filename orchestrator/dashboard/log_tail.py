"""The end of what a run's trainer printed."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hlbgpt_core.errors import HlbqError
from orchestrator.files.state_folder import state_folder
from orchestrator.queue.attempts import AttemptRecord

MOST_BYTES = 64 * 1024


@dataclass(frozen=True, kw_only=True)
class LogTail:
    """The last lines of a log. `left_out` counts the bytes before them; `problem` says why there is no text."""

    text: str = ""
    left_out: int = 0
    problem: str = ""


def read_log_tail(database_names: Sequence[Path], state_dir: str | None, attempt: AttemptRecord) -> LogTail:
    """The end of the attempt's log, if it is on this machine. Paths that leave the state folder are refused."""
    try:
        folder = state_folder(database_names, state_dir).resolve()
    except HlbqError as error:
        return LogTail(problem=f"{error.message}: start the dashboard with --state_dir FOLDER")
    path = (folder / attempt.log_path).resolve()
    if not attempt.log_path or not path.is_relative_to(folder):
        return LogTail(problem="the database names no log within the state folder")
    try:
        with path.open("rb") as log:
            size = log.seek(0, os.SEEK_END)
            begin = max(0, size - MOST_BYTES)
            log.seek(begin)
            content = log.read(MOST_BYTES)
    except OSError:
        return LogTail(problem="the log is not on this machine: it is on the host of the worker that wrote it")
    if begin:
        cut = content.find(b"\n") + 1
        begin, content = begin + cut, content[cut:]
    return LogTail(text=content.decode("utf-8", errors="replace"), left_out=begin)
