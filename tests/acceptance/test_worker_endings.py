"""Real workers with a stand-in trainer: every way in which a run can end, and what becomes of it."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hlbgpt_core.code_digest import core_digest
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Limits, Reason, State
from orchestrator.store import OpenMode, Store, open_store
from tests.faults.harness import (
    Fleet,
    children,
    drained,
    expected_points,
    new_sweep,
    read_ledger,
    stop_between_transactions,
    submit,
    wait_until,
)
from tests.faults.worker_under_fault import Faults
from tests.stand_in_trainer import Plan
from tests.store_examples import claim, ending, facts, point, register, saved, stored_points
from worker.processes import ProcessState, process_state, start_ticks

QUICK = Limits(max_attempts=2, max_losses=3, backoff_seconds=0.05)


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    made = Fleet(db=str(tmp_path / "hlbq.db"), folder=tmp_path, workers=1)
    yield made
    made.stop()


def reader(fleet: Fleet) -> Store:
    return open_store(fleet.db, mode=OpenMode.READ)


def work_off(fleet: Fleet) -> int:
    """One worker until the queue is empty; returns its exit code."""
    return fleet.start_one(watch=False).wait(timeout=120)


def reasons(store: Store, run_id: int) -> list[Reason | None]:
    return [attempt.reason for attempt in store.attempts(run_id)]


def signal_all(worker: "subprocess.Popen[bytes]", number: int) -> None:
    """Signal the worker and its children, as a terminal signals its group and a scheduler its job."""
    for pid in (*children(worker.pid), worker.pid):
        with contextlib.suppress(ProcessLookupError):  # it may just have ended
            os.kill(pid, number)


def wait_for_step(fleet: Fleet, step: int, run_id: int = 1) -> None:
    with reader(fleet) as store:
        wait_until(lambda: store.run(run_id).step >= step, seconds=120, what=f"step {step}")  # type: ignore[union-attr]


def wait_for_checkpoint(fleet: Fleet, step: int) -> None:
    """Wait until the first run's checkpoint of this step is stored: the step itself may be there before."""

    def stored() -> bool:
        run = store.run(1)
        return run is not None and run.checkpoint is not None and run.checkpoint.step >= step

    with reader(fleet) as store:
        wait_until(stored, seconds=120, what=f"the checkpoint of step {step}")


def held(fleet: Fleet, step: int, **plan: Any) -> Path:
    """Have the runs of the fleet hold after `step`; returns the file that lets them go on."""
    go = fleet.folder / "go"
    fleet.plan = Plan(hold_after=step, go=str(go), **plan)
    return go


ENDS_BADLY = {
    "error": ([Reason.ERROR, Reason.ERROR], "a made-up error"),
    "oom": ([Reason.OOM], "a made-up oom"),
    "diverged": ([Reason.DIVERGED], "a made-up diverged"),
    "exit 3": ([Reason.ERROR, Reason.ERROR], "exit code 3"),
    "crash": ([Reason.ERROR, Reason.ERROR], "SIGSEGV"),
    "killed": ([Reason.LOST, Reason.LOST, Reason.LOST], "SIGKILL"),
}


