"""Whether the jobs of a cluster can reach a database, and how they are told of it without its password."""

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.errors import UsageError
from orchestrator.store import StoreLocation


@dataclass(frozen=True, kw_only=True)
class DatabaseForJobs:
    """A database as jobs are told of it: a name without secrets, which may stand in files, and the secrets, which
    go by the environment alone."""

    name: str
    secrets: Mapping[str, str]


def check_shared(location: StoreLocation) -> None:
    """Raise UsageError for an SQLite file: several machines cannot share one."""
    if location.path is not None:
        raise UsageError(
            f"'{location.display}' is an SQLite file, which the nodes of a cluster cannot share",
            "Use PostgreSQL (`hlbq db copy` moves what you have): --db postgresql://USER@HOST/NAME",
        )


def names_this_machine(host: str | None) -> bool:
    """Whether a URL's `host` means another machine on each node: the loopback, a socket's path, or none."""
    if not host or host.startswith("/") or host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_this_machine_alone(location: StoreLocation) -> bool:
    """Whether the name of the database's host means another machine on each node."""
    return location.path is None and names_this_machine(host_of(location))


def host_of(location: StoreLocation) -> str | None:
    """The host of a server's URL, which may stand in its query too; of several the first."""
    given = location.url.host or location.url.query.get("host")
    return given if isinstance(given, str) or given is None else given[0]


def database_for_jobs(location: StoreLocation) -> DatabaseForJobs:
    """The database's name for jobs. Raises UsageError for a secret that can't be kept out of it."""
    if location.path is not None:
        return DatabaseForJobs(name=str(location.path), secrets={})
    url = location.url
    if "sslpassword" in url.query:
        raise UsageError(
            "the database's URL holds an sslpassword, which would stand in the job's files",
            "Use a client key without a password, readable by you alone.",
        )
    password = url.password or url.query.get("password")
    # namedtuple's own method: URL.set takes a password of None for one that stays.
    bare = url._replace(drivername="postgresql", password=None).difference_update_query(["password"])
    return DatabaseForJobs(
        name=bare.render_as_string(hide_password=False), secrets={"PGPASSWORD": str(password)} if password else {}
    )
