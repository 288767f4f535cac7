"""`hlbq launch slurm` on a real Slurm of one node: arrays run and end, time is up, cancelling, killing, refusing."""

import os
import re
import signal
import subprocess
import sys

import pytest

from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason, State
from orchestrator.store import Store
from tests.faults.harness import drained, new_sweep, read_ledger, submit, with_stand_in
from tests.slurm.conftest import PASSWORD, Login
from tests.stand_in_trainer import Plan
from tests.store_examples import stored_points

ENDLESS = Plan(steps=1_000_000, step_seconds=0.05, checkpoint_every=1_000_000)


def test_an_array_works_the_queue_off_and_ends_and_no_password_is_seen(login: Login) -> None:
    submit(login.db, new_sweep(2, max_steps=5))
    array = login.launch("--workers 3 --time 10")  # one more than there are runs: its job ends at once
    name = f"--name={login.hlbq('launch slurm --dry_run --state_dir x').stdout.partition('--job-name=')[2].split()[0]}"
    seen = [login.cluster.run("squeue", name, "--format=%all"), login.cluster.run("scontrol", "show", "job", array)]
    with login.store() as store:
        login.wait(lambda: drained(store) and not login.active(), "the array ends")
        assert all(run.state is State.COMPLETED for run in store.runs(RunFilter()))
        jobs = {worker.identity.job for worker in store.workers(ended=True)}
    assert jobs == {f"slurm {array}_{task}" for task in range(3)}
    states = {state for job, state in login.cluster.jobs().items() if job.startswith(f"{array}_")}
    assert states == {"COMPLETED"}
    files = [path for path in login.state.rglob("*") if path.is_file()]
    assert any(path.name.endswith("_submission.sh") for path in files)
    seen += [path.read_bytes().decode("latin-1") for path in files]
    assert [text for text in seen if PASSWORD in text] == []
    assert all(path.parent.stat().st_mode & 0o077 == 0 for path in files)


def test_a_job_whose_time_is_up_goes_back_into_the_queue_and_its_run_goes_on(login: Login) -> None:
    """Slurm's own signal, not a made-up one; it may come up to a minute early."""
    submit(login.db, new_sweep(1))
    plan = Plan(steps=1100, step_seconds=0.04, checkpoint_every=100_000)
    job = login.launch("--time 2 --seconds_before_end 95", plan)
    with login.store() as store:
        # 44 s of training, by at most 25 s a job, and Slurm takes its time between two.
        login.wait(lambda: drained(store) and not login.active(), "the run is finished", seconds=300)
        attempts = store.attempts(1)
        assert [attempt.reason for attempt in attempts] == [Reason.RELEASED] * (len(attempts) - 1) + [Reason.FINISHED]
        assert len(attempts) > 1 and attempts[-1].start_step > 0
        assert [attempt.start_step for attempt in attempts[1:]] == [attempt.step for attempt in attempts[:-1]]
        assert {worker.identity.job for worker in store.workers(ended=True)} == {f"slurm {job}"}
        assert "its time is nearly up" in {worker.ended_why for worker in store.workers(ended=True)}
    assert read_ledger(login.db, plan).clean
    assert login.cluster.jobs()[job] == "COMPLETED"


def test_each_job_drives_the_gpu_that_slurm_gave_it(login: Login) -> None:
    """Two made-up GPUs, of which Slurm tells each job one by CUDA_VISIBLE_DEVICES."""
    submit(login.db, new_sweep(2))
    plan = Plan(steps=100, step_seconds=0.05)
    login.launch("--workers 2 --time 10", plan, gpus=1)
    with login.store() as store:
        login.wait(lambda: drained(store) and not login.active(), "both runs are finished")
        assert {worker.identity.device for worker in store.workers(ended=True)} == {"gpu0-aaaa", "gpu1-bbbb"}
        assert [attempt.shared_slots for run_id in (1, 2) for attempt in store.attempts(run_id)] == [1, 1]
    assert read_ledger(login.db, plan).clean


def test_sites_that_know_only_gres_throttle_and_start_python_in_a_container(login: Login) -> None:
    submit(login.db, new_sweep(2))
    container = login.folder / "container"
    container.write_text(f'#!/bin/sh\ntouch {login.folder}/entered\nexec {sys.executable} "$@"\n')
    container.chmod(0o755)
    sbatch = "gres=gpu:1 constraint=a100|nvlink mail-type=END,FAIL mail-user=me@here.org wckey=mine requeue"
    plan = Plan(steps=100, step_seconds=0.05)
    line = f"--workers 2 --at_once 1 --time 10 --python {container} --sbatch {sbatch}"
    job = login.launch(line, plan, gpus=1)
    told = login.cluster.run("scontrol", "show", "job", job)
    assert "ArrayTaskThrottle=1" in told and "Features=a100|nvlink" in told and "gpu:1" in told, told
    with login.store() as store:
        login.wait(lambda: drained(store) and not login.active(), "both runs are finished")
        assert {worker.identity.device for worker in store.workers(ended=True)} <= {"gpu0-aaaa", "gpu1-bbbb"}
    assert (login.folder / "entered").exists() and read_ledger(login.db, plan).clean


