"""Sweeps that grow until the verdict is in, with real workers that leave by themselves, or are killed."""

from pathlib import Path

import pytest

from orchestrator.comparison.judging.policy import ClosureReason
from orchestrator.store import OpenMode, open_store
from tests.faults.growth import PLAN, STEP_POINTS, expected, growing_sweep, said, step_faults, twice
from tests.faults.harness import Fleet, submit, wait_until
from tests.faults.worker_under_fault import Faults


@pytest.fixture
def fleet(tmp_path: Path) -> Fleet:
    return Fleet(db=str(tmp_path / "hlbq.db"), folder=tmp_path, workers=2, plan=PLAN)


def leave(fleet: Fleet, seconds: float = 300) -> None:
    """Workers without --watch work until they leave; those that are killed are started again."""
    done = 0

    def all_left() -> bool:
        nonlocal done
        ended = [process for process in fleet.processes if process.poll() is not None]
        done += sum(process.returncode == 0 for process in ended)
        fleet.processes = [process for process in fleet.processes if process not in ended]
        while done + len(fleet.processes) < fleet.workers:
            fleet.start_one(watch=False)
        return done == fleet.workers

    with fleet:
        wait_until(all_left, seconds=seconds, what="the workers leave")


def test_workers_stay_until_the_verdict_is_in_and_then_leave(fleet: Fleet) -> None:
    sweep = growing_sweep(100)
    submit(fleet.db, sweep)
    leave(fleet)
    with open_store(fleet.db, mode=OpenMode.READ) as store:
        assert said(store, 1) == expected(sweep)
        assert {reason for reason, _ in said(store, 1).values()} >= {ClosureReason.WORSE, ClosureReason.BETTER}
        assert not store.may_grow() and not store.waiting() and twice(store) == []
    assert not fleet.complaints() and len(fleet.started) == 2


def test_workers_that_are_killed_at_random_reach_the_verdict_of_an_undisturbed_sweep(fleet: Fleet) -> None:
    sweep = growing_sweep(200)
    submit(fleet.db, sweep)
    fleet.faults = Faults(kill={"finish.before": 0.03, "finish.after": 0.1, "claim.after": 0.03})
    fleet.environment = step_faults(fleet, dict.fromkeys(STEP_POINTS, 0.05))
    leave(fleet)
    with open_store(fleet.db, mode=OpenMode.READ) as store:
        assert said(store, 1) == expected(sweep) and twice(store) == []
    assert not fleet.complaints()


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_real_runs_whose_workers_are_killed_reach_the_same_verdict(tmp_path: Path) -> None:
    """Bit for bit the same losses, whoever trained them."""
    found = []
    for name, kill in (
        ("undisturbed", {}),
        ("killed", {"claim.after": 0.1, "finish.before": 0.1, "finish.after": 0.2}),
    ):
        (tmp_path / name).mkdir()
        faults = Faults(real_trainer=True, kill=kill, timing={"lease_seconds": 20.0, "self_fence_seconds": 15.0})
        fleet = Fleet(db=str(tmp_path / name / "hlbq.db"), folder=tmp_path / name, workers=2, faults=faults)
        submit(fleet.db, growing_sweep(100, depth=2))
        leave(fleet, seconds=800)
        with open_store(fleet.db, mode=OpenMode.READ) as store:
            assert twice(store) == []
            found.append(said(store, 1))
        assert not fleet.complaints()
    assert found[0] == found[1] != {}
