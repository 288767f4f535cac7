"""`hlbq worker`: claim runs and train them, on one device or on all GPUs, until the queue is empty."""

import os
from dataclasses import dataclass, replace

from orchestrator.cli.common import DatabaseOption
from orchestrator.cli.worker_options import GivenWorkerOptions


@dataclass(frozen=True, kw_only=True)
class WorkerHere(GivenWorkerOptions):
    """Where this worker trains, what it takes, and when it ends."""

    command = "worker"


def worker(what: WorkerHere, database: DatabaseOption) -> None:
    """Claim runs and train them, until the queue is empty.

    One worker on one device; with --gpus one on each GPU, with --slots several on each. Ctrl-C once takes a checkpoint,
    releases the runs and ends; twice stops at once. Exit code 1 if a run failed.
    """
    what.options.check()
    # The worker replaces this process, so signals reach it and its exit code is ours.
    options, environment = replace(what.options, db=database.db).hidden()
    argv = options.argv()
    os.execve(argv[0], argv, environment)
