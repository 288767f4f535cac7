"""Binds, prints the link, and serves until interrupted."""

import contextlib
import errno
import re
import secrets
import socket
import sys
from collections.abc import Sequence

import uvicorn

from orchestrator.dashboard.app import Dashboard
from orchestrator.dashboard.database import Database
from orchestrator.dashboard.serving.patience import PatientProtocol
from orchestrator.dashboard.serving.security import Access, host_name
from orchestrator.dashboard.serving.token_file import kept_token
from orchestrator.dashboard.watching.feed import Feed
from orchestrator.errors import UsageError
from orchestrator.files.state_folder import state_folder

DEFAULT_PORT = 8765
_SHUTDOWN_SECONDS = 2


class _Server(uvicorn.Server):
    """Ends the open streams first: they would delay its end until a time-out."""

    def __init__(self, config: uvicorn.Config, feed: Feed) -> None:
        super().__init__(config)
        self._feed = feed

    async def on_tick(self, counter: int) -> bool:
        """Whether to end: the database can no longer be read, for good."""
        return await super().on_tick(counter) or self._feed.pages.database.unusable is not None

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close everything."""
        self._feed.close()
        await super().shutdown(sockets)


def serve(
    *,
    db: str | None,
    host: str,
    port: int | None,
    allow_host: Sequence[str],
    read_only: bool,
    new_token: bool,
    state_dir: str | None,
    actor: str,
) -> None:
    """Serve until interrupted; the link goes to stdout. A `port` of None is DEFAULT_PORT, or any free one if that is
    taken. Raises DatabaseError and UsageError before that, and DatabaseError once another database took the place of
    this one, or another hlbq changed its schema."""
    if not host.strip("[]"):  # an empty one would mean every address of this machine
        raise UsageError(
            "--host is empty", "Leave it out to serve this machine alone, or name an address: --host 127.0.0.1"
        )
    host, names = host.lower(), tuple(map(known_name, allow_host))
    database = Database(db, read_only=read_only)
    try:
        listening = _bind(host, port)  # first: an address that is refused leaves no token behind
        access = Access(token=_token(database, state_dir, new=new_token), host=host, names=names)
        dashboard = Dashboard(database=database, feed=Feed(database), actor=actor, state_dir=state_dir)
        print(_link(host, listening.getsockname()[1], access.token), flush=True)
        print(advice(access, database.why_read_only), file=sys.stderr, flush=True)
        config = uvicorn.Config(
            dashboard.app(access),
            http=PatientProtocol,
            log_level="warning",
            access_log=False,
            server_header=False,
            ws="none",
            timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        )
        with contextlib.suppress(KeyboardInterrupt):  # uvicorn raises it again after closing everything
            _Server(config, dashboard.feed).run(sockets=[listening])
        if database.unusable is not None:
            raise database.unusable
    finally:
        database.close()


def _token(database: Database, state_dir: str | None, *, new: bool) -> str:
    try:
        folder = state_folder(database.names, state_dir)
    except UsageError:  # PostgreSQL without --state_dir
        return secrets.token_urlsafe(24)
    return kept_token(folder, read_only=bool(database.why_read_only), new=new)


def known_name(text: str) -> str:
    """A name that browsers may call the server by, as in their Host header. Raises UsageError for anything else."""
    name = host_name(text)
    if name is None or re.fullmatch(r"[\w.:-]+", name) is None:
        raise UsageError(f"--allow_host {text} is not a host name", "Give the name alone: --allow_host mybox")
    return name


def _bind(host: str, port: int | None) -> socket.socket:
    """A listening socket. Raises UsageError if the address cannot be used."""
    ports = [DEFAULT_PORT, 0] if port is None else [port]
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for wanted in ports:
        listening = socket.socket(family, socket.SOCK_STREAM)
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((host.strip("[]"), wanted))
            listening.listen()  # listen before printing the link, which may be opened at once
        except (OSError, TypeError, UnicodeError) as error:  # not only OSError: for a host that is no text
            listening.close()
            if not isinstance(error, OSError) or error.errno == errno.EADDRNOTAVAIL or type(error) is socket.gaierror:
                raise UsageError(
                    f"--host {host} is not an address of this machine: {getattr(error, 'strerror', error)}",
                    "Leave it out to serve this machine alone. See the others: ip address",
                ) from None
            if wanted == ports[-1]:
                raise UsageError(
                    f"cannot listen on {host}, port {wanted}: {error.strerror or error}",
                    "Choose another with --port NUMBER, or any free one with --port 0.",
                ) from None
        else:
            return listening
    raise AssertionError("unreachable")


def _link(host: str, port: int, token: str) -> str:
    # In the fragment: browsers send it to no server, so it is in no log and no Referer.
    shown = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(host, host)
    shown = f"[{shown}]" if ":" in shown and not shown.startswith("[") else shown
    return f"http://{shown}:{port}/#token={token}"


def advice(access: Access, why_read_only: str) -> str:
    """What to print with the link."""
    lines = [
        "Open the link in a browser. Anyone who has it can see"
        + (f" everything. Nothing can be changed: {why_read_only}." if why_read_only else " and change everything.")
    ]
    if not access.is_local:
        lines.append(
            f"warning: other machines can reach {access.host}, and nothing is encrypted: anyone who "
            "can read the traffic has the token. Safer: leave --host out and tunnel: ssh -L 8765:localhost:8765 MACHINE"
        )
    lines.append("Ctrl-C ends the dashboard; training goes on.")
    return "\n".join(lines)
