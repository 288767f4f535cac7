"""Steps of growing sweeps as a worker starts them: in a child process, which may fail."""

import sys
from types import SimpleNamespace
from typing import Any

import pytest

from worker.beside.growth_steps import LONGEST_WAIT_SECONDS, MOST_FAILURES, GrowthSteps


class Steps:
    """A worker's steps with a clock of their own; a child ends with `code`, and each is counted in `said`."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.code, self.said = 0.0, 1, list[str]()
        monkeypatch.setattr(
            "orchestrator.launch.python_process.hlbq_argv",
            lambda *_: [sys.executable, "-c", f"raise SystemExit({self.code})"],
        )
        self.due = [SimpleNamespace(id=1, results=5)]
        self.open_policies = {1}
        store: Any = SimpleNamespace(
            due_policies=lambda: self.due,
            may_grow=lambda sweeps, without: bool(self.open_policies - {*without}),
            location=SimpleNamespace(private="a.db"),
        )
        self.steps = GrowthSteps(store, (), self.said.append, lambda: self.now)

    def attend(self) -> None:
        """Start one if it is time, and wait for it."""
        self.steps.attend()
        self.steps.close(60.0)


def test_who_has_seen_a_step_fail_tries_again_later_and_later(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Steps(monkeypatch)
    for _ in range(MOST_FAILURES):
        assert found.steps.may_add()
        found.attend()
        assert found.steps.may_add() is (len(found.said) < MOST_FAILURES)
        found.attend()
        found.now += LONGEST_WAIT_SECONDS
    assert found.said == ["a step of a growing sweep failed: exit code 1. To take it by hand: hlbq decide"] * 3
    assert not found.steps.may_add()  # nobody stays for it ...
    found.code = 0
    found.attend()  # ... but who stays anyway takes it once it can be taken
    assert found.steps.may_add() and len(found.said) == MOST_FAILURES


def test_a_sweep_whose_steps_fail_keeps_no_other_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its failures sent the workers of all other growing sweeps away, and had those wait minutes for a step."""
    found = Steps(monkeypatch)
    found.open_policies = {1, 2}
    for _ in range(MOST_FAILURES):
        found.attend()
        assert found.steps.may_add()
        found.now += LONGEST_WAIT_SECONDS
    found.now -= LONGEST_WAIT_SECONDS
    found.attend()
    assert len(found.said) == MOST_FAILURES, "the same steps wait"
    found.due = [*found.due, SimpleNamespace(id=2, results=1)]
    found.attend()
    found.due.pop()  # the child took it, and failed by the other
    assert found.steps.may_add() and len(found.said) == MOST_FAILURES + 1, "another one is taken at once"
    found.open_policies = {1}
    assert not found.steps.may_add()


def test_a_worker_that_was_asked_to_stop_does_not_wait_for_a_step(monkeypatch: pytest.MonkeyPatch) -> None:
    found = Steps(monkeypatch)
    monkeypatch.setattr("orchestrator.launch.python_process.hlbq_argv", lambda *_: [sys.executable, "-c", "input()"])
    monkeypatch.setattr(
        "worker.beside.growth_steps.subprocess.DEVNULL", -1
    )  # a pipe: the child waits until it is closed
    found.steps.attend()
    found.steps.close(0.0)
    process = found.steps._process
    assert process is not None and process.poll() is None
    process.communicate(b"\n", timeout=60)
