"""Who the dashboard answers: Host, Origin and token on every method, before anything is looked up."""

import pytest

from orchestrator.dashboard.serving.security import CONTENT_POLICY, Access
from orchestrator.loopback import is_loopback

TOKEN = "secret-token"
GOOD = {"host": "127.0.0.1:8765", "authorization": f"Bearer {TOKEN}"}
LOCAL = Access(token=TOKEN)


def status(access: Access, method: str, path: str, **headers: str) -> int:
    """The status of a refusal; 0 for a request that may go on."""
    refused = access.refusal(method, path, {name.replace("_", "-"): value for name, value in headers.items()})
    return refused[0] if refused else 0


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765", "localhost:9000", "[::1]:8765", "LOCALHOST"])
def test_loopback_names_are_known_at_any_port(host: str) -> None:
    assert status(LOCAL, "GET", "/", host=host) == 0


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8765", "127.0.0.1.evil.example", "", "10.0.0.7", "localhost@evil.example"]
)
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS", "DELETE"])
def test_another_name_is_refused_on_every_method(host: str, method: str) -> None:
    assert status(LOCAL, method, "/api/overview", **{**GOOD, "host": host}) == 421


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "http://localhost:8765", "https://127.0.0.1", ""]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_another_origin_is_refused_on_every_method(origin: str, method: str) -> None:
    assert status(LOCAL, method, "/api/overview", **GOOD, origin=origin) == 403


def test_the_same_origin_with_the_token_comes_in() -> None:
    own = {**GOOD, "origin": "http://127.0.0.1:8765", "sec_fetch_site": "same-origin"}
    assert status(LOCAL, "GET", "/api/overview", **own) == 0
    assert status(LOCAL, "POST", "/api/control", **own) == 0


def test_a_change_needs_an_origin() -> None:
    assert status(LOCAL, "POST", "/api/control", **GOOD) == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_a_browser_calls_another_site_is_refused(site: str) -> None:
    assert status(LOCAL, "GET", "/api/overview", **GOOD, sec_fetch_site=site) == 403


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", TOKEN, "Bearer ünknown"])
def test_without_the_token_no_data_comes(given: str) -> None:
    assert status(LOCAL, "GET", "/api/overview", **{**GOOD, "authorization": given}) == 401
    assert status(LOCAL, "GET", "/", **{**GOOD, "authorization": given}) == 0  # the page itself holds no data


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE"])
def test_other_methods_are_refused(method: str) -> None:
    assert status(LOCAL, method, "/api/overview", **GOOD) == 405


def test_an_open_server_knows_addresses_and_names_that_it_was_told() -> None:
    wide = Access(token=TOKEN, host="0.0.0.0", names=("gpu7.lab",))
    assert status(wide, "GET", "/", host="192.0.2.7:8765") == 0  # an address can't be rebound
    assert status(wide, "GET", "/", host="gpu7.lab:8765") == 0
    assert status(wide, "GET", "/", host="evil.example:8765") == 421
    assert not wide.is_local and LOCAL.is_local


def test_which_addresses_are_this_machine_alone() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.9.9.9", "::1", "[::1]", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "192.0.2.7", "localhost.evil.example", ""))


def test_the_policy_allows_nothing_inline_and_nothing_from_elsewhere() -> None:
    assert "unsafe" not in CONTENT_POLICY and "http" not in CONTENT_POLICY and "*" not in CONTENT_POLICY
    assert CONTENT_POLICY.startswith("default-src 'none'")


def test_the_token_is_in_no_representation() -> None:
    assert TOKEN not in repr(LOCAL)
