"""Where a database is: reading `--db`, and refusing places that cannot hold one."""

import os
import re
import shlex
import stat
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from orchestrator.errors import DatabaseCorruptError, DatabaseError, DatabaseMissingError, UsageError
from orchestrator.files.given_path import expanded

DEFAULT_FILE = "hlbq.db"
_NAME_A_FILE = "Name a file with --db PATH."
_WRITE_A_URL = "Write it as postgresql://USER@HOST:PORT/NAME."
_CONNECTION_STRING = re.compile(r"\s*(host|hostaddr|port|dbname|user|password|passfile|service|sslmode)\s*=")
_SECRET_QUERIES = ("password", "sslpassword")
_AT_IN_PASSWORD = re.compile(r"[^:]+://[^:/@?#]*:[^@]*@.*@", re.DOTALL)
SQLITE_HEADER = b"SQLite format 3\x00"

# Their locks or shared memory do not hold between hosts, which WAL needs. 9p and virtiofs are left out on
# purpose: they join one host to its own guests (WSL, gVisor), and SQLite itself says when they cannot map.
NETWORK_FILE_SYSTEMS = frozenset(
    [
        "nfs",
        "nfs3",
        "nfs4",
        "cifs",
        "smb",
        "smb2",
        "smb3",
        "smbfs",
        "lustre",
        "gpfs",
        "beegfs",
        "glusterfs",
        "ceph",
        "afs",
        "orangefs",
        "pvfs2",
        "panfs",
        "davfs",
        "fuse.sshfs",
        "fuse.glusterfs",
        "fuse.ceph",
        "fuse.ceph-fuse",
        "fuse.beegfs",
        "fuse.s3fs",
        "fuse.gcsfuse",
        "fuse.rclone",
        "fuse.juicefs",
        "fuse.davfs2",
        "fuse.mfs",
        "fuse.moosefs",
    ]
)


@dataclass(frozen=True, kw_only=True)
class StoreLocation:
    """A database's place. `display` names it for people and never holds a password.

    `path` is SQLite's file itself, whatever links lead there; `names` are that path and, where it differs, the one
    that was given. `option` is what a command needs to find it again: ` --db PLACE`, or nothing where none was given.
    """

    dialect: str
    path: Path | None
    names: tuple[Path, ...] = ()
    option: str = ""
    display: str
    url: URL = field(repr=False)

    @property
    def private(self) -> str:
        """The place as a child process takes it in $HLBQ_DB: with its password, so never on a command line, which
        everyone can read."""
        return str(self.path) if self.path is not None else self.url.render_as_string(hide_password=False)

    @property
    def public(self) -> str:
        """The place as a `--db` that works in any folder, without its passwords."""
        return self.display if self.path is None else str(self.path)


def parse_location(location: str | None) -> StoreLocation:
    """Read a path, `sqlite:///PATH` or `postgresql://...`; None is $HLBQ_DB, else hlbq.db here.

    Raises DatabaseError for any other URL.
    """
    found = _parsed(location)
    return replace(found, option=f" --db {shlex.quote(found.display)}") if location else found


def _parsed(location: str | None) -> StoreLocation:
    text = location or os.environ.get("HLBQ_DB") or DEFAULT_FILE
    if "\x00" in text:
        raise DatabaseError("the database's name holds a zero byte", _NAME_A_FILE)
    scheme, found, rest = text.partition("://")
    scheme = scheme.lower()
    if not found or not re.fullmatch(r"[a-z][a-z0-9+]*", scheme):
        if _CONNECTION_STRING.match(text) and not os.path.lexists(text):
            raise DatabaseError("the database is given as a connection string of libpq", _WRITE_A_URL)  # not repeated
        if re.match(r"postgres(ql)?(\+\w+)?:", text, re.IGNORECASE):  # a slash is missing: no file has such a name
            raise _unreadable_url()
        return _file_location(Path(text))
    if scheme.partition("+")[0] == "sqlite":
        if not rest.startswith("/") or rest == "/":
            raise DatabaseError(f"'{text}' names no file", "Use sqlite:///PATH, or the path alone.")
        return _file_location(Path(rest[1:]))
    if scheme in ("postgresql", "postgres", "postgresql+psycopg"):
        return _server_location(text)
    raise DatabaseError(
        f"the database '{scheme}://...' is of a kind that hlbq does not know",
        "Use a path, sqlite:///PATH, or postgresql://USER@HOST/NAME.",
    )


