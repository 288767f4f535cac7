"""`python -P -m worker`: one worker. `hlbq worker` and `hlbq run` start it; its options are theirs.

Its trainer process is started first of all, and loads torch while this one loads SQLAlchemy, registers and claims.
With `--standby` the worker then waits for a line on stdin, a JSON object with the sweep to work on and the log to write
to: `hlbq run` starts it before it has planned and stored the sweep. Where stdin ends instead, it leaves in silence.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from hlbgpt_core.errors import HlbqError
from worker.devices import Device, choose_device
from worker.processes import die_with_parent, host_id, host_name, start_ticks
from worker.run_log import log_to
from worker.trainer_handle import trainer_command
from worker.trainer_keeper import EarlyTrainer

# What imports SQLAlchemy is imported below, in the functions that use it: after the trainer's start.
if TYPE_CHECKING:
    from orchestrator.records import WorkerIdentity
    from worker.supervisor import WorkerSummary

EXIT_FINE, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one worker to its end; returns the exit code."""
    given = _parser().parse_args(arguments)
    if given.with_parent:
        die_with_parent(given.with_parent, signal.SIGTERM)
    early: EarlyTrainer | None = None
    try:
        device = choose_device(given.gpu, given.device)
        command = trainer_command(
            device.torch_device, deterministic=given.deterministic, path=given.path, compile_mode=given.compile
        )
        early = EarlyTrainer.begin(command, device, given.threads)
        import worker.supervisor  # noqa: F401  (before the wait for a sweep, not after it)

        if given.standby and not _await_sweep(given):
            return EXIT_FINE
        summary = _work(given, device, command, early)
    except HlbqError as error:
        _say(f"error: {error}")
        return EXIT_USAGE
    finally:
        if early is not None:
            early.handle.kill()
    runs = f"{summary.completed} completed, {summary.failed} failed"
    _say(f"worker ends: {summary.why} ({runs})")
    if summary.interrupted:
        return EXIT_INTERRUPTED
    return EXIT_FAILED if summary.failed or summary.set_aside else EXIT_FINE


def identity_of(device: Device) -> "WorkerIdentity":
    """Who this process is, as a worker on `device`."""
    from importlib.metadata import version

    from orchestrator.records import WorkerIdentity

    return WorkerIdentity(
        host=host_id(),
        hostname=host_name(),
        pid=os.getpid(),
        start_ticks=start_ticks(os.getpid()),
        device=device.name,
        device_name=device.description,
        program_version=version("hlbq"),
        job=os.environ.get("HLBQ_JOB", ""),
    )


def _await_sweep(given: argparse.Namespace) -> bool:
    """Wait for the sweep to work on, and note it in `given`; False where there will be none."""
    line = sys.stdin.readline()
    if not line:
        return False
    order = json.loads(line)
    log_to(Path(order["log"]))
    given.sweep = [*given.sweep, order["sweep"]]
    return True


def _work(given: argparse.Namespace, device: Device, command: Sequence[str], early: EarlyTrainer) -> "WorkerSummary":
    from orchestrator.state_folder import make_state_folder, state_folder
    from orchestrator.store import OpenMode, open_store
    from worker.supervisor import Supervisor, WorkerOptions
    from worker.timing import Timing

    timing = Timing()
    with open_store(given.db, mode=OpenMode.WRITE) as store:
        folder = make_state_folder(state_folder(store.location.path, given.state_dir))
        supervisor = Supervisor(
            store=store,
            state_folder=folder,
            identity=identity_of(device),
            device=device,
            command=command,
            early=early,
            options=WorkerOptions(
                sweep_ids=tuple(given.sweep), watch=given.watch, count=given.count, threads=given.threads
            ),
            timing=timing,
            say=_say,
        )
        supervisor.install_signal_handlers()
        _say(f"worker on {device.name} ({device.description}), database {store.location.display}")
        return supervisor.run()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="hlbq worker", allow_abbrev=False)
    parser.add_argument("--db")
    parser.add_argument("--state_dir")
    parser.add_argument("--gpu", type=int)
    parser.add_argument("--device")
    parser.add_argument("--watch", action="store_true")
    parser.add_argument("--count", type=int, default=0)
    parser.add_argument("--sweep", type=int, action="append", default=[])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--fast", dest="path", action="store_const", const="fast")
    parser.add_argument("--plain", dest="path", action="store_const", const="plain")
    parser.add_argument("--compile", choices=("auto", "always", "never"), default="auto")
    parser.add_argument("--with-parent", type=int, default=0)
    parser.add_argument("--standby", action="store_true")
    return parser


def _say(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        pass  # nobody listens any more; the work goes on


if __name__ == "__main__":
    sys.exit(main())
