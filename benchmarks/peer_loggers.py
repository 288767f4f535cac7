"""What logging ten metrics a step costs with other trackers, run by the peers' Python (see peers.py):

    python -m benchmarks.peer_loggers off|trackio|wandb|mlflow FOLDER --steps 500

Each as its documentation advises for a training loop on one machine: Trackio with its local storage, W&B offline
(without system statistics, which Trackio does not record either), MLflow with its SQLite store and asynchronous
logging. None of them says that a logged step is on disk when the call returns; nor does hlbq, which promises at most 2
s of points.
"""

import argparse
import json
import os
import resource
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path

from benchmarks.step_loop import measure, metrics_of

Sides = tuple[Callable[[int], object], Callable[[], float | None]]


def off(folder: Path) -> Sides:
    """Nothing is logged; the numbers are made."""
    return metrics_of, lambda: None


def trackio(folder: Path) -> Sides:
    """Trackio's local SQLite storage."""
    os.environ["TRACKIO_DIR"] = str(folder)
    import trackio

    trackio.init(project="benchmark", embed=False, auto_log_gpu=False, auto_log_cpu=False)
    return lambda step: trackio.log(metrics_of(step), step=step), trackio.finish


def wandb(folder: Path) -> Sides:
    """W&B without a server."""
    import wandb

    settings = wandb.Settings(x_disable_stats=True, console="off", silent=True)
    run = wandb.init(project="benchmark", mode="offline", dir=str(folder), settings=settings)

    def finish() -> float:
        run.finish()
        wandb.teardown()  # its process ends, so its CPU time counts (its start too: some milliseconds)
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    return lambda step: run.log(metrics_of(step), step=step), finish


def mlflow(folder: Path) -> Sides:
    """MLflow's SQLite store."""
    import mlflow

    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_experiment("benchmark")
    mlflow.start_run()

    def finish() -> None:
        mlflow.flush_async_logging()
        mlflow.end_run()

    return lambda step: mlflow.log_metrics(metrics_of(step), step=step, synchronous=False), finish


SIDES = {"off": off, "trackio": trackio, "wandb": wandb, "mlflow": mlflow}


def main() -> None:
    """Print what a step costs, as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("side", choices=SIDES)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--steps", type=int, default=500)
    given = parser.parse_args()
    log, finish = SIDES[given.side](given.folder)
    found = measure(log, finish, given.steps)
    print()
    print(json.dumps({**found, "version": version(given.side) if given.side != "off" else ""}))


if __name__ == "__main__":
    main()
