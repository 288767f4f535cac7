"""`hlbq launch slurm` on a real Slurm of one node: arrays run and end, time is up, cancelling, killing, refusing."""

import os
import signal
import subprocess

import pytest

from orchestrator.records import RunFilter
from orchestrator.runs import Reason, State
from orchestrator.store import Store
from tests.faults.harness import ask, drained, new_sweep, submit
from tests.slurm.conftest import PASSWORD, Login

ENDLESS = 1_000_000


def job_of(store: Store, worker_id: int) -> str:
    return next(worker.identity.job for worker in store.workers(ended=True) if worker.id == worker_id)


def doubled_points(store: Store) -> int:
    """Points past the step from which a later attempt went on."""
    return ask(
        store,
        "SELECT count(*) FROM points WHERE EXISTS (SELECT 1 FROM attempts AS later WHERE later.run_id = points.run_id "
        "AND later.fence > points.fence AND points.step > later.start_step)",
    )


def test_an_array_works_the_queue_off_and_ends_and_no_password_is_seen(login: Login) -> None:
    submit(login.db, new_sweep(3, max_steps=5))
    array = login.launch("--workers 3 --time 10")
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


def test_a_job_whose_time_is_up_goes_back_into_the_queue_and_its_run_goes_on_until_cancelled(login: Login) -> None:
    """Slurm's own signal, not a made-up one. In the end `hlbq cancel` reaches the run, and the job ends by itself."""
    submit(login.db, new_sweep(1, max_steps=ENDLESS))
    job = login.launch("--time 2 --seconds_before_end 85")
    with login.store() as store:

        def run_step() -> int:
            run = store.run(1)
            return run.step if run is not None and run.state is State.RUNNING else 0

        login.wait(lambda: len(store.attempts(1)) == 1 and run_step() > 0, "the first attempt trains")
        login.wait(lambda: store.attempts(1)[0].reason is Reason.RELEASED, "its time is up")
        released = store.run(1)
        assert released is not None and released.checkpoint is not None
        status = login.hlbq("status")
        assert "1 pending" in status.stdout
        login.wait(lambda: len(store.attempts(1)) > 1, "Slurm starts the job again")
        first, second = store.attempts(1)[:2]
        assert second.start_step == released.checkpoint.step > 0
        assert job_of(store, first.worker_id) == job_of(store, second.worker_id) == f"slurm {job}"
        assert f"slurm {job}" in login.hlbq("status").stdout
        assert login.hlbq("cancel --run 1").returncode == 0
        login.wait(lambda: not login.active(), "the job ends")
        assert {worker.ended_why for worker in store.workers(ended=True)} >= {"its time is nearly up"}
        assert doubled_points(store) == 0
    assert login.cluster.jobs()[job] == "COMPLETED"


def test_stop_takes_jobs_that_wait_out_and_has_running_ones_release_their_runs(login: Login) -> None:
    submit(login.db, new_sweep(2, max_steps=ENDLESS))
    login.launch("--workers 2 --time 10 --sbatch cpus-per-task=8")  # the node holds one of them at a time
    with login.store() as store:
        login.wait(lambda: any(run.step > 0 for run in store.runs(RunFilter())), "one trains")
        assert sorted(login.active().values()) == ["PENDING", "RUNNING"]
        done = login.hlbq("launch slurm --stop")
        assert "Slurm's queue: 1 job; asked to release their runs and end: 1" in done.stderr
        login.wait(lambda: not login.active(), "both end")
        [run] = [run for run in store.runs(RunFilter()) if run.fence]
        assert (run.state, run.reason) == (State.PENDING, Reason.RELEASED)
        assert run.checkpoint is not None and run.checkpoint.step > 0


def test_scancel_releases_the_run(login: Login) -> None:
    submit(login.db, new_sweep(1, max_steps=ENDLESS))
    job = login.launch("--time 10")
    with login.store() as store:
        login.wait(lambda: any(run.step > 0 for run in store.runs(RunFilter())), "it trains")
        login.cluster.run("scancel", job)
        login.wait(lambda: not login.active(), "the job ends")
        run = store.run(1)
        assert run is not None
        assert (run.state, run.reason) == (State.PENDING, Reason.RELEASED)
        assert run.checkpoint is not None and run.checkpoint.step > 0


def test_a_worker_killed_on_its_node_loses_no_run(login: Login) -> None:
    submit(login.db, new_sweep(2, max_steps=300, checkpoint_every_seconds=1))
    login.launch("--workers 2 --time 10")
    with login.store() as store:
        login.wait(lambda: any(run.checkpoint is not None for run in store.runs(RunFilter())), "a checkpoint is there")
        [victim, *_] = [worker for worker in store.live_workers() if worker.run_id is not None]
        os.kill(victim.identity.pid, signal.SIGKILL)
        login.wait(lambda: drained(store) and not login.active(), "the other worker finishes both runs")
        assert all(run.state is State.COMPLETED for run in store.runs(RunFilter()))
        assert doubled_points(store) == 0


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("--partition nowhere", "invalid partition"),
        ("--partition short --time 30", "time limit"),
        ("--gpus_per_worker 3", "lower --gpus_per_worker"),
        ("--sbatch nosuchparameter=1", "nosuchparameter"),
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