@pytest.fixture(scope="module")
def ended_badly(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """What one worker left of a run for each bad end, in order, and of one that ends well."""
    folder = tmp_path_factory.mktemp("ends-badly")
    with Fleet(db=str(folder / "hlbq.db"), folder=folder, workers=1) as fleet:
        # Runs of one arm with an error each: otherwise the device would be set aside.
        submit(fleet.db, new_sweep(1 + len(ENDS_BADLY), limits=QUICK))
        behaviours = {str(100 + place): behaviour for place, behaviour in enumerate(ENDS_BADLY)}
        fleet.plan = Plan(on_seed=behaviours, checkpoint_every=100)
        work_off(fleet)
        with reader(fleet) as store:
            yield store


@pytest.mark.parametrize("behaviour", ENDS_BADLY)
def test_a_run_that_ends_badly_fails_after_its_budget(ended_badly: Store, behaviour: str) -> None:
    wanted, message = ENDS_BADLY[behaviour]
    run_id = 1 + list(ENDS_BADLY).index(behaviour)
    run, other = ended_badly.run(run_id), ended_badly.run(1 + len(ENDS_BADLY))
    assert run is not None and other is not None
    assert (run.state, run.reason) == (State.FAILED, wanted[-1])
    assert reasons(ended_badly, run_id) == wanted
    assert message in run.error_message
    assert other.state is State.COMPLETED


def test_a_worker_leaves_when_its_sweeps_were_deleted(fleet: Fleet) -> None:
    submit(fleet.db, new_sweep(1))
    with open_store(fleet.db, mode=OpenMode.WRITE) as store:
        store.cancel(RunFilter(), "ada")
        worker = fleet.start_one(watch=True, options=["--sweep", "1", "7"])
        wait_until(lambda: bool(store.workers()), seconds=120, what="a worker")
        store.delete([1], "ada")
        assert worker.wait(timeout=120) == 0
        assert store.workers(ended=True)[0].ended_why == "its sweeps were deleted"


def test_the_end_of_the_log_is_kept_of_a_trainer_that_died_without_a_word(fleet: Fleet) -> None:
    submit(fleet.db, new_sweep(1, limits=QUICK))
    fleet.plan = Plan(on_seed={"100": "exit 3"})
    work_off(fleet)
    with reader(fleet) as store:
        assert "last words" in store.attempts(1)[-1].error_traceback


def test_a_trainer_that_hangs_is_ended_and_classified(fleet: Fleet) -> None:
    sweep = new_sweep(1, limits=Limits(max_attempts=1))
    hasty = type(sweep.bookkeeping)(**{**vars(sweep.bookkeeping), "stall_timeout_seconds": 0.5})
    submit(fleet.db, type(sweep)(**{**vars(sweep), "bookkeeping": hasty}))
    fleet.plan = Plan(on_seed={"100": "hang"})
    work_off(fleet)
    with reader(fleet) as store:
        assert reasons(store, 1) == [Reason.TIMEOUT]
        run = store.run(1)
        assert run is not None and run.state is State.FAILED and "--stall_timeout" in run.error_message


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, *(pytest.param(one, marks=pytest.mark.long) for one in (signal.SIGINT, signal.SIGHUP))]
)
def test_one_signal_releases_with_a_checkpoint_and_nothing_is_lost(fleet: Fleet, number: signal.Signals) -> None:
    submit(fleet.db, new_sweep(1))
    go = held(fleet, 10, checkpoint_every=1000)
    worker = fleet.start_one()
    wait_for_step(fleet, 10)
    worker.send_signal(number)
    worker.wait(timeout=120)
    with reader(fleet) as store:
        run = store.run(1)
        assert run is not None
        assert (run.state, run.reason) == (State.PENDING, Reason.RELEASED)
        assert run.checkpoint is not None and run.checkpoint.step >= 10
        assert run.spent.errors == run.spent.losses == 0
        steps = [one.point.step for one in stored_points(store, RunFilter())]
        assert steps == list(range(1, run.checkpoint.step + 1))
    go.touch()
    work_off(fleet)
    assert read_ledger(fleet.db, fleet.plan).clean
    with reader(fleet) as store:
        assert [attempt.start_step > 0 for attempt in store.attempts(1)] == [False, True]


def test_a_second_signal_stops_at_once(fleet: Fleet) -> None:
    submit(fleet.db, new_sweep(1))
    fleet.plan = Plan(steps=10_000, step_seconds=0.01, checkpoint_every=100_000, on_seed={"100": "deaf"})
    worker = fleet.start_one()
    wait_for_step(fleet, 3)
    (trainer,) = children(worker.pid)
    worker.send_signal(signal.SIGINT)
    wait_until(lambda: "stopping" in fleet.log(), seconds=120, what="the first signal is heard")
    worker.send_signal(signal.SIGINT)
    worker.wait(timeout=120)
    assert process_state(trainer, start_ticks(trainer)) is ProcessState.DEAD
    with reader(fleet) as store:
        run = store.run(1)
        assert run is not None
        assert (run.state, run.reason) == (State.PENDING, Reason.RELEASED)
        assert stored_points(store, RunFilter()) == []  # no checkpoint: the next attempt starts from step 0


