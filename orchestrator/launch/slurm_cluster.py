"""Slurm's commands: submitting through submitit, listing waiting and running jobs, and ending them."""

import contextlib
import getpass
import io
import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import LaunchError
from orchestrator.launch.slurm_order import ArrayOrder

if TYPE_CHECKING:
    from orchestrator.launch.slurm_task import WorkerTask

_INSTALL = "pip install 'hlbq[slurm]'"
_COMMAND_SECONDS = 120
# What Slurm says, and what to do about it.
_WAYS_OUT = {
    "configuration source": "This machine belongs to no Slurm cluster. Run this on a login node. For workers here: "
    "hlbq worker --gpus all",
    "partition": "See `sinfo` for the partitions, and name one with --partition.",
    "account": "See `sacctmgr show associations user=$USER`, and name an account with --account.",
    "time limit": "See `sinfo` for the limits of the partitions, and lower --time.",
    "node configuration": "No node has that much. See `sinfo --Node --long`, and lower --gpus_per_worker, "
    "--cpus_per_worker or --mem.",
    "feature": "See `sinfo --format '%P %f'` for the features of the nodes.",
    "gres": "See `sinfo --format '%P %G'` for the available GPUs.",
    "contact slurm controller": "Slurm's controller does not answer: see `scontrol ping`, and try again.",
    "array": "See MaxArraySize in `scontrol show config`, and lower --workers.",
}


def check_submitit() -> None:
    """Raise LaunchError if submitit is not installed."""
    try:
        import submitit  # noqa: F401
    except ImportError:
        raise LaunchError("launching on Slurm needs submitit, which is not installed", _INSTALL) from None


def check_slurm() -> None:
    """Raise LaunchError if Slurm is not installed here."""
    missing = [program for program in ("sbatch", "srun", "squeue", "scancel") if shutil.which(program) is None]
    if missing:
        raise LaunchError(
            f"Slurm is not on this machine: there is no '{missing[0]}'",
            "Run this on a login node (--dry_run shows the script). For workers here: hlbq worker --gpus all",
        )


def submit_array(order: ArrayOrder, task: "WorkerTask", folder: Path, secrets: Mapping[str, str]) -> list[str]:
    """Hand the array to Slurm; returns its jobs' ids. `secrets` are passed only through the environment. Raises
    LaunchError with Slurm's message if it refuses."""
    from submitit import SlurmExecutor
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    executor = SlurmExecutor(folder, max_num_timeout=order.max_requeues, python=order.python)
    executor.update_parameters(**order.parameters())
    said = io.StringIO()
    try:
        with _environment(secrets), contextlib.redirect_stderr(said):
            jobs = executor.submit_array([task] * order.workers)
    except (FailedJobError, FailedSubmissionError) as error:
        raise _refused(str(error) or said.getvalue()) from None
    return [job.job_id for job in jobs]


def stop_jobs(name: str) -> tuple[int, int]:
    """Take waiting jobs of this name out of Slurm's queue, and ask running ones to release their runs. Returns how many
    of each there were. Raises LaunchError."""
    mine = (f"--user={getpass.getuser()}", f"--name={name}")
    states = _ask("squeue", "--array", "--noheader", *mine, "--format=%T").split()
    _ask("scancel", "--state=PENDING", *mine)
    # Only the signal: Slurm would kill what it cancels after KillWait, and a checkpoint may take longer.
    _ask("scancel", "--state=RUNNING", "--signal=TERM", *mine)
    return states.count("PENDING"), states.count("RUNNING")


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_COMMAND_SECONDS)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LaunchError(f"{command[0]} does not answer ({type(error).__name__})", "See `scontrol ping`.") from None
    if done.returncode:
        raise _refused(done.stderr)
    return done.stdout


def _refused(words: str) -> LaunchError:
    """The error with Slurm's message, and what to do about it."""
    lines = [line.partition("error: ")[2] or line for line in words.strip().splitlines()]
    reason = "; ".join(line for line in lines if line.strip() and not line.startswith('Try "'))
    ways_out = [hint for said, hint in _WAYS_OUT.items() if said in reason.lower()]
    hint = ways_out[0] if ways_out else "See the script: hlbq launch slurm --dry_run"
    return LaunchError(f"Slurm refused: {reason or 'it gave no reason'}", hint)


@contextlib.contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """Set variables for the block: sbatch, and anything else started in it, inherits them."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
