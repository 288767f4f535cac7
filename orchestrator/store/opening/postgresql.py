"""PostgreSQL: the engine, the options of its URL, and the server's refusals in plain words."""

import difflib
import re
from typing import Any

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.pool import QueuePool

from orchestrator.errors import DatabaseBusyError, DatabaseError
from orchestrator.store.opening.location import StoreLocation, without_secrets

# With the start of the program, a server that does not answer is given up within 10 s.
CONNECT_TIMEOUT_SECONDS = 8

# One connection serves a store; a second is made only when a second thread asks at the same time.
POOL: dict[str, Any] = {"poolclass": QueuePool, "pool_size": 1, "max_overflow": 7}

_OPTIONS_HINT = "Options are those of libpq, as in postgresql://USER@HOST/NAME?sslmode=require&connect_timeout=5"


def postgresql_engine(location: StoreLocation, busy_timeout_seconds: float, *, read_only: bool) -> Engine:
    """An engine for the server at `location`. Nothing is opened yet.

    Raises DatabaseError without psycopg, and for an option of the URL that libpq does not know.
    """
    try:
        import psycopg  # noqa: F401
    except ImportError:
        raise DatabaseError(
            "PostgreSQL needs psycopg, which is not installed", "pip install 'hlbq[postgresql]'"
        ) from None
    _check_options(location)
    patience = max(1, round(busy_timeout_seconds))
    options = {
        "connect_timeout": max(2, min(CONNECT_TIMEOUT_SECONDS, patience)),
        "application_name": "hlbq",
        # A cut cable says nothing: give up on unanswered data after the same time as on a lock, and ask a silent
        # server for a sign of life.
        "keepalives_idle": patience,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 1000 * patience,
    }
    given = {name: value for name, value in options.items() if name not in location.url.query}
    url = location.url.difference_update_query(["prepare_threshold"])
    # The look-up of a type that we do not use would be four more round trips of every command.
    engine = create_engine(
        url, connect_args=given | _statements(location), pool_pre_ping=True, use_native_hstore=False, **POOL
    )
    limits = _session_limits(busy_timeout_seconds, patience, read_only=read_only)

    @event.listens_for(engine, "connect")
    def limit_waits(connection: Any, _record: Any) -> None:
        connection.autocommit = True  # one round trip, not three
        with connection.cursor() as cursor:
            cursor.execute(limits)
        connection.autocommit = False

    return engine


def _check_options(location: StoreLocation) -> None:
    """Raise DatabaseError for an option of the URL that libpq does not know, or that is given twice."""
    from psycopg.pq import Conninfo

    known = {option.keyword.decode() for option in Conninfo.get_defaults()} | {"prepare_threshold"}
    for name, value in location.url.query.items():
        if not isinstance(value, str) and name != "host":  # several hosts are tried in turn
            raise DatabaseError(f"the option '{name}' occurs {len(value)} times in the PostgreSQL URL", "Keep one.")
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            hint = f"Did you mean '{near[0]}'? " if near else ""
            raise DatabaseError(f"the PostgreSQL URL has an unknown option '{name}'", hint + _OPTIONS_HINT)


def _session_limits(busy_timeout_seconds: float, patience: int, *, read_only: bool) -> str:
    """What the server is told of a session: how long it waits, and when it takes its client for gone.

    A worker that is stopped or cut off inside a transaction holds row locks, and others wait for them: the server ends
    the transaction before the worker's lease is over.
    """
    settings = {
        "lock_timeout": round(1000 * busy_timeout_seconds),
        "idle_in_transaction_session_timeout": 2000 * patience,
        "tcp_keepalives_idle": patience,
        "tcp_keepalives_interval": 5,
        "tcp_keepalives_count": 3,
        "tcp_user_timeout": 2000 * patience,
        "default_transaction_read_only": "on" if read_only else "off",
    }
    return "; ".join(f"SET {name} = {value}" for name, value in settings.items())


def _statements(location: StoreLocation) -> dict[str, int | None]:
    """When psycopg has the server prepare a statement, where the URL says: `?prepare_threshold=none` for never.

    Behind a pooler of transactions (PgBouncer before 1.21) the next transaction meets another server.
    """
    given = location.url.query.get("prepare_threshold")
    if given is None:
        return {}
    if given == "none":
        return {"prepare_threshold": None}
    if isinstance(given, str) and given.isdecimal():
        return {"prepare_threshold": int(given)}
    raise DatabaseError(
        f"prepare_threshold={given} in the database's URL is neither a number nor none", "Use ?prepare_threshold=none."
    )