def test_cancelling_a_run_ends_its_job(login: Login) -> None:
    submit(login.db, new_sweep(1))
    job = login.launch("--time 10", ENDLESS)
    with login.store() as store:
        login.wait(lambda: is_training(store), "it trains")
        assert f"slurm {job}" in login.hlbq("status").stdout
        assert login.hlbq("cancel --run 1").returncode == 0
        login.wait(lambda: not login.active(), "the job ends")
    assert login.cluster.jobs()[job] == "COMPLETED"


def is_training(store: Store) -> bool:
    return any(run.step > 0 for run in store.runs(RunFilter(states=(State.RUNNING,))))


def assert_released_with_all_its_points(login: Login, run_id: int) -> None:
    with login.store() as store:
        run = store.run(run_id)
        assert run is not None
        assert (run.state, run.reason) == (State.PENDING, Reason.RELEASED)
        assert run.checkpoint is not None and run.checkpoint.step > 0
        points = [one.point.step for one in stored_points(store, RunFilter(run_ids=(run_id,)))]
        assert points == list(range(1, run.checkpoint.step + 1))


def test_stop_takes_jobs_that_wait_out_and_has_running_ones_release_their_runs(login: Login) -> None:
    submit(login.db, new_sweep(2))
    line = "--workers 2 --time 10 --sbatch cpus-per-task=8"  # the node holds one of them at a time
    with_option = login.hlbq(
        f"launch slurm --db {login.db} --gpus_per_worker 0 --state_dir {login.state} {line}", **with_stand_in(ENDLESS)
    )
    [stop] = re.findall(r"end them: hlbq (.+)", with_option.stderr)
    assert "--db" in stop and PASSWORD not in stop
    with login.store() as store:
        login.wait(lambda: is_training(store), "one trains")
        assert sorted(login.active().values()) == ["PENDING", "RUNNING"]
        done = login.hlbq(stop, HLBQ_DB="")  # exactly as printed
        assert "Slurm's queue: 1 job; told to release their runs and end: 1" in done.stderr
        login.wait(lambda: not login.active(), "both end")
    assert_released_with_all_its_points(login, 1)


def test_scancel_releases_the_run(login: Login) -> None:
    submit(login.db, new_sweep(1))
    job = login.launch("--time 10", ENDLESS)
    with login.store() as store:
        login.wait(lambda: is_training(store), "it trains")
    login.cluster.run("scancel", job)
    login.wait(lambda: not login.active(), "the job ends")
    assert_released_with_all_its_points(login, 1)


def test_a_worker_killed_on_its_node_loses_no_run(login: Login) -> None:
    submit(login.db, new_sweep(2))
    # Long enough for the second job to begin before the first is done with its run.
    plan = Plan(steps=300, step_seconds=0.05, checkpoint_every=5)
    login.launch("--workers 2 --time 10", plan)
    with login.store() as store:
        login.wait(lambda: all(run.checkpoint is not None for run in store.runs(RunFilter())), "both have a checkpoint")
        [victim, *_] = [worker for worker in store.workers() if worker.run_id is not None]
        os.kill(victim.identity.pid, signal.SIGKILL)
        login.wait(lambda: drained(store) and not login.active(), "the other worker finishes both runs")
        assert [attempt.reason for attempt in store.attempts(victim.run_id or 0)] == [Reason.LOST, Reason.FINISHED]
    assert read_ledger(login.db, plan).clean


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--partition nowhere", "invalid partition"),
        ("--partition short --time 30", "time limit"),
        ("--gpus_per_worker 3", "lower --gpus_per_worker"),
        ("--sbatch nosuchparameter=1", "nosuchparameter"),
        ("--sbatch constraint=h100", "sinfo --format '%p %f'"),
    ],
)
def test_what_slurm_refuses_is_told_in_its_words(login: Login, line: str, says: str) -> None:
    submit(login.db, new_sweep(1))
    done: subprocess.CompletedProcess[str] = login.hlbq(
        f"launch slurm --workers 2 --time 5 --state_dir {login.state} {line}".replace("--time 5 ", "", "--time" in line)
    )
    assert done.returncode == 2
    assert "Slurm refused" in done.stderr and says in done.stderr.lower()
    assert "Traceback" not in done.stderr and PASSWORD not in done.stderr
    assert login.active() == {}
