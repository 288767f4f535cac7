"""`hlbq launch slurm`: a job array of workers."""

import hashlib
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.common import DatabaseOption, JsonOption
from orchestrator.cli.option_groups import OptionGroup, option
from orchestrator.cli.output import counted, note, print_json, say, warn
from orchestrator.errors import UsageError
from orchestrator.files.state_folder import make_state_folder, state_folder
from orchestrator.launch import slurm_cluster, slurm_order
from orchestrator.launch.python_process import python_argv
from orchestrator.launch.reachable_database import check_shared, secrets_of, warning_if_not_shared
from orchestrator.launch.slurm_order import ArrayOrder
from orchestrator.launch.slurm_task import WorkerTask
from orchestrator.launch.worker_command import WorkerOptions
from orchestrator.queue.runs import RunFilter

if TYPE_CHECKING:
    from orchestrator.store import Store, StoreLocation


@dataclass(frozen=True, kw_only=True)
class JobOptions(OptionGroup):
    """What to ask of Slurm for each worker."""

    workers: int = option(1, help="How many workers: the size of the job array.", minimum=1, maximum=10_000)
    at_once: int = option(0, help="The most jobs that run at the same time; 0: as many as Slurm starts.", minimum=0)
    gpus_per_worker: int = option(1, help="GPUs for each worker; 0: train on the CPU.", minimum=0, maximum=64)
    gpu_type: str = option("", help="The GPU model, as the cluster names it (a100).")
    cpus_per_worker: int = option(2, help="CPUs for each worker.", minimum=1)
    mem: str = option("", help="Memory for each worker, such as 32G (default: the cluster's).")
    time: str = option("1:00:00", help="Time limit of a job, as Slurm reads it: 4:00:00, or minutes.")
    partition: str = option("", help="The partition (default: the cluster's).")
    account: str = option("", help="The account that pays (default: yours).")
    sbatch: tuple[str, ...] = option(
        (), help="More parameters of sbatch, without dashes: qos=high exclusive.", metavar="PARAMETER..."
    )
    setup: tuple[str, ...] = option(
        (), help="Shell lines that a job runs first, each in quotes: 'module load cuda'.", metavar="LINE..."
    )
    python: str = option(
        "", help="Command that runs Python in a job, such as 'apptainer exec --nv hlbq.sif python' (default: this one)."
    )
    seconds_before_end: int = option(
        120, help="Checkpoint and release the run this long before the job's time is up.", minimum=10
    )
    max_requeues: int = option(
        100, help="How often a job may go back into Slurm's queue when its time is up.", minimum=0
    )


def slurm(
    job: JobOptions,
    what: WorkerOptions,
    database: DatabaseOption,
    dry_run: bool = option(False, "--dry-run", help="Print the script that sbatch would get; submit nothing."),
    stop: bool = option(False, help="End the jobs launched for this database; running ones release their runs."),
    as_json: JsonOption = False,
) -> None:
    """Start workers as a Slurm job array. Each claims runs until the queue is empty or its time is nearly up.

    When the time of a job is nearly up, its worker saves a checkpoint and releases its run. The job goes back into
    Slurm's queue.
    """
    from orchestrator.store import parse_location

    location = parse_location(database.db)
    if stop and dry_run:
        raise UsageError("--stop and --dry_run were given together", "Leave one of them out.")
    if job.gpu_type and not job.gpus_per_worker:
        raise UsageError(
            f"--gpu_type {job.gpu_type} was given, and --gpus_per_worker 0 asks for none", "Leave one of them out."
        )
    check_shared(location)
    if stop:
        _stop(location, as_json=as_json)
        return
    slurm_cluster.check_submitit()
    order, folder = _order(job, location), state_folder(location.names, what.state_dir)
    if dry_run:
        _show_script(order, folder, _worker(job, what, folder), as_json=as_json)
        return
    slurm_cluster.check_slurm()
    with database.write() as store:
        _check_queue(store, what)
        hidden = secrets_of(location)
        task = WorkerTask(options=_worker(job, what, folder), environment={"HLBQ_DB": location.display})
        launch = make_state_folder(make_state_folder(folder) / "launch")
        jobs = slurm_cluster.submit_array(order, task, launch, hidden)
    if as_json:
        print_json({"jobs": jobs, "name": order.name, "folder": str(launch)})
    else:
        _tell(jobs, order, launch, store.location.option)


def _order(job: JobOptions, location: "StoreLocation") -> ArrayOrder:
    """What to ask of Slurm. Raises UsageError for values that Slurm would not understand."""
    minutes = slurm_order.minutes_of(job.time)
    if job.seconds_before_end >= 60 * minutes:
        raise UsageError(
            f"--seconds_before_end {job.seconds_before_end} leaves nothing of --time {job.time}",
            "Give the jobs more time, or lower --seconds_before_end.",
        )
    given = {**vars(job), "name": job_name(location), "python": job.python or shlex.join(python_argv())}
    given |= {"minutes": minutes, "mem": slurm_order.checked_memory(job.mem), "setup": job.setup}
    given |= {"extra": slurm_order.extra_parameters(job.sbatch)}
    del given["time"], given["sbatch"]
    order = ArrayOrder(**given)
    slurm_order.check_clashes(order)
    return order


def job_name(location: "StoreLocation") -> str:
    """The name of all jobs launched for a database: it identifies them later."""
    return f"hlbq-{hashlib.sha256(location.public.encode()).hexdigest()[:8]}"


def _worker(job: JobOptions, what: WorkerOptions, folder: Path) -> WorkerOptions:
    """The worker of a job; it finds the database in its environment."""
    options = replace(what, state_dir=str(folder))
    return replace(options, gpus=("all",)) if job.gpus_per_worker else replace(options, device="cpu")


def _show_script(order: ArrayOrder, folder: Path, options: WorkerOptions, *, as_json: bool) -> None:
    script = slurm_order.script_of(order, folder / "launch").rstrip()
    worker = f"hlbq worker {shlex.join(options.to_words())}"
    if as_json:
        print_json({"script": script, "worker": worker})
    else:
        say(script)
        note(f"each task runs: {worker}")


def _check_queue(store: "Store", what: WorkerOptions) -> None:
    """Warn about likely mistakes before nodes are reserved. Raises NotThereError for an unknown sweep."""
    from orchestrator.store.known import check_named

    check_named(store, RunFilter(sweep_ids=what.sweep))
    if not store.may_grow(what.sweep) and not store.waiting(what.sweep):
        warn("no run is waiting: the workers will end as soon as they start. Queue some: hlbq submit")
    if warning := warning_if_not_shared(store.location):
        warn(warning)


def _tell(jobs: list[str], order: ArrayOrder, launch: Path, database_option: str) -> None:
    """Print which jobs there are now, and what to type next."""
    span = jobs[0] if len(jobs) == 1 else f"{jobs[0]} to {jobs[-1]}"
    note(f"{counted(len(jobs), 'worker')}: Slurm jobs {span}, named {order.name}")
    note(f"status: hlbq status{database_option}   squeue --name={order.name}")
    note(f"output: {launch}/{jobs[0]}_0_log.err")
    note(f"to end them: hlbq launch slurm{database_option} --stop")


def _stop(location: "StoreLocation", *, as_json: bool) -> None:
    slurm_cluster.check_slurm()
    waiting, running = slurm_cluster.stop_jobs(job_name(location))
    note(f"removed from Slurm's queue: {counted(waiting, 'job')}; told to release their runs and end: {running}")
    if as_json:
        print_json({"waiting": waiting, "running": running})
