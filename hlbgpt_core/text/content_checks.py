"""Whether the tokens in a cache are still those that were written: all of them, at a file's first use in a process.

Sizes and times tell nothing of a file that was changed at the same size. Each file is read in a thread of its own, so
that a worker's first check runs while torch is loaded.
"""

import hashlib
import threading
from concurrent.futures import Future
from pathlib import Path

# Large, since each block waits for the interpreter's lock, which the import of torch holds nearly all the time.
BLOCK_BYTES = 16 * 1024 * 1024


class ContentChecks:
    """What this process knows of files' contents. May be used by several threads."""

    def __init__(self) -> None:
        self._found: dict[tuple[object, ...], Future[bool]] = {}
        self._lock = threading.Lock()

    def is_whole(self, path: Path, sha256: str) -> "Future[bool]":
        """Whether the file has the content of that digest. It is read again only once its inode or times change."""
        try:
            status = path.stat()
        except OSError:
            missing: Future[bool] = Future()
            missing.set_result(False)
            return missing
        key = (path, sha256, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
        with self._lock:
            if key not in self._found:
                found: Future[bool] = Future()
                threading.Thread(target=_check, args=(path, sha256, found), name="cache-check", daemon=True).start()
                self._found[key] = found
            return self._found[key]


def sha256_of(path: Path) -> str:
    """The digest of a file's content. Raises OSError."""
    digest, block = hashlib.sha256(), memoryview(bytearray(BLOCK_BYTES))
    with path.open("rb", buffering=0) as file:
        while count := file.readinto(block):
            digest.update(block[:count])
    return digest.hexdigest()


def _check(path: Path, sha256: str, found: "Future[bool]") -> None:
    try:
        found.set_result(sha256_of(path) == sha256)
    except OSError:
        found.set_result(False)
    except Exception as error:  # no memory, for instance: somebody waits for the answer
        found.set_exception(error)