def test_sigquit_stops_at_once_and_counts_against_nothing(fleet: Fleet) -> None:
    submit(fleet.db, new_sweep(1))
    fleet.plan = Plan(steps=10_000, step_seconds=0.01, checkpoint_every=100_000, on_seed={"100": "deaf"})
    worker = fleet.start_one()
    wait_for_step(fleet, 3)
    signal_all(worker, signal.SIGQUIT)  # Ctrl-\ goes to a whole group
    worker.wait(timeout=120)
    with reader(fleet) as store:
        run = store.run(1)
        assert run is not None and (run.state, run.reason) == (State.PENDING, Reason.RELEASED)
        assert run.spent.errors == run.spent.losses == 0


def test_a_hang_up_that_was_ignored_at_the_start_stays_ignored(fleet: Fleet) -> None:
    fleet.inside = ("nohup",)
    submit(fleet.db, new_sweep(1))
    go = held(fleet, 3)
    worker = fleet.start_one(watch=False)
    wait_for_step(fleet, 3)
    signal_all(worker, signal.SIGHUP)
    go.touch()
    assert worker.wait(timeout=120) == 0
    with reader(fleet) as store:
        assert reasons(store, 1) == [Reason.FINISHED]


def test_hang_ups_never_hurry(fleet: Fleet) -> None:
    """A terminal that closes sends more than one: the kernel's and the shell's."""
    submit(fleet.db, new_sweep(1))
    fleet.plan = Plan(steps=10_000, step_seconds=0.02, checkpoint_every=100_000)
    worker = fleet.start_one()
    wait_for_step(fleet, 3)

    def has_ended() -> bool:
        worker.send_signal(signal.SIGHUP)  # to its very end
        return worker.poll() is not None

    wait_until(has_ended, seconds=120, what="the worker has ended")
    assert worker.returncode == 0
    with reader(fleet) as store:
        run = store.run(1)
        assert run is not None and run.checkpoint is not None and run.checkpoint.step >= 3


def test_a_run_that_meets_a_broken_host_goes_back_untouched_and_the_worker_ends(fleet: Fleet) -> None:
    submit(fleet.db, new_sweep(8, limits=Limits(max_attempts=1)))
    fleet.plan = Plan(on_seed={str(seed): "host" for seed in range(100, 108)})
    fleet.start_one().wait(timeout=120)
    with reader(fleet) as store:
        run = store.run(1)
        assert run is not None and run.spent.errors == run.spent.losses == 0
        assert store.counts(RunFilter())[State.PENDING] == 8
        assert reasons(store, 1) == [Reason.RELEASED]
        (worker,) = store.workers(ended=True)
        assert "HostDataError: the disk is full" in worker.ended_why


def test_a_trainer_that_dies_before_it_has_loaded_is_not_the_runs_fault(fleet: Fleet) -> None:
    submit(fleet.db, new_sweep(1, limits=Limits(max_attempts=1)))
    fleet.plan = Plan(load_blame="exit")
    fleet.start_one().wait(timeout=120)
    with reader(fleet) as store:
        assert reasons(store, 1) == [Reason.RELEASED]
        (worker,) = store.workers(ended=True)
        assert "exit code 127, before it had loaded its libraries" in worker.ended_why


