"""The token of the link, kept between starts so that open pages go on: for its owner's eyes only."""

import contextlib
import os
import re
import secrets
import stat
from pathlib import Path

from hlbgpt_core.errors import HlbqError
from orchestrator.files.locks import wait_for_lock
from orchestrator.files.state_folder import make_state_folder

# A link that was shared to read must not open a dashboard that changes things.
TOKEN_FILE, READING_TOKEN_FILE = "dashboard-token", "dashboard-token-read-only"
LOCK_SECONDS = 5.0
_TOKEN = re.compile(r"[\w-]{32}")


def kept_token(folder: Path, *, read_only: bool, new: bool = False) -> str:
    """The token in the state folder, one for dashboards that are `read_only` and one for the others.

    With `new`, or where there is none that only this user can read and write, another one that is kept there from now
    on; if it cannot be kept, it holds until the dashboard ends.
    """
    path = folder / (READING_TOKEN_FILE if read_only else TOKEN_FILE)
    known = None if new else _read(path)
    if known is not None:
        return known
    token = secrets.token_urlsafe(24)
    with contextlib.suppress(OSError, HlbqError):
        make_state_folder(folder)
        lock, too_late = path.with_name(f"{path.name}.lock"), HlbqError("another dashboard writes the token")
        with wait_for_lock(lock, timeout_seconds=LOCK_SECONDS, too_late=too_late):
            # Another dashboard may have been started in the same moment, and have kept one.
            if not new and (known := _read(path)) is not None:
                token = known
            else:
                path.unlink(missing_ok=True)
                # Made with its mode: there is no moment in which others can read it.
                with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
                    stream.write(token)
            lock.unlink()
    return token


def _read(path: Path) -> str | None:
    """The token of a file that nobody else could have written or read; else None."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)) as stream:
            about = os.fstat(stream.fileno())
            is_own = about.st_uid == os.geteuid() and not about.st_mode & 0o077 and stat.S_ISREG(about.st_mode)
            text = stream.read(64).strip() if is_own else ""
    except (OSError, UnicodeDecodeError):
        return None
    return text if _TOKEN.fullmatch(text) else None
