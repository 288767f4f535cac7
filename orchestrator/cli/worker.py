"""`hlbq worker`."""

import os
from dataclasses import replace

from orchestrator.cli.common import DatabaseOption
from orchestrator.launch.worker_command import WorkerOptions


def worker(what: WorkerOptions, database: DatabaseOption) -> None:
    """Claim runs and train them, until the queue is empty.

    This is one worker on one device. --gpus starts one worker on each GPU, --slots several on each device. Ctrl-C once
    saves a checkpoint, releases the runs and ends; twice stops at once. Exit code 1 if a run failed.
    """
    what.check()
    # The worker replaces this process, so signals reach it and its exit code is ours.
    options, environment = replace(what, db=database.db).hidden()
    argv = options.argv()
    os.execve(argv[0], argv, environment)
