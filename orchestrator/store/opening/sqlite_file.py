"""SQLite's file: whether there is one, and refusing places that cannot hold it."""

import os
import re
import shlex
import stat
from pathlib import Path

from orchestrator.errors import DatabaseCorruptError, DatabaseError, DatabaseMissingError
from orchestrator.store.opening.location import DEFAULT_FILE, NAME_A_FILE
from orchestrator.wording.commands import database_option

SQLITE_HEADER = b"SQLite format 3\x00"

# Their locks or shared memory do not hold between hosts, which WAL needs. 9p and virtiofs are left out on
# purpose: they join one host to its own guests (WSL, gVisor), and SQLite itself says when they cannot map.
NETWORK_FILE_SYSTEMS = frozenset(
    (
        "nfs nfs3 nfs4 cifs smb smb2 smb3 smbfs lustre gpfs beegfs glusterfs ceph afs orangefs pvfs2 panfs davfs "
        "fuse.sshfs fuse.glusterfs fuse.ceph fuse.ceph-fuse fuse.beegfs fuse.s3fs fuse.gcsfuse fuse.rclone "
        "fuse.juicefs fuse.davfs2 fuse.mfs fuse.moosefs"
    ).split()
)


def file_identity(path: Path | None) -> tuple[int, int] | None:
    """What tells a database's file from another of the same name; None for a server's, and where there is no file."""
    if path is None:
        return None
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def check_file(path: Path, *, display: str, may_create: bool, writes: bool) -> bool:
    """Whether the file at `path` exists as an SQLite database; nothing is written.

    Raises DatabaseError for a folder, a missing parent folder, a network file system, or (where `writes`) a
    read-only file; DatabaseMissingError where there is none and `may_create` is False; DatabaseCorruptError
    for a file that is no SQLite database.
    """
    is_there = _is_a_file(path, display)
    if not path.parent.is_dir():
        hint = f"mkdir -p {shlex.quote(str(path.parent))}"
        raise DatabaseError(f"the folder '{path.parent}' of '{display}' does not exist", hint)
    kind = network_file_system(path)
    if kind:
        raise DatabaseError(
            f"the database '{display}' is on a network file system ({kind}), where SQLite may lose data",
            "Put it on a local disk with --db PATH, or use PostgreSQL: --db postgresql://USER@HOST/NAME",
        )
    if not is_there:
        if may_create:
            _check_folder_is_writable(path, display)
            return False
        raise _missing(display)
    if writes:
        if not _may_be_written(path, os.W_OK):
            hint = f"chmod u+w {shlex.quote(str(path))}, or name another with --db."
            raise DatabaseError(f"the database '{display}' is read-only", hint)
        _check_folder_is_writable(path, display)
    return _has_content(path, display=display, may_create=may_create)


def make_file(path: Path) -> None:
    """An empty file that others cannot read; SQLite gives its log the same rights."""
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))


def _is_a_file(path: Path, display: str) -> bool:
    """Whether there is a file at `path`. Raises DatabaseError for what is there and is no file, and for odd names."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:  # a ring of links, a name that is too long, a folder that may not be entered
        raise DatabaseError(f"the database '{display}' cannot be opened: {error.strerror}", NAME_A_FILE) from None
    if stat.S_ISDIR(mode):
        inside = database_option(str(path / DEFAULT_FILE))
        raise DatabaseError(f"the database '{display}' is a folder", f"Name a file:{inside}")
    if not stat.S_ISREG(mode):  # reading a pipe or a device could wait for ever
        raise DatabaseError(f"the database '{display}' is not a file but a device, a pipe or a socket", NAME_A_FILE)
    return True


def _has_content(path: Path, *, display: str, may_create: bool) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(len(SQLITE_HEADER))
    except OSError as error:
        hint = f"ls -l {shlex.quote(str(path))}"
        raise DatabaseError(f"the database '{display}' cannot be read: {error.strerror}", hint) from None
    if not head:  # an empty file is how SQLite leaves a database that was never written
        if may_create:
            return False
        raise _missing(display)
    if head != SQLITE_HEADER:
        raise DatabaseCorruptError(
            f"'{display}' is not a database: the file does not begin as SQLite's do",
            "Name another file with --db PATH. This one was left as it was.",
        )
    return True


def _missing(display: str) -> DatabaseMissingError:
    return DatabaseMissingError(
        f"there is no database at '{display}'", "`hlbq submit` makes one; --db PATH or $HLBQ_DB names another."
    )


def is_writable(path: Path) -> bool:
    """Whether SQLite can write the file, and its log beside it."""
    return _may_be_written(path, os.W_OK) and _may_be_written(path.parent, os.W_OK | os.X_OK)


def _may_be_written(path: Path, rights: int) -> bool:
    # The mode bits count for root too: whoever took them away meant it.
    return bool(path.stat().st_mode & 0o222) and os.access(path, rights)


def _check_folder_is_writable(path: Path, display: str) -> None:
    folder = path.parent
    if not _may_be_written(folder, os.W_OK | os.X_OK):
        raise DatabaseError(
            f"the folder '{folder}' of the database '{display}' is read-only",
            f"chmod u+w {shlex.quote(str(folder))}, or name a file elsewhere with --db: SQLite keeps its log beside "
            "the file.",
        )


def network_file_system(path: Path, mountinfo: str | None = None) -> str:
    """The network file system that `path` lies on; empty for a local one, or where it cannot be told.

    `mountinfo` is the text of /proc/self/mountinfo.
    """
    if mountinfo is None:
        try:
            mountinfo = Path("/proc/self/mountinfo").read_text(errors="replace")
        except OSError:
            return ""
    real = Path(os.path.realpath(path))  # a ring of links is no error here
    kind, longest = "", -1
    for line in mountinfo.splitlines():
        fields, _, rest = line.partition(" - ")
        mount_point = Path(re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), fields.split()[4]))
        # A later mount on the same point hides the earlier one, hence >=.
        if real.is_relative_to(mount_point) and len(str(mount_point)) >= longest:
            kind, longest = rest.split()[0], len(str(mount_point))
    return kind if kind in NETWORK_FILE_SYSTEMS else ""