def _file_location(path: Path) -> StoreLocation:
    try:
        given = Path(os.path.abspath(expanded(path)))  # noqa: PTH100 (no symlink is followed)
    except UsageError as error:
        raise DatabaseError(error.message, "Write the path in full: --db PATH.") from None
    file = Path(os.path.realpath(given))  # one that is no database is refused once it is opened, not here
    url = URL.create("sqlite", database=str(file))
    return StoreLocation(
        dialect="sqlite", path=file, names=tuple(dict.fromkeys((file, given))), display=str(path), url=url
    )


def _server_location(text: str) -> StoreLocation:
    if _AT_IN_PASSWORD.match(text):
        # It would be read as part of the host's name, which is told when nothing answers there.
        raise DatabaseError(
            "the password in the PostgreSQL URL holds an @, or something after it does", "Write %40 for each such @."
        )
    try:
        url = make_url(text).set(drivername="postgresql+psycopg")
    except (ArgumentError, ValueError):
        raise _unreadable_url() from None
    return StoreLocation(dialect="postgresql", path=None, display=_without_password(url), url=url)


def _unreadable_url() -> DatabaseError:
    # The URL is left out: it may hold a password.
    return DatabaseError("the PostgreSQL URL cannot be read", _WRITE_A_URL)


def _without_password(url: URL) -> str:
    """The URL with all its options but the secret ones: whoever copies it connects as safely."""
    # Not url.set(password=None): that leaves it as it is.
    query = {name: value for name, value in url.query.items() if name not in _SECRET_QUERIES}
    place = {"username": url.username, "host": url.host, "port": url.port, "database": url.database}
    return URL.create("postgresql", **place, query=query).render_as_string()  # type: ignore[arg-type]


def without_secrets(message: str, location: StoreLocation) -> str:
    """`message` with the URL's passwords blotted out, should a driver repeat them."""
    query = location.url.query
    secrets = [location.url.password, *(query.get(name) for name in (*_SECRET_QUERIES, "passfile"))]
    for secret in secrets:
        if isinstance(secret, str) and secret:
            # As a word of its own: a password of one letter must not take that letter out of every word.
            message = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", message)
    return message


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
        raise DatabaseError(f"the folder '{path.parent}' of '{display}' does not exist", f"mkdir -p {path.parent}")
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
        _check_file_is_writable(path, display)
    return _has_content(path, display=display, may_create=may_create)


def _is_a_file(path: Path, display: str) -> bool:
    """Whether there is a file at `path`. Raises DatabaseError for what is there and is no file, and for odd names."""
    try:
        mode = path.stat().st_mode
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:  # a ring of links, a name that is too long, a folder that may not be entered
        raise DatabaseError(f"the database '{display}' cannot be opened: {error.strerror}", _NAME_A_FILE) from None
    if stat.S_ISDIR(mode):
        raise DatabaseError(f"the database '{display}' is a folder", f"Name a file: --db {path / DEFAULT_FILE}")
    if not stat.S_ISREG(mode):  # reading a pipe or a device could wait for ever
        raise DatabaseError(f"the database '{display}' is no file but a device, a pipe or a socket", _NAME_A_FILE)
    return True


def _has_content(path: Path, *, display: str, may_create: bool) -> bool:
    try:
        with path.open("rb") as file:
            head = file.read(len(SQLITE_HEADER))
    except OSError as error:
        raise DatabaseError(f"the database '{display}' cannot be read: {error.strerror}", f"ls -l {path}") from None
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


def _check_file_is_writable(path: Path, display: str) -> None:
    if not _may_be_written(path, os.W_OK):
        raise DatabaseError(f"the database '{display}' is read-only", f"chmod u+w {path}, or name another with --db.")
    _check_folder_is_writable(path, display)


def _check_folder_is_writable(path: Path, display: str) -> None:
    folder = path.parent
    if not _may_be_written(folder, os.W_OK | os.X_OK):
        raise DatabaseError(
            f"the folder '{folder}' of the database '{display}' is read-only",
            f"chmod u+w {folder}, or name a file elsewhere with --db: SQLite keeps its log beside the file.",
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
