"""What new events tell open pages: very many at once, and those whose transaction commits after later ones."""

from collections.abc import Sequence
from typing import Any

import pytest
from sqlalchemy import text

from orchestrator.dashboard.watching import new_events
from orchestrator.queue.runs import EventRecord, RunFilter
from orchestrator.store import Store
from orchestrator.store import events as store_events
from tests.dashboard_client import ARMS, Client, client
from tests.integration.test_dashboard_live import changes
from tests.sample_sweep import submit_sweep

__all__ = ["client"]  # a fixture

TOPIC = {"sweep/1"}


def opened(client: Client, store: Store) -> Any:
    """The page of a sweep of 40 runs, whose stream has begun."""
    submit_sweep(store, ARMS, seeds=range(10))
    whole = client.get("sweeps/1")
    assert client.feed.pages.refresh(TOPIC) == {}
    return whole


def test_more_events_than_are_read_at_once_have_all_read_anew(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (store_events, new_events):
        monkeypatch.setattr(module, "MOST_EVENTS", 20)
    monkeypatch.setattr(new_events, "EVENTS_LOOKED_BACK", 5)
    opened(client, store)
    assert store.cancel(RunFilter(sweep_ids=(1,)), "ada") == 40
    assert changes(client.feed.pages.refresh(TOPIC))[0] == "reload"
    assert client.get("sweeps/1")["counts"]["cancelled"] == 40
    assert client.feed.pages.refresh(TOPIC) == {}
    assert store.retry(RunFilter(run_ids=(3,)), "ada") == 1
    assert [row[0] for row in changes(client.feed.pages.refresh(TOPIC))[1]["rows"]] == [3]


def test_events_that_commit_after_later_ones_are_told(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL numbers an event before its transaction commits: a long one, of many runs, may end after others."""
    if store.location.path is not None:
        pytest.skip("SQLite writes one after the other")
    monkeypatch.setattr(new_events, "EVENTS_LOOKED_BACK", 5)
    opened(client, store)
    with store._write() as long:
        long.execute(text("UPDATE runs SET state = 'cancelled' WHERE id <= 20"))
        long.execute(
            text(
                "INSERT INTO events (at, actor, action, sweep_id, run_id, why) "
                "SELECT 0, 'ada', 'cancel', 1, id, '' FROM runs WHERE id <= 20"
            )
        )
        for run in range(21, 41):
            store.pause(RunFilter(run_ids=(run,)), "ada")
        assert len(changes(client.feed.pages.refresh(TOPIC))[1]["rows"]) == 20
        assert client.feed.pages.refresh(TOPIC) == {}
    told = changes(client.feed.pages.refresh(TOPIC))[1]
    assert len(told["rows"]) == 20 and told["counts"]["cancelled"] == 20
    assert client.feed.pages.refresh(TOPIC) == {}


def test_a_number_that_never_comes_is_given_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A transaction that was rolled back leaves a gap in PostgreSQL's numbers: it is not looked for without end."""
    if store.location.path is not None:
        pytest.skip("SQLite gives the number again")
    submit_sweep(store, ARMS)
    events = new_events.NewEvents()
    assert events.read(store, tick=0.0) == {}
    asked: list[int] = []
    read = store.events_after

    def events_after(number: int) -> Sequence[EventRecord]:
        asked.append(number)
        return read(number)

    monkeypatch.setattr(store, "events_after", events_after)
    with pytest.raises(ZeroDivisionError), store._write() as broken:
        broken.execute(text("INSERT INTO events (at, actor, action, why) VALUES (0, 'ada', 'note', '')"))
        raise ZeroDivisionError
    for tick in range(1, 200):
        store.pause(RunFilter(run_ids=(1,)), "ada")
        store.unpause(RunFilter(run_ids=(1,)), "ada")
        news = events.read(store, tick=float(tick))
        assert news is not None and news[1].touched == {1}
    assert asked[50] == asked[1] and asked[-1] > asked[0] + 300
