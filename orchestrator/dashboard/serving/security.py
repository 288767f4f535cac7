"""Which requests are answered: checks before anything is read, and headers on every answer.

Three checks keep strangers out, each against one kind of attack:

- Host: a page of another site whose name points to this machine (DNS rebinding) sends its own name here.
- Origin and Sec-Fetch-Site: a page of another origin that sends requests here says so; its browser does not lie.
- The token, in a header: other programs and people on this machine do not know it. A cookie would be sent to every
  port of this host's name, so to other people's servers on the same machine too; the browser keeps the token in the
  storage of this origin instead, port included, and pages of other origins can't set the header.
"""

import hmac
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orchestrator.loopback import is_loopback

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})
# Everything comes from this server, scripts and styles as files: markup that slipped through in a name does nothing.
CONTENT_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'"
)
HEADERS: Mapping[str, str] = {
    "content-security-policy": CONTENT_POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
}
# Sent twice they would be ambiguous.
_CHECKED_HEADERS = ("host", "origin", "authorization", "sec-fetch-site")
READING_METHODS = ("GET", "HEAD")
LONGEST_PATH = 1_000


@dataclass(frozen=True, kw_only=True)
class Access:
    """What is allowed in. `host` is the bound address; `names` are more names of this server."""

    token: str = field(repr=False)
    host: str = "127.0.0.1"
    names: tuple[str, ...] = ()

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect."""
        return is_loopback(self.host)

    def knows_host(self, host: str) -> bool:
        """Whether a Host header names this server. Ports are not compared: a tunnel may end at another one."""
        name = host_name(host)
        if name is None:
            return False
        if name in LOOPBACK_NAMES or name in self.names or name == self.host:
            return True
        if self.is_local:
            return False
        # DNS rebinding needs a name; an address has none.
        return name == socket.gethostname().lower() or name == socket.getfqdn().lower() or _is_address(name)

    def refusal(self, method: str, path: str, headers: Mapping[str, str]) -> tuple[int, str] | None:
        """The status and the message of a refusal; None for a request that is allowed."""
        host = headers.get("host", "")
        if not self.knows_host(host):
            return 421, "this server does not know that name; add it with --allow_host"
        origin = headers.get("origin")
        if origin is not None and not same_origin(origin, host):
            return 403, "requests of other origins are refused"
        if headers.get("sec-fetch-site", "none") not in ("same-origin", "none") and path.startswith("/api/"):
            return 403, "requests of other sites are refused"
        if len(path) > LONGEST_PATH:
            return 404, "there is no such page"
        if method not in (*READING_METHODS, "POST"):
            return 405, f"{method} is not allowed here"
        if method == "POST" and origin is None:
            return 403, "a change must come from a page of this server"
        given = headers.get("authorization", "").encode()
        if path.startswith("/api/") and not hmac.compare_digest(given, f"Bearer {self.token}".encode()):
            return 401, "the token is missing or wrong: open the link that `hlbq dashboard` printed"
        return None


def host_name(host: str) -> str | None:
    """The name in a Host header, without the port; None if it cannot be read."""
    try:
        parts = urlsplit(f"//{host}")
        _ = parts.port  # raises if it is not a port
    except ValueError:
        return None
    if not parts.hostname or parts.username is not None or parts.path or parts.query or parts.fragment:
        return None
    return parts.hostname.lower()


def same_origin(origin: str, host: str) -> bool:
    """Whether an Origin header names the server that the Host header names."""
    scheme, _, rest = origin.partition("://")
    return scheme in ("http", "https") and rest.lower() == host.lower()


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """Lets through what `access` allows, and adds HEADERS to every answer."""

    def __init__(self, app: ASGIApp, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":
            return  # a websocket is not accepted: the server closes it
        headers, guarded = Headers(scope=scope), _with_headers(send, cached=scope["path"].startswith("/static/"))
        if any(len(headers.getlist(name)) > 1 for name in _CHECKED_HEADERS):
            refused: tuple[int, str] | None = (400, "a header was sent twice")
        else:
            refused = self._access.refusal(scope["method"], scope["path"], headers)
        if refused is None:
            await self._app(scope, receive, guarded)
        else:
            status, words = refused
            await JSONResponse({"error": words}, status)(scope, receive, guarded)


def _with_headers(send: Send, *, cached: bool) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(HEADERS)
            headers["cache-control"] = "no-cache" if cached else "no-store"
        await send(message)

    return sending
