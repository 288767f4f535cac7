"""The commands of `--notify`, in the folder of the user who typed them; the database holds a token that names the file.

So nobody can run a command by writing to the database: a worker runs only commands from its own user's folder. If
several machines share a home folder, each of them can deliver. And the database holds no webhook's address.
"""

import getpass
import json
import os
import re
import secrets
import socket
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import DatabaseBusyError, UsageError
from orchestrator.files.state_folder import make_private_folder
from orchestrator.queue.notices import NotifyMark
from orchestrator.queue.sweeps import NewSweep, SweepRecord

if TYPE_CHECKING:
    from orchestrator.store import Store

_TOKEN = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True, kw_only=True)
class UserCommand:
    """A line for the shell, and the folder in which it was typed."""

    line: str
    folder: str


def commands_folder() -> Path:
    """`hlbq/notify` in the user's folder of settings: `$XDG_CONFIG_HOME`, else `~/.config`. Raises UsageError for a
    user without a home."""
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    try:
        return Path(base).expanduser() / "hlbq" / "notify"
    except RuntimeError:
        raise UsageError(
            "--notify: this user has no home folder to keep commands in", "export XDG_CONFIG_HOME=/path/to/folder"
        ) from None


def check_command(line: str) -> None:
    """Raise UsageError for an empty line, or one that is not text."""
    if not line.strip():
        raise UsageError("--notify: the command is empty", "For instance: --notify 'mail -s hlbq ada@example.org'")
    if "\0" in line or any(0xD800 <= ord(character) <= 0xDFFF for character in line):
        raise UsageError(f"--notify: {line!r} is not UTF-8", "Use plain text, and a UTF-8 locale.")


def keep_command(line: str) -> NotifyMark:
    """Keep a command for a sweep about to be submitted, readable by its user alone. Raises UsageError for a line that
    is not a command, and if the folder cannot be written."""
    check_command(line)
    token = secrets.token_hex(16)
    content = json.dumps(asdict(UserCommand(line=line, folder=str(Path.cwd()))))
    folder = commands_folder()
    try:
        make_private_folder(folder)
        path = folder / f"{token}.json"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UsageError(
            f"--notify: the command can't be kept in '{folder}': {error.strerror or error}",
            "Make the folder writable, or use another: export XDG_CONFIG_HOME=/path/to/folder",
        ) from None
    return NotifyMark(token=token, by=f"{user_name()} on {socket.gethostname()}")


def submit_with_command(store: "Store", sweep: NewSweep, line: str) -> SweepRecord:
    """Submit a sweep whose user gets notices by the command `line`. Raises UsageError if that cannot be kept."""
    mark = keep_command(line)
    try:
        return store.submit(replace(sweep, notify=mark))
    except DatabaseBusyError:  # the answer may have been lost, and the sweep be stored
        raise
    except BaseException:
        (commands_folder() / f"{mark.token}.json").unlink(missing_ok=True)
        raise


def find_command(token: str) -> UserCommand | None:
    """The command that a token names, if this user typed it here; None for everybody else's."""
    if not _TOKEN.fullmatch(token):
        return None  # a token from a database is a name, never a path
    path = commands_folder() / f"{token}.json"
    try:
        if path.stat().st_uid != os.geteuid():
            return None
        return UserCommand(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def user_name() -> str:
    """The name of this process's user, for the record of who did what."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # in a container, the user's number may have no name
        return "unknown"
