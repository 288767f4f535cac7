"""A dashboard in the test's own process, and a client that asks as its pages do."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from orchestrator.dashboard.app import Dashboard
from orchestrator.dashboard.database import Database
from orchestrator.dashboard.serving.security import Access
from orchestrator.dashboard.watching import sweep_curves
from orchestrator.dashboard.watching.feed import Feed
from orchestrator.dashboard.watching.sweep_watch import COLUMNS
from orchestrator.store import OpenMode, Store, open_store
from tests.sample_sweep import submit_sweep

TOKEN = "the-token"
HOST = "127.0.0.1:8765"
ARMS = [{"depth": depth, "num_heads": heads} for depth in (2, 4) for heads in (1, 2)]


class Client:
    """A page's requests: with the token, from the same origin."""

    def __init__(self, client: TestClient, feed: Feed) -> None:
        self.http, self.feed = client, feed
        self.headers = {"authorization": f"Bearer {TOKEN}"}

    def get(self, path: str, status: int = 200) -> Any:
        answer = self.http.get(f"/api/{path}", headers=self.headers)
        assert answer.status_code == status, answer.text
        return answer.json()

    def post(self, path: str, body: Any, status: int = 200) -> Any:
        headers = {**self.headers, "origin": f"http://{HOST}"}
        answer = self.http.post(f"/api/{path}", headers=headers, json=body)
        assert answer.status_code == status, answer.text
        return answer.json()

    def rows(self, sweep: int = 1) -> dict[int, dict[str, Any]]:
        """The runs of a sweep by number, as a page opened now sees them."""
        self.feed.pages.refresh({f"sweep/{sweep}"})
        return {row[0]: dict(zip(COLUMNS, row, strict=True)) for row in self.get(f"sweeps/{sweep}")["rows"]}


def dashboard_at(location: str, **options: Any) -> tuple[Dashboard, Database]:
    database = Database(location, read_only=options.pop("read_only", False))
    return Dashboard(database=database, feed=Feed(database), actor="ada", **options), database


@pytest.fixture
def client(store: Store, location: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Client]:
    """A dashboard over an empty store."""
    monkeypatch.setattr(sweep_curves, "LIVE_EVERY_SECONDS", 0.0)
    dashboard, database = dashboard_at(location)
    with TestClient(dashboard.app(Access(token=TOKEN)), base_url=f"http://{HOST}") as http:
        yield Client(http, dashboard.feed)
    database.close()


@pytest.fixture
def plain(tmp_path: Path) -> Iterator[tuple[Client, Store]]:
    """A dashboard over SQLite with one sweep, for what does not depend on the database."""
    path = str(tmp_path / "plain.db")
    with open_store(path, mode=OpenMode.CREATE) as store:
        submit_sweep(store, ARMS)
        dashboard, database = dashboard_at(path)
        with TestClient(dashboard.app(Access(token=TOKEN)), base_url=f"http://{HOST}") as http:
            yield Client(http, dashboard.feed), store
        database.close()
