"""`python -P -m worker`: one worker, or the parent of several. `hlbq worker` and `hlbq run` start it.

It takes their options, and a few more from a parent that starts several workers. It first starts its trainer process,
which loads torch while this one loads SQLAlchemy, registers and claims. With `--prestarted` it then waits for a line on
stdin, a JSON object with the sweep to train and the log to write to: `hlbq run` starts it before it has planned and
stored the sweep. If stdin ends instead, it exits silently.
"""

import errno
import json
import os
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from hlbgpt_core.errors import HlbqError
from orchestrator.files.standard_streams import open_closed_streams, unfailing_text
from orchestrator.launch.stop_signals import heed_interrupts, ignore_late_signals
from orchestrator.launch.worker_command import WorkerOptions
from worker.devices.devices import Device, choose_device
from worker.exit_codes import EXIT_FAILED, EXIT_FAULT, EXIT_FINE, EXIT_INTERRUPTED, EXIT_USAGE
from worker.processes import cluster_job, die_with_parent, host_id, start_ticks
from worker.timing import Timing
from worker.trainer.run_log import log_to
from worker.trainer.trainer_handle import trainer_command
from worker.trainer.trainer_manager import TrainerManager

# What imports SQLAlchemy is imported below, in the functions that use it: after the trainer's start.
if TYPE_CHECKING:
    from orchestrator.queue.workers import WorkerIdentity
    from worker.outcome import WorkerSummary


# Files, processes and memory that this user may have.
_LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.EAGAIN, errno.ENOMEM})


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one worker, or several under this process, to the end; returns the exit code."""
    options = WorkerOptions.from_words(arguments)
    # A worker that has a parent already is one slot itself.
    is_parent = options.slot is None and (any(options.gpus) or options.slots > 1)
    if options.with_parent:
        die_with_parent(options.with_parent, signal.SIGTERM)
    try:
        heed_interrupts()
        options.check()
        return _be_a_parent(options) if is_parent else _be_a_worker(options)
    except HlbqError as error:
        _say(f"{options.label}error: {error}")
        return EXIT_USAGE
    except KeyboardInterrupt:  # before the worker was ready to hear of it
        return EXIT_INTERRUPTED
    except OSError as error:
        if error.errno not in _LIMITS:
            traceback.print_exc()
            return EXIT_FAULT
        _say(
            f"{options.label}error: the worker cannot start its processes: {error.strerror}\nSee the limits: ulimit -a"
        )
        return EXIT_USAGE
    # A fault of the program itself: printed in full, with an exit code that says that no run is to blame.
    except Exception:
        traceback.print_exc()
        return EXIT_FAULT


def _be_a_worker(options: WorkerOptions) -> int:
    def say(text: str) -> None:
        _say(f"{options.label}{text}")

    device = choose_device(options.gpu, options.device)
    trainers = TrainerManager(
        command=trainer_command(device.torch_device, options),
        device=device,
        threads=options.threads,
        kill_grace_seconds=Timing.kill_grace_seconds,
        say=say,
    )
    try:
        trainers.load()
        import worker.supervisor  # noqa: F401  (before the wait for a sweep, not after it)

        ordered = _await_sweep(options) if options.prestarted else options
        if ordered is None:
            return EXIT_FINE
        return _exit_code(_work(ordered, device, trainers, say), options.label)
    finally:
        trainers.kill()


def identity_of(device: Device, *, slot: int = 0, slots: int = 1) -> "WorkerIdentity":
    """Who this process is, as a worker on `device`."""
    from importlib.metadata import version

    from orchestrator.queue.workers import WorkerIdentity

    return WorkerIdentity(
        host=host_id(),
        hostname=socket.gethostname(),
        pid=os.getpid(),
        start_ticks=start_ticks(os.getpid()),
        device=device.name,
        device_name=device.description,
        slot=slot,
        slots=slots,
        program_version=version("hlbq"),
        job=cluster_job(os.environ),
    )


def _await_sweep(options: WorkerOptions) -> WorkerOptions | None:
    """Wait for the sweep to work on; the options with it, None where there will be none."""
    line = sys.stdin.readline()
    if not line:
        return None
    order = json.loads(line)
    log_to(Path(order["log"]))
    return replace(options, sweep=(*options.sweep, order["sweep"]))


def _be_a_parent(options: WorkerOptions) -> int:
    """Be the parent of a worker for every device and slot that was asked for."""
    from worker.pool import WorkerPool, plan_places

    ordered = _await_sweep(options) if options.prestarted else options
    if ordered is None:
        return EXIT_FINE
    places = plan_places(ordered, _say)
    # By the environment, so that a password in the URL stands in no further command line.
    environment = {"HLBQ_DB": options.db} if options.db else {}
    return WorkerPool(places=places, environment=environment, say=_say).run()


def _work(
    options: WorkerOptions, device: Device, trainers: TrainerManager, say: Callable[[str], None]
) -> "WorkerSummary":
    from orchestrator.files.state_folder import make_state_folder, state_folder
    from orchestrator.queue.runs import RunFilter
    from orchestrator.store import OpenMode, open_store
    from orchestrator.store.known import check_named
    from worker.supervisor import Supervisor

    timing = Timing()
    with open_store(options.db, mode=OpenMode.WRITE, busy_timeout_seconds=timing.busy_timeout_seconds) as store:
        check_named(store, RunFilter(sweep_ids=options.sweep))
        folder = make_state_folder(state_folder(store.location.names, options.state_dir))
        supervisor = Supervisor(
            store=store,
            state_folder=folder,
            identity=identity_of(device, slot=options.slot or 0, slots=options.slots),
            device=device,
            trainers=trainers,
            options=options,
            timing=timing,
            say=say,
        )
        supervisor.stop_requests.heed_signals()
        say(f"worker on {device.name} ({device.description}), database {store.location.display}")
        return supervisor.run()


def _exit_code(summary: "WorkerSummary", label: str) -> int:
    runs = f"{summary.completed} completed, {summary.failed} failed"
    _say(f"{label}worker ends: {summary.why} ({runs})")
    if summary.interrupted:
        return EXIT_INTERRUPTED
    if summary.could_not_work:
        return EXIT_USAGE
    return EXIT_FAILED if summary.failed or summary.set_aside else EXIT_FINE


def _say(text: str) -> None:
    # In one piece: the lines of several workers come to one terminal.
    sys.stderr.write(f"{text}\n")
    sys.stderr.flush()


if __name__ == "__main__":
    open_closed_streams()
    sys.stdout, sys.stderr = unfailing_text(1), unfailing_text(2)  # nobody may listen any more; the work goes on
    code = main()
    ignore_late_signals()
    sys.exit(code)
