"""Where a database is: reading `--db`. sqlite_file.py refuses places that cannot hold one."""

import os
import re
from dataclasses import dataclass, field, replace
from pathlib import Path

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from orchestrator.errors import DatabaseError, UsageError
from orchestrator.files.given_path import expanded
from orchestrator.wording.commands import database_option

DEFAULT_FILE = "hlbq.db"
NAME_A_FILE = "Name a file with --db PATH."
_WRITE_A_URL = "Write it as postgresql://USER@HOST:PORT/NAME."
_CONNECTION_STRING = re.compile(r"\s*(host|hostaddr|port|dbname|user|password|passfile|service|sslmode)\s*=")
_SECRET_QUERIES = ("password", "sslpassword")
_AT_IN_PASSWORD = re.compile(r"[^:]+://[^:/@?#]*:[^@]*@.*@", re.DOTALL)


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
    return replace(found, option=database_option(found.display)) if location else found


def _parsed(location: str | None) -> StoreLocation:
    text = os.fspath(location or os.environ.get("HLBQ_DB") or DEFAULT_FILE)  # from Python, a Path too
    if "\x00" in text:
        raise DatabaseError("the database's name holds a zero byte", NAME_A_FILE)
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
