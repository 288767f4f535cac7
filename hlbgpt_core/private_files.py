"""Folders and files that only their owner can read, written completely or not at all."""

import errno
import os
import tempfile
from pathlib import Path

from hlbgpt_core.errors import DataError, HostDataError

FOLDER_MODE = 0o700
FILE_MODE = 0o600
_FAULTS_OF_HOST = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.ENXIO, errno.ENODEV}
    | {errno.ESTALE, errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM}
)


def make_private_folder(folder: Path) -> None:
    """Make `folder` and its missing parents, for its owner alone. Raises DataError if that fails."""
    try:
        # The longest path is looked up first: one that is too long makes nothing.
        for missing in reversed([one for one in (folder, *folder.parents) if not one.exists()]):
            missing.mkdir(mode=FOLDER_MODE, exist_ok=True)
        if not folder.is_dir():
            raise NotADirectoryError(0, "a file stands there", str(folder))
    except OSError as error:
        raise cannot_write(folder, error) from None


def write_private_file(path: Path, content: bytes) -> None:
    """Write `path` through a temporary file beside it: readers see the old content or the new, never a part.

    Raises DataError if writing fails.
    """
    temporary = ""
    try:
        descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}-")  # mkstemp gives 0600
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise cannot_write(path, error) from None


def sync_folder(folder: Path) -> None:
    """Make the disk keep the names in `folder`: a rename is safe from a power cut only after this."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def is_fault_of_host(error: OSError) -> bool:
    """Whether a disk, its rights, or a limit of the system is to blame, and not the name that was asked for."""
    return error.errno in _FAULTS_OF_HOST


def cannot_read(path: Path | str, error: OSError) -> DataError:
    """The error for a text that cannot be read."""
    kind = HostDataError if is_fault_of_host(error) else DataError
    return kind(f"text: '{path}' cannot be read: {error.strerror}", "Check its rights.")


def cannot_write(path: Path, error: OSError) -> HostDataError:
    """The error for a cache that cannot be written, with the way to another place."""
    return HostDataError(
        f"the cache of tokens cannot be written at '{path}': {error.strerror or error}",
        "Free some space or mend the rights there, or name another folder: export HLBQ_CACHE=/path/to/folder.",
    )