def test_trainers_that_are_killed_as_they_load_end_the_worker_and_fail_no_run(fleet: Fleet) -> None:
    """Where a limit on memory left no room for the libraries, run after run was lost three times, and failed."""
    submit(fleet.db, new_sweep(2, limits=Limits(max_losses=1)))
    fleet.plan = Plan(load_blame="killed")
    fleet.start_one().wait(timeout=120)
    with reader(fleet) as store:
        assert store.counts(RunFilter())[State.PENDING] == 2
        assert reasons(store, 1) == [Reason.RELEASED] * 3
        (worker,) = store.workers(ended=True)
        assert "killed from outside by SIGKILL, before it had loaded its libraries" in worker.ended_why


def test_code_that_does_not_load_fails_no_run_and_ends_the_worker_after_a_while(fleet: Fleet) -> None:
    submit(fleet.db, new_sweep(3, limits=Limits(max_attempts=1)))
    fleet.plan = Plan(load_blame="code")
    fleet.start_one(watch=False, faults=Faults(timing={"faulty_code_seconds": 0.2})).wait(timeout=120)
    with reader(fleet) as store:
        assert store.counts(RunFilter())[State.PENDING] == 3
        assert reasons(store, 1) == [Reason.RELEASED]
        (worker,) = store.workers(ended=True)
        assert worker.ended_why == "hlbgpt_core cannot be imported: SyntaxError: recipe.py:7: invalid syntax"
    assert fleet.log().count("runs stay pending") == 1


def test_a_run_that_was_held_for_an_edit_goes_on_once_the_edit_is_undone(fleet: Fleet) -> None:
    submit(fleet.db, new_sweep(1))
    here = core_digest()
    with open_store(fleet.db, mode=OpenMode.WRITE) as store:
        taken = claim(store, register(store), code=here)
        store.flush(taken.lease, points=(), facts=facts(provenance={"core_digest": here}))
        store.commit_checkpoint(taken.lease, saved(6), points=[])
        store.finish(taken.lease, ending(Reason.RELEASED))
        assert store.claim(register(store, 2), code="0" * 16) is None and len(store.held_runs()) == 1
    assert work_off(fleet) == 0 and "free again" in fleet.log()
    assert read_ledger(fleet.db, fleet.plan).lost == 0


def test_one_error_in_three_runs_of_one_arm_sets_a_device_aside_but_not_their_size(fleet: Fleet) -> None:
    for behaviour, failed in (("error", 3), ("oom", 5)):
        sweep = submit(fleet.db, new_sweep(5, limits=Limits(max_attempts=1)))
        fleet.plan = Plan(on_seed={str(seed): behaviour for seed in range(100, 105)})
        work_off(fleet)
        with open_store(fleet.db, mode=OpenMode.WRITE) as store:
            assert store.counts(RunFilter(sweep_ids=(sweep,)))[State.FAILED] == failed
            store.cancel(RunFilter(states=(State.PENDING,)), "test")


def test_in_a_job_of_a_cluster_many_signals_are_as_one_and_the_trainer_is_left_alone(fleet: Fleet) -> None:
    """A scheduler signals every process of a job, and what runs the job passes the signal on besides."""
    fleet.environment["HLBQ_JOB"] = "slurm 12_3"
    submit(fleet.db, new_sweep(1))
    fleet.plan = Plan(steps=10_000, step_seconds=0.02, checkpoint_every=100_000)
    worker = fleet.start_one()
    wait_for_step(fleet, 3)
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGTERM):
        signal_all(worker, number)
    worker.wait(timeout=120)
    with reader(fleet) as store:
        run = store.run(1)
        assert run is not None and (run.state, run.reason) == (State.PENDING, Reason.RELEASED)
        assert run.checkpoint is not None and run.checkpoint.step >= 3
        assert [one.identity.job for one in store.workers(ended=True)] == ["slurm 12_3"]


