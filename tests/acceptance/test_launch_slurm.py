"""`hlbq launch slurm` without a Slurm: its jobs on this machine by submitit's local executor, and bad input.

What needs Slurm itself is in tests/slurm (make test-slurm).
"""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason, State
from orchestrator.store import OpenMode, Store, open_store
from tests.command_line import Hlbq, hlbq_in
from tests.faults.harness import drained, new_sweep, read_ledger, submit, wait_until, with_stand_in
from tests.stand_in_trainer import Plan
from worker.processes import ProcessState, process_state

SHARED = "postgresql://me:s3cret@dbhost/hlbq"


@pytest.fixture
def hlbq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hlbq:
    return hlbq_in(tmp_path, monkeypatch, capsys)


class Jobs:
    """Jobs of this machine, launched on an SQLite file."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.db = folder, str(folder / "hlbq.db")
        self.controllers: list[int] = []

    def launch(self, plan: Plan, workers: int = 1) -> None:
        """Start them from a process of their own, which ends; notes the jobs' processes."""
        started = self.folder / "jobs.json"
        subprocess.run(
            [sys.executable, "-m", "tests.local_slurm_jobs", self.db, str(workers), str(started)],
            env={**os.environ, **with_stand_in(plan)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=240,
            check=True,
        )
        self.controllers = json.loads(started.read_text())

    def over(self) -> bool:
        """Whether all jobs have ended."""
        return all(process_state(pid, 0) is ProcessState.DEAD for pid in self.controllers)

    def said(self) -> str:
        """What the jobs printed."""
        return "\n".join(path.read_text() for path in self.folder.rglob("*_log.*"))


@pytest.fixture
def jobs(tmp_path: Path) -> Iterator[Jobs]:
    made = Jobs(tmp_path)
    yield made
    for pid in made.controllers:
        if process_state(pid, 0) is not ProcessState.DEAD:
            os.kill(pid, signal.SIGTERM)
    wait_until(made.over, seconds=120, what="the jobs end")


def is_training(store: Store) -> bool:
    return any(run.step > 0 for run in store.runs(RunFilter(states=(State.RUNNING,))))


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_jobs_work_the_queue_off_and_end_and_one_whose_time_is_up_goes_on(jobs: Jobs, tmp_path: Path) -> None:
    submit(jobs.db, new_sweep(2))
    go = tmp_path / "go"
    plan = Plan(checkpoint_every=1000, hold_after=3, go=str(go))
    jobs.launch(plan, workers=2)
    with open_store(jobs.db, mode=OpenMode.READ) as store:
        wait_until(lambda: is_training(store), seconds=120, what="a job trains")
        [worker, *_] = [one for one in store.workers() if one.run_id is not None]
        os.kill(parent_of(worker.identity.pid), signal.SIGUSR1)
        run_id = worker.run_id or 0
        wait_until(lambda: store.attempts(run_id)[0].reason is not None, seconds=120, what="the job gives its run back")
        go.touch()
        wait_until(lambda: drained(store) and jobs.over(), seconds=120, what="all jobs end")
        first, *later = store.attempts(run_id)
        assert first.reason is Reason.RELEASED and later[-1].reason is Reason.FINISHED
        assert later[-1].start_step > 0
    assert "the job goes back into the queue" in jobs.said()
    assert read_ledger(jobs.db, plan).clean


def test_a_job_that_is_asked_to_stop_releases_its_run(jobs: Jobs) -> None:
    submit(jobs.db, new_sweep(1))
    jobs.launch(Plan(steps=1_000_000, step_seconds=0.05, checkpoint_every=1_000_000))
    with open_store(jobs.db, mode=OpenMode.READ) as store:
        wait_until(lambda: is_training(store), seconds=120, what="the job trains")
        os.kill(jobs.controllers[0], signal.SIGTERM)
        wait_until(jobs.over, seconds=120, what="the job ends")
        run = store.run(1)
        assert run is not None and (run.state, run.reason) == (State.PENDING, Reason.RELEASED)
        assert run.checkpoint is not None and run.checkpoint.step > 0


def test_a_dry_run_shows_the_script_and_needs_neither_slurm_nor_database(hlbq: Hlbq) -> None:
    done = hlbq(
        f"launch slurm --db {SHARED} --state_dir /shared/x --workers 8 --gpus-per-worker 1 --time 4:00:00 --dry-run"
    )
    assert done.code == 0
    assert "#SBATCH --array=0-7%8" in done.out and "#SBATCH --time=240" in done.out
    assert "each task runs: hlbq worker" in done.err and "--gpus all" in done.err
    assert "s3cret" not in done.out + done.err


def test_a_dry_run_is_json_for_programs(hlbq: Hlbq) -> None:
    done = hlbq(f"launch slurm --db {SHARED} --state_dir /shared/x --dry_run --json --slots 2")
    told = json.loads(done.out)
    assert "#SBATCH --time=60" in told["script"] and told["worker"].startswith("hlbq worker ")
    assert "--slots 2" in told["worker"] and "s3cret" not in done.out + done.err


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("launch slurm", "is an SQLite file, which the nodes of a cluster cannot share"),
        ("launch slurm --db sqlite:///hlbq.db --dry_run", "hlbq db copy"),
        ("launch slurm --stop", "SQLite file"),
        (f"launch slurm --db {SHARED}", "Add --state_dir FOLDER"),
        (f"launch slurm --db {SHARED} --state_dir x --time 4h", "--time 4h is not a time"),
        (f"launch slurm --db {SHARED} --state_dir x --time 1", "leaves nothing of --time 1"),
        (f"launch slurm --db {SHARED} --state_dir x --mem lots", "--mem lots is not an amount of memory"),
        (f"launch slurm --db {SHARED} --state_dir x --sbatch array=3", "hlbq sets array itself"),
        (f"launch slurm --db {SHARED} --state_dir x --workers 0", "--workers: 0 is too small"),
        (f"launch slurm --db {SHARED} --state_dir x --gpu_type a100 --gpus_per_worker 0", "--gpu_type a100"),
        (f"launch slurm --db {SHARED} --stop --dry_run", "--stop and --dry_run were given together"),
        (f"launch slurm --db {SHARED.replace('s3', 's3cret@')} --state_dir x --dry_run", "Write %40"),
        ("launch slrum", "Did you mean 'hlbq launch slurm'?"),
    ],
)
def test_bad_input_is_told_with_the_way_out(hlbq: Hlbq, line: str, says: str) -> None:
    done = hlbq(line)
    assert done.code == 2 and done.out == ""
    assert says in done.err and "s3cret" not in done.err


def test_where_there_is_no_slurm_it_says_so(hlbq: Hlbq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    for line in (f"launch slurm --db {SHARED} --state_dir x", f"launch slurm --db {SHARED} --stop"):
        done = hlbq(line)
        assert done.code == 2
        assert "Slurm is not on this machine: there is no 'sbatch'" in done.err and "--gpus all" in done.err
    assert shutil.which("sbatch") is None


def test_a_database_that_does_not_answer_is_told_before_anything_is_launched(
    hlbq: Hlbq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for program in ("sbatch", "srun", "squeue", "scancel"):
        (tmp_path / program).write_text("#!/bin/sh\nexit 1\n")
        (tmp_path / program).chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    done = hlbq("launch slurm --db postgresql://me:s3cret@127.0.0.1:1/q --state_dir x")
    assert done.code == 2
    assert "127.0.0.1" in done.err and "s3cret" not in done.err and "Traceback" not in done.err
    assert not (tmp_path / "x").exists()
