"""Whether the jobs of a cluster can reach a database, and how to name it to them without its password."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from orchestrator.errors import UsageError
from orchestrator.loopback import is_loopback

if TYPE_CHECKING:
    from orchestrator.store import StoreLocation


def check_shared(location: "StoreLocation") -> None:
    """Raise UsageError for an SQLite file: several machines cannot share it."""
    if location.path is not None:
        raise UsageError(
            f"'{location.display}' is an SQLite file, which the nodes of a cluster cannot share",
            "Use PostgreSQL (`hlbq db copy` copies your data): --db postgresql://USER@HOST/NAME",
        )


def warning_if_not_shared(location: "StoreLocation") -> str:
    """What to tell people of a host name that means a different machine on each node (the loopback, a socket's path,
    or none); empty for others."""
    # It may be in the query, and there may be several: the first counts.
    given = location.url.host or location.url.query.get("host") or ""
    host = given if isinstance(given, str) else given[0]
    if location.path is None and (not host or host.startswith("/") or is_loopback(host.lower())):
        return f"{location.display} means a different machine on each node; use a host name that all nodes can reach"
    return ""


def secrets_of(location: "StoreLocation") -> Mapping[str, str]:
    """The secrets of a server's URL, which jobs get only through their environment: `location.display` may be written
    to files. Raises UsageError for one that cannot be passed on in that way."""
    url = location.url
    if "sslpassword" in url.query:
        raise UsageError(
            "the database's URL holds an sslpassword, which would be written to the job's files",
            "Use a client key without a password, readable by you alone.",
        )
    password = url.password or url.query.get("password")
    return {"PGPASSWORD": str(password)} if password else {}
