"""What the watch of a sweep keeps for its open pages, and what it tells them besides the rows of runs."""

import pytest

from orchestrator.dashboard.watching.sweep_watch import News, SweepWatch
from orchestrator.queue.sweeps import ArmRecord
from orchestrator.store import Store
from tests.dashboard_client import ARMS
from tests.sample_sweep import submit_sweep


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
