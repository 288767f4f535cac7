"""Waiting looks again until the runs have ended, at an interval that is given to it."""

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.errors import DatabaseBusyError, NotThereError
from orchestrator.queue.runs import DELETE, RunFilter
from orchestrator.queue.states import State
from orchestrator.status.waiting import wait_until_ended


class CountingStore:
    """Gives one set of counts after the other."""

    location = SimpleNamespace(option=" --db x.db")

    def __init__(self, *looks: Mapping[State, int], workers: int = 1, grows: Sequence[bool] = ()) -> None:
        self.left, self._workers, self._grows = list(looks), workers, list(grows)

    def check_identity(self) -> None:
        pass

    def counts(self, runs: RunFilter) -> Mapping[State, int]:
        return self.left.pop(0)

    def held_runs(self, sweep_ids: object) -> list[Any]:
        return []

    def may_grow(self, sweep_ids: object) -> bool:
        return self._grows.pop(0) if self._grows else False

    def sweep(self, number: int) -> None:
        return None

    def events(self, *, sweep_id: int, limit: int) -> list[Any]:
        return [SimpleNamespace(action=DELETE, actor="ada", at=0.0)]

    def workers(self) -> list[Any]:
        return [SimpleNamespace(silent=False)] * self._workers


def test_it_looks_until_nothing_is_pending_or_running_and_tells_of_changes() -> None:
    running = {State.PENDING: 1, State.RUNNING: 1}
    store = CountingStore(running, running, {State.RUNNING: 1, State.FAILED: 1}, {State.COMPLETED: 1, State.FAILED: 1})
    told: list[str] = []
    slept: list[None] = []
    counts = wait_until_ended(store, RunFilter(), sleep=lambda: slept.append(None), progress=told.append)
    assert counts == {State.COMPLETED: 1, State.FAILED: 1}
    assert told == ["1 pending, 1 running", "1 running, 1 failed", "1 completed, 1 failed"]
    assert len(slept) == 3


def test_a_database_that_stops_answering_is_waited_for_and_said_once() -> None:
    class Restarting(CountingStore):
        def counts(self, runs: RunFilter) -> Mapping[State, int]:
            found = super().counts(runs)
            if not found:
                raise DatabaseBusyError("the server starts", "Try again.")
            return found

    told: list[str] = []
    store = Restarting({State.RUNNING: 1}, {}, {}, {State.RUNNING: 1}, {}, {State.COMPLETED: 1})
    wait_until_ended(store, RunFilter(), sleep=lambda: None, progress=told.append)
    away = "the server starts. Waiting for it."
    assert told == ["1 running", away, away, "1 completed"]


def test_no_runs_at_all_are_not_waited_for() -> None:
    assert wait_until_ended(CountingStore({}), RunFilter(), sleep=lambda: None, progress=lambda text: None) == {}


def test_a_sweep_that_may_grow_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Between two rounds of a policy no run is open."""
    monkeypatch.setattr("orchestrator.store.known.check_named", lambda store, runs: None)
    store = CountingStore({State.COMPLETED: 3}, {State.COMPLETED: 3}, {State.COMPLETED: 5}, grows=[True, True])
    found = wait_until_ended(store, RunFilter(sweep_ids=(3,)), sleep=lambda: None, progress=lambda text: None)
    assert found == {State.COMPLETED: 5}


def test_a_sweep_that_is_deleted_meanwhile_is_said() -> None:
    store = CountingStore({State.PENDING: 1}, {State.PENDING: 0})
    with pytest.raises(NotThereError, match="sweep 3 was deleted by ada"):
        wait_until_ended(store, RunFilter(sweep_ids=(3,)), sleep=lambda: None, progress=lambda text: None)


def test_that_nobody_works_is_said_once_with_the_command_that_helps() -> None:
    pending = {State.PENDING: 1}
    told: list[str] = []
    store = CountingStore(pending, pending, {State.COMPLETED: 1}, workers=0)
    wait_until_ended(store, RunFilter(), sleep=lambda: None, progress=told.append)
    assert told == ["1 pending", "No worker is at work. Start one: hlbq worker --db x.db", "1 completed"]