def test_a_killed_supervisor_takes_its_trainer_with_it_and_the_next_worker_goes_on_at_once(fleet: Fleet) -> None:
    submit(fleet.db, new_sweep(1))
    go = held(fleet, 12)
    worker = fleet.start_one()
    wait_for_checkpoint(fleet, 10)
    (trainer,) = children(worker.pid)
    ticks = start_ticks(trainer)
    worker.kill()
    worker.wait()
    wait_until(lambda: process_state(trainer, ticks) is ProcessState.DEAD, seconds=120, what="the trainer dies too")
    go.touch()
    work_off(fleet)
    assert read_ledger(fleet.db, fleet.plan).clean
    with reader(fleet) as store:
        assert reasons(store, 1) == [Reason.LOST, Reason.FINISHED]
        assert store.attempts(1)[1].start_step >= 10


def test_cancelling_stops_the_trainer_and_the_worker_goes_on(fleet: Fleet) -> None:
    submit(fleet.db, new_sweep(2))
    go = held(fleet, 3, checkpoint_every=1000)
    fleet.start_one(watch=False)
    wait_for_step(fleet, 3)
    with open_store(fleet.db, mode=OpenMode.WRITE) as store:
        assert store.cancel(RunFilter(run_ids=(1,)), "test") == 1
        wait_for_step(fleet, 3, run_id=2)
        go.touch()
        wait_until(lambda: drained(store), seconds=120, what="the other run ends")
        first, second = store.run(1), store.run(2)
    assert first is not None and (first.state, first.reason) == (State.CANCELLED, Reason.CANCELLED)
    assert second is not None and second.state is State.COMPLETED


def test_a_device_that_fails_three_arms_in_a_row_is_set_aside(fleet: Fleet) -> None:
    submit(fleet.db, new_sweep(5, arms=5, limits=Limits(max_attempts=1)))
    fleet.plan = Plan(on_seed={"100": "error"})
    work_off(fleet)
    with reader(fleet) as store:
        counts = store.counts(RunFilter())
        (worker,) = store.workers(ended=True)
    assert (counts[State.FAILED], counts[State.PENDING]) == (3, 2)
    assert "set aside" in worker.ended_why and "cpu" in worker.ended_why


def test_checkpoints_are_bounded_and_go_when_the_run_completes(fleet: Fleet) -> None:
    submit(fleet.db, new_sweep(1))
    go = held(fleet, 51, steps=60)
    fleet.start_one(watch=False)
    checkpoints = fleet.folder / "state" / "checkpoints"
    wait_for_checkpoint(fleet, 50)
    assert len([one for one in checkpoints.glob("*/*") if not one.name.endswith(".tmp")]) <= 3
    go.touch()
    with reader(fleet) as store:
        wait_until(lambda: drained(store), seconds=120, what="the run ends")
    wait_until(lambda: not list(checkpoints.glob("*")), seconds=120, what="the checkpoints are removed")


def test_a_damaged_newest_checkpoint_falls_back_to_the_one_before(fleet: Fleet) -> None:
    submit(fleet.db, new_sweep(1))
    go = held(fleet, 95, steps=100, step_seconds=0.05)  # slowly, as two checkpoints at once are stored as one
    worker = fleet.start_one()
    with reader(fleet) as store:
        wait_until(lambda: store.run(1).previous_checkpoint is not None, seconds=120, what="two checkpoints")  # type: ignore[union-attr]
        worker.kill()
        worker.wait()
        run = store.run(1)
    assert run is not None and run.checkpoint is not None and run.previous_checkpoint is not None
    go.touch()
    fleet.plan = replace(fleet.plan, step_seconds=0.0)
    state = fleet.folder / "state" / run.checkpoint.path / "state.json"
    state.write_bytes(state.read_bytes()[:100])
    work_off(fleet)
    assert read_ledger(fleet.db, fleet.plan).clean
    with reader(fleet) as store:
        assert store.attempts(1)[-1].start_step == run.previous_checkpoint.step


