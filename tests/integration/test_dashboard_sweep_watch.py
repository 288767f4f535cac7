"""What the watch of a sweep keeps for its open pages, and what it tells them besides the rows of runs."""

import pytest

from hlbgpt_core.points import Split
from orchestrator.dashboard.watching import overview_watch, sweep_watch
from orchestrator.dashboard.watching.sweep_watch import News, SweepWatch
from orchestrator.growth.reconciler import take_due_steps
from orchestrator.queue.sweeps import ArmRecord
from orchestrator.store import Store
from tests.dashboard_client import ARMS, Client, client
from tests.integration.test_dashboard_live import changes
from tests.integration.test_policies import declaration, submitted
from tests.sample_sweep import register, sample_point, sample_points, submit_sweep, work
from tests.store_examples import ALL

__all__ = ["client"]  # a fixture


def test_arms_stay_in_sight_while_they_are_read_anew(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves are read meanwhile, in other threads."""
    submit_sweep(store, ARMS)
    watch = SweepWatch((1,))
    watch.refresh(store, News(), now=0.0, tick=0.0)
    kept, read = list(watch.arms), store.arms
    seen = []

    def arms(sweep_id: int) -> list[ArmRecord]:
        found = read(sweep_id)
        seen.append((list(watch.arms), list(watch.settings)))
        return found

    monkeypatch.setattr(store, "arms", arms)
    watch.refresh(store, News(restructured=True), now=0.0, tick=1.0)
    assert seen == [(kept, kept)]


WAITS = "open arms wait for you, because runs are paused"


def test_how_a_policy_stands_is_read_again_with_every_change(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pause leaves the counts as they are, and what it holds back may leave the policy's version."""
    for name in ("AGAIN_SECONDS", "TIMES_ITS_COST"):
        monkeypatch.setattr(overview_watch, name, 0.0)
    submitted(store, declaration())
    topics = {"sweep/1", "overview"}
    assert WAITS not in str(client.get("sweeps/1")["growth"])
    assert WAITS not in client.get("overview")["sweeps"][0]["verdict"]
    client.feed.pages.refresh(topics)

    def told() -> list[bool]:
        """Whether the open pages, of the sweep and of all, hear that arms wait."""
        found = client.feed.pages.refresh(topics)
        growth = changes(found)[1]["growth"]
        verdict = changes(found, "overview")[1]["sweeps"][0]["verdict"]
        return [WAITS in lines for lines in (str(growth), verdict)]

    store.pause(ALL, "ada")
    assert told() == [False, False]  # no step has seen it yet
    list(take_due_steps(store, actor="ada"))
    assert told() == [True, True]
    store.unpause(ALL, "ada")
    assert told() == [False, False]


def test_a_metric_that_appears_comes_into_the_menus_of_an_open_page(
    client: Client, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AGAIN_SECONDS", "TIMES_ITS_COST"):
        monkeypatch.setattr(sweep_watch, name, 0.0)
    submit_sweep(store, ARMS)
    assert "train_surprise" not in client.get("sweeps/1")["metrics"]
    claim = work(store, register(store), sample_points(2), reason=None)
    assert changes(client.feed.pages.refresh({"sweep/1"}))[0] == "changes"
    store.flush(claim.lease, points=[sample_point(Split.TRAIN, 20, loss=3.0, extra={"surprise": 0.5})])
    assert changes(client.feed.pages.refresh({"sweep/1"}))[0] == "reload"
    assert client.get("sweeps/1")["metrics"]["train_surprise"]
    store.flush(claim.lease, points=[sample_point(Split.TRAIN, 30, loss=3.0)])  # not at every step
    assert changes(client.feed.pages.refresh({"sweep/1"}))[0] == "changes"
    assert client.get("sweeps/1")["metrics"]["train_surprise"]
