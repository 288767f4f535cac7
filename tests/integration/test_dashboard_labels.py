"""What pages write of names, tags and notes, who may, and what the overview and the devices' charts are made of."""

import math
from typing import Any

import pytest
from starlette.testclient import TestClient

from orchestrator.dashboard.serving.security import Access
from orchestrator.dashboard.watching import overview_watch
from orchestrator.queue.workers import DeviceReading
from orchestrator.store import Store
from tests.conftest import VirtualClock
from tests.dashboard_client import ARMS, HOST, TOKEN, Client, client, dashboard_at, plain
from tests.sample_sweep import register, sample_points, submit_sweep, work

__all__ = ["client", "plain"]  # fixtures

EVIL = "<img src=x onerror=alert(1)>"


def test_a_page_names_tags_and_notes_as_the_commands_do(client: Client, store: Store) -> None:
    submit_sweep(store, ARMS, seeds=[100], name="before")
    client.post("labels", {"sweep": 1, "name": " after ", "note": f"{EVIL}\n2", "add": ["b", "a"]})
    client.post("labels", {"sweep": 1, "remove": ["b"], "add": ["c"]})
    client.post("labels", {"run": 2, "note": "mine", "add": ["good"]})
    sweep, run = store.sweep(1), store.run(2)
    assert sweep and run
    assert (sweep.name, sweep.note, [*sweep.tags]) == ("after", f"{EVIL}\n2", ["a", "c"])
    assert (run.note, [*run.tags]) == ("mine", ["a", "c", "good"])  # its sweep's tags are its too
    page = client.get("runs/2")
    assert (page["tags"], page["sweep_tags"]) == (["a", "c", "good"], ["a", "c"])
    assert [(event.action, event.actor) for event in store.events(run_id=2)] == [("note", "ada"), ("tag", "ada")]
    assert client.get("overview")["sweeps"][0]["note"] == f"{EVIL}\n2"
    client.post("labels", {"sweep": 1, "name": "", "note": ""})
    assert (found := store.sweep(1)) and (found.name, found.note) == ("", "")


@pytest.mark.parametrize(
    "asked",
    [
        [],
        {},
        {"sweep": 1, "run": 1},
        {"sweep": 1, "colour": "red"},
        {"sweep": True, "note": "x"},
        {"sweep": 2**63, "note": "x"},
        {"run": 1, "name": "runs have none"},
        {"sweep": 1, "name": 7},
        {"sweep": 1, "name": "two\nlines"},
        {"sweep": 1, "name": "\x1b[2J"},
        {"sweep": 1, "note": "x" * 10_001},
        {"sweep": 1, "add": "tag"},
        {"sweep": 1, "add": ["=formula"]},
        {"sweep": 1, "add": [1]},
        {"sweep": 1, "add": [f"tag{number}" for number in range(33)]},
        {"sweep": 1, "name": "kept as it is", "add": [f"more{number}" for number in range(32)]},
    ],
)
def test_labels_that_can_not_be_change_nothing(plain: tuple[Client, Store], asked: Any) -> None:
    client, store = plain
    sweep = store.sweep(1)
    assert sweep
    store.change_tags(sweep, "ada", add=["one"], remove=[])
    client.post("labels", asked, status=400)
    assert store.sweep(1) == store.sweep(1) and [event.action for event in store.events()] == ["tag", "submit"]
    assert "no sweep 9" in client.post("labels", {"sweep": 9, "note": "x"}, status=404)["error"]


def test_labels_need_the_token_the_host_the_origin_and_the_right(store: Store, location: str) -> None:
    submit_sweep(store, ARMS, name="as it was")
    asked = {"sweep": 1, "name": "stolen"}
    dashboard, database = dashboard_at(location)
    with TestClient(dashboard.app(Access(token=TOKEN)), base_url=f"http://{HOST}") as http:
        token, origin = {"authorization": f"Bearer {TOKEN}"}, {"origin": f"http://{HOST}"}
        for headers, status in [
            (origin, 401),
            ({**origin, "authorization": "Bearer wrong"}, 401),
            (token, 403),
            ({**token, "origin": "http://evil.example"}, 403),
            ({**token, **origin, "sec-fetch-site": "cross-site"}, 403),
            ({**token, **origin, "host": "evil.example"}, 421),
        ]:
            assert http.post("/api/labels", headers=headers, json=asked).status_code == status
        assert http.post("/api/labels", headers={**token, **origin}, data=asked).status_code == 415
        assert http.get("/api/labels", headers=token).status_code == 405
    database.close()
    dashboard, database = dashboard_at(location, read_only=True)
    with TestClient(dashboard.app(Access(token=TOKEN)), base_url=f"http://{HOST}") as http:
        assert "--read_only" in Client(http, dashboard.feed).post("labels", asked, status=403)["error"]
    database.close()
    assert (sweep := store.sweep(1)) and sweep.name == "as it was"


def test_the_overview_tells_what_came_of_each_sweep(
    client: Client, store: Store, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(overview_watch, "READING_SECONDS", math.inf)
    monkeypatch.setattr(overview_watch, "AGAIN_SECONDS", 0.0)
    monkeypatch.setattr(overview_watch, "TIMES_ITS_COST", 0.0)
    submit_sweep(store, [{"depth": 2}, {"depth": 4}], seeds=range(1, 7), with_baseline=True)
    submit_sweep(store, [{"tokenizer": "bytes"}, {"tokenizer": "gpt2"}], seeds=[1])
    [second, first] = client.get("overview")["sweeps"]
    assert (first["best"], first["verdict"], first["spent"]) == (None, "", "")
    worker = register(store, device="cuda:0")
    for number in range(12):
        work(store, worker, sample_points(12, start=5 + (number % 2) + number / 1000))
    for _ in range(2):
        work(store, worker, sample_points(2))
    [second, first] = client.get("overview")["sweeps"]
    assert first["best"] == {"run": 1, "val_loss": pytest.approx(2.481, abs=1e-3)}
    assert first["verdict"] == "1 arm against depth 2: 1 worse."
    assert second["best"] is None  # losses of different tokenizers can't be compared


def test_devices_over_time_are_of_live_workers_or_of_a_run(client: Client, store: Store, clock: VirtualClock) -> None:
    submit_sweep(store, [{"depth": 2}], seeds=[1])
    assert client.get("devices") == {"devices": []}
    worker = register(store, device="cuda:1")
    work(store, worker, sample_points(2), reason=None)
    for _ in range(4):
        clock.advance(10)
        store.beat(worker, DeviceReading(use_percent=50.0, memory_bytes=2**29))
    [device] = client.get("devices")["devices"]
    assert device["title"] == "laptop, cuda:1 (a CPU)" and device["use (%)"] == [50.0, 50.0]
    assert device["memory (GiB)"] == [0.5, 0.5] and device["temperature (°C)"] == [None, None]
    assert client.get("runs/1/devices")["devices"] == [device]
    client.get("runs/9/devices", status=404)