def test_a_worker_cut_off_past_its_lease_writes_nothing_more(fleet: Fleet) -> None:
    """The zombie: stopped past its lease, its run finished elsewhere, then let go on."""
    submit(fleet.db, new_sweep(1))
    go = held(fleet, 8, steps=150)
    far = Faults(host="another-host/1")
    zombie = fleet.start_one(faults=far, watch=False)
    wait_for_step(fleet, 8)
    # Not inside a write transaction: on SQLite that would keep everybody from writing until it goes on.
    with open_store(fleet.db, mode=OpenMode.WRITE, busy_timeout_seconds=2) as store:
        stop_between_transactions(store, [zombie.pid])
    go.touch()
    fleet.start_one(watch=True)
    with reader(fleet) as store:
        wait_until(lambda: drained(store), seconds=120, what="the run is finished elsewhere")
    os.kill(zombie.pid, signal.SIGCONT)
    zombie.wait(timeout=120)
    ledger = read_ledger(fleet.db, fleet.plan)
    assert ledger.clean, ledger
    with reader(fleet) as store:
        assert reasons(store, 1) == [Reason.LOST, Reason.FINISHED]
    assert expected_points(100, fleet.plan)


def begin_by_other_code(fleet: Fleet) -> None:
    """A run with a checkpoint that code computed which is not the one on disk."""
    submit(fleet.db, new_sweep(1))
    with open_store(fleet.db, mode=OpenMode.WRITE) as store:
        worker = register(store)
        taken = claim(store, worker, code="aaaa000000000000")
        store.flush(taken.lease, points=(), facts=facts(provenance={"core_digest": "aaaa000000000000"}))
        store.commit_checkpoint(taken.lease, saved(6), points=[point(6)])
        store.finish(taken.lease, ending(Reason.RELEASED))
        store.end_worker(worker, "asked to stop")


def test_no_run_is_held_for_code_that_cannot_be_imported(fleet: Fleet) -> None:
    begin_by_other_code(fleet)
    fleet.plan = Plan(load_blame="code")
    fleet.start_one(watch=False, faults=Faults(timing={"faulty_code_seconds": 0.2})).wait(timeout=60)
    assert fleet.log().count("recipe.py:7: invalid syntax\nruns stay pending") == 1
    with reader(fleet) as store:
        run = store.run(1)
        assert run is not None and (run.state, run.paused, run.held, run.fence) == (State.PENDING, False, "", 1)
        worker = store.workers(ended=True)[-1]
        assert worker.ended_why == "hlbgpt_core cannot be imported: SyntaxError: recipe.py:7: invalid syntax"


def test_code_that_loads_holds_the_run_of_another_and_the_worker_leaves(fleet: Fleet) -> None:
    begin_by_other_code(fleet)
    assert work_off(fleet) == 0
    with reader(fleet) as store:
        run = store.run(1)
        assert run is not None and (run.state, run.paused, bool(run.held), run.fence) == (State.PENDING, True, True, 1)
        assert len(store.attempts(1)) == 1


@pytest.mark.parametrize("blame", ["host", "exit"])
def test_a_host_at_fault_is_seen_before_a_run_is_held(fleet: Fleet, blame: str) -> None:
    begin_by_other_code(fleet)
    fleet.plan = Plan(load_blame=blame)
    fleet.start_one().wait(timeout=60)
    with reader(fleet) as store:
        run = store.run(1)
        assert run is not None and (run.paused, run.fence) == (False, 1)
        assert "no run can be trained on" in store.workers(ended=True)[-1].ended_why


def test_a_trainer_that_the_system_cannot_start_is_not_the_runs_fault(fleet: Fleet) -> None:
    submit(fleet.db, new_sweep(2, limits=Limits(max_attempts=1)))
    fleet.start_one(faults=Faults(no_trainer=True)).wait(timeout=60)
    with reader(fleet) as store:
        assert reasons(store, 1) == [Reason.RELEASED]
        run = store.run(1)
        assert run is not None and run.spent.errors == run.spent.losses == 0
        assert store.counts(RunFilter())[State.PENDING] == 2
        (worker,) = store.workers(ended=True)
        assert "the trainer process cannot be started: No such file" in worker.ended_why
