"""Whether the jobs of a cluster can reach a database, and how to name it to them without its password."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.errors import UsageError
from orchestrator.store import StoreLocation


@dataclass(frozen=True, kw_only=True)
class DatabaseForJobs:
    """A database for jobs: its name without secrets, which may be written to files, and the secrets, which are passed
    only through the environment."""

    name: str
    secrets: Mapping[str, str]


def check_shared(location: StoreLocation) -> None:
    """Raise UsageError for an SQLite file: several machines cannot share it."""
    if location.path is not None:
        raise UsageError(
            f"'{location.display}' is an SQLite file, which the nodes of a cluster cannot share",
            "Use PostgreSQL (`hlbq db copy` copies your data): --db postgresql://USER@HOST/NAME",
        )


def names_this_machine(host: str | None) -> bool:
    """Whether a URL's `host` means a different machine on each node: the loopback, a socket's path, or none."""
    if not host or host.startswith("/") or host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_this_machine_alone(location: StoreLocation) -> bool:
    """Whether the database's host name means a different machine on each node."""
    return location.path is None and names_this_machine(host_of(location))


def host_of(location: StoreLocation) -> str | None:
    """The host of a server's URL (it may be in the query); the first of several."""
    given = location.url.host or location.url.query.get("host")
    return given if isinstance(given, str) or given is None else given[0]


def database_for_jobs(location: StoreLocation) -> DatabaseForJobs:
    """A server's name for jobs. Raises UsageError for a secret that cannot be passed on apart from it."""
    url = location.url
    if "sslpassword" in url.query:
        raise UsageError(
            "the database's URL holds an sslpassword, which would be written to the job's files",
            "Use a client key without a password, readable by you alone.",
        )
    password = url.password or url.query.get("password")
    return DatabaseForJobs(name=location.display, secrets={"PGPASSWORD": str(password)} if password else {})
