"""Searches that stop arms early, with real workers and a stand-in for the trainer: undisturbed, killed, and cut off."""

from pathlib import Path

import pytest

from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason
from orchestrator.store import OpenMode, open_store
from tests.acceptance.test_growing import leave
from tests.faults.growth import STEP_POINTS, step_faults
from tests.faults.harness import Fleet, submit
from tests.faults.searching import PLAN, POINTS, TRIALS, broken_searches, outcomes, searching_sweep
from tests.faults.worker_under_fault import Faults

pytest.importorskip("optuna")


def fleet_in(folder: Path, workers: int) -> Fleet:
    folder.mkdir()
    made = Fleet(db=str(folder / "hlbq.db"), folder=folder, workers=workers, plan=PLAN)
    submit(made.db, searching_sweep(100))
    return made


@pytest.mark.long
def test_one_worker_stops_the_same_arms_whoever_is_killed(tmp_path: Path) -> None:
    found = []
    for name in ("undisturbed", "disturbed"):
        fleet = fleet_in(tmp_path / name, workers=1)
        if name == "disturbed":
            fleet.faults = Faults(kill=dict.fromkeys(POINTS, 0.05))
            fleet.environment = step_faults(fleet, dict.fromkeys(STEP_POINTS, 0.05))
        leave(fleet)
        with open_store(fleet.db, mode=OpenMode.READ) as store:
            found.append(outcomes(store, 1))
            assert broken_searches(store) == [] and not store.may_grow()
        assert not fleet.complaints()
    assert found[0] == found[1] and len(found[0]) == TRIALS
    assert sum(reason is Reason.PRUNED for _, reason, _ in found[0]) >= 2


def test_three_workers_that_are_killed_try_every_arm_once(tmp_path: Path) -> None:
    fleet = fleet_in(tmp_path / "killed", workers=3)
    fleet.faults = Faults(kill=dict.fromkeys(POINTS, 0.05))
    fleet.environment = step_faults(fleet, dict.fromkeys(STEP_POINTS, 0.05))
    leave(fleet)
    with open_store(fleet.db, mode=OpenMode.READ) as store:
        assert broken_searches(store) == [] and store.matching(RunFilter()) == TRIALS
    assert not fleet.complaints()
