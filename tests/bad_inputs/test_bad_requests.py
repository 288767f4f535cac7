"""The dashboard's addresses with bad values: refused in words, never a failure of the server, and nothing changes."""

import random
from typing import Any
from urllib.parse import quote

from orchestrator.store import Store
from tests.bad_inputs.values import NUMBERS, TEXTS
from tests.dashboard_client import ARMS, HOST, Client, client
from tests.sample_sweep import register, sample_points, submit_sweep, work

__all__ = ["client"]
PATHS = ("sweeps/{}", "sweeps/{}/curves", "sweeps/{}/seeds", "sweeps/{}/finals", "sweeps/{}/comparison", "runs/{}")
PATHS += ("runs/{}/curves", "runs/{}/log", "overview", "workers", "about")
NAMES = ("metric", "x", "since", "arms", "baseline", "attempt", "browser", "epoch")
ACTIONS = ("cancel", "retry", "pause", "unpause", "priority", "delete", "", None, 1, [], {})


def test_bad_requests_are_refused_in_words(client: Client, store: Store) -> None:
    submit_sweep(store, ARMS, name="\x1b[31mred\x07")
    work(store, register(store), sample_points())
    source = random.Random(11)
    for _ in range(60):
        path = source.choice(PATHS).format(quote(source.choice(("1", "1", *NUMBERS[:20]))))
        value = source.choice((*NUMBERS, *TEXTS)).encode("utf-8", "backslashreplace")
        answer = client.http.get(f"/api/{path}?{source.choice(NAMES)}={quote(value[:2_000])}", headers=client.headers)
        assert answer.status_code < 500, (path, value, answer.text)
        assert answer.status_code == 200 or answer.json()["error"], (path, value)


def test_bad_changes_change_nothing(client: Client, store: Store) -> None:
    submit_sweep(store, ARMS)
    source = random.Random(12)
    numbers: list[Any] = [0, -1, 2**63, 2**64, 1.5, True, None, "1", [], {}, "\x00", 10**400]
    headers = {**client.headers, "origin": f"http://{HOST}"}
    for _ in range(50):
        body = {"action": source.choice(ACTIONS), source.choice(("sweeps", "runs")): [source.choice(numbers)]}
        body["priority"] = source.choice(numbers)
        asked = source.choice((body, body, body, [body], None, "x", 1))
        answer = client.http.post("/api/control", headers=headers, json=asked)
        assert answer.status_code in (400, 415) and answer.json()["error"], (asked, answer.text)
    assert not store.events(actor="ada", limit=1)