# PostgreSQL's SQLSTATE classes and codes (Appendix A of its manual) after which trying again may help:
# connection, resources, operator intervention, the server's disk, lock not available, serialization, deadlock, idle
# transaction.
_BUSY_STATES = ("08", "53", "57", "58", "55P03", "40001", "40P01", "25P03")
_REFUSED_STATES = ("28", "3D", "3F", "25006")
_NO_RIGHT = "42501"
# A number that is out of range, and a text that is not UTF-8 or has a zero byte.
_UNFIT = ("22003", "22021")

_WRONG_OPTION = re.compile(r"invalid .*(value|port number)|could not parse network address|definition of service")
# A refused connection has no SQLSTATE, only the server's words. What is not listed as final may pass: a server that
# starts, stops or recovers says so in many ways.
_LIMIT_REACHED = re.compile(r"too many connections for|slots are reserved|too many clients")
_FINAL_REFUSALS = (
    (r"pg_hba\.conf", "The server's administrator adds a line to pg_hba.conf for this user, database and address."),
    (r"no password", "Give the password in the URL, in $PGPASSWORD or in ~/.pgpass."),
    (r"authentication failed", "Check the password: in the URL, in $PGPASSWORD or in ~/.pgpass."),
    (r'database ".*" does not exist', "Make the database (createdb NAME), or check its name."),
    (r"no schema has been selected", "Make the schema that search_path names (CREATE SCHEMA NAME), or check the name."),
    (r'role ".*" does not exist', "Make the role (createuser NAME), or check the user in the URL."),
    (r"not permitted to log in|permission denied for database", "Its administrator grants LOGIN, or CONNECT."),
)


def plain_postgresql_error(error: Any, location: StoreLocation, *, dropped: bool) -> DatabaseError | None:
    """The driver's `error` in plain words; None for a fault of the program. `dropped`: the connection is gone."""
    import psycopg

    state = getattr(error, "sqlstate", None) or ""
    words = without_secrets(" ".join(str(error).split()), location)
    if state in _UNFIT or (not state and isinstance(error, psycopg.DataError)):
        return DatabaseError(f"a value does not fit the database: {words}", "Use numbers below 2**63, and UTF-8.")
    if state == _NO_RIGHT:
        hint = "The role lacks a right: GRANT it, or name another user (docs/postgresql.md)."
        return DatabaseError(f"PostgreSQL refused {location.display}: {words}", hint)
    if state.startswith(_REFUSED_STATES):
        way_out = _way_out(words) or "Check the user, the password and the name."
        return DatabaseError(f"PostgreSQL refused {location.display}: {words}", way_out)
    if dropped or state.startswith(_BUSY_STATES):
        return DatabaseBusyError(f"PostgreSQL at {location.display} reported an error: {words}", "Try again.")
    # No SQLSTATE: the connection was never made, or broke.
    if not state and isinstance(error, psycopg.OperationalError):
        return _unconnected(words, location)
    if not state and isinstance(error, psycopg.ProgrammingError) and words.startswith(("invalid", "bad value")):
        return DatabaseError(f"the PostgreSQL URL has an invalid option: {words}", _OPTIONS_HINT)
    return None


def _unconnected(words: str, location: StoreLocation) -> DatabaseError:
    if _WRONG_OPTION.search(words):
        return DatabaseError(f"the PostgreSQL URL has an invalid option: {words}", _OPTIONS_HINT)
    if "certificate" in words or "not support SSL" in words:
        return DatabaseError(
            f"no trusted connection to {location.display}: {words}",
            "Check the host's name, ?sslmode= and ?sslrootcert= in the URL (docs/postgresql.md).",
        )
    way_out = _way_out(words)
    if way_out:
        return DatabaseError(f"PostgreSQL refused {location.display}: {words}", way_out)
    if "FATAL" in words:  # the server is there, and says why not now
        wait = "End some workers, or raise that limit." if _LIMIT_REACHED.search(words) else "Try again."
        return DatabaseBusyError(f"PostgreSQL at {location.display} accepts no connection: {words}", wait)
    said, _, _ = words.partition(" Is the server running")  # libpq asks it once for each address
    hint = "Is the server running? Are the host's name and the port in the URL right? Try again."
    return DatabaseBusyError(f"PostgreSQL at {location.display} cannot be reached: {said}", hint)


def _way_out(words: str) -> str:
    """What to do about a refusal that stays; nothing for one that may pass."""
    return next((way_out for sign, way_out in _FINAL_REFUSALS if re.search(sign, words)), "")
