"""Starts the jobs of `hlbq launch slurm` as processes of this machine, by submitit's local executor.

    python -m tests.local_slurm_jobs DATABASE WORKERS FILE

They outlive this process. FILE gets their process ids as a JSON list.
"""

import json
import os
import shlex
import sys
from pathlib import Path

from submitit import LocalExecutor

from orchestrator.files.state_folder import make_state_folder, state_folder
from orchestrator.launch.python_process import python_argv
from orchestrator.launch.slurm_order import TIME_SIGNAL
from orchestrator.launch.slurm_task import WorkerTask
from orchestrator.launch.worker_command import WorkerOptions
from orchestrator.store import parse_location


def main(db: str, workers: str, file: str) -> None:
    """Start them."""
    folder = make_state_folder(state_folder(parse_location(db).names))
    options = WorkerOptions(device="cpu", state_dir=str(folder))
    executor = LocalExecutor(
        make_state_folder(folder / "launch"), max_num_timeout=100, python=shlex.join(python_argv())
    )
    executor.update_parameters(timeout_min=10, signal_delay_s=120, gpus_per_node=0)
    os.environ["SUBMITIT_PREEMPT_SIGNAL"] = TIME_SIGNAL
    jobs = executor.submit_array([WorkerTask(options=options, environment={"HLBQ_DB": db})] * int(workers))
    Path(file).write_text(json.dumps([int(job.job_id) for job in jobs]))


if __name__ == "__main__":
    main(*sys.argv[1:])
