"""`python -P -m worker`: one worker. `hlbq worker` and `hlbq run` start it; its options are theirs."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from importlib.metadata import version

from hlbgpt_core.errors import HlbqError
from orchestrator.records import WorkerIdentity
from orchestrator.state_folder import make_state_folder, state_folder
from orchestrator.store import OpenMode, open_store
from worker.devices import Device, choose_device
from worker.processes import die_with_parent, host_id, host_name, start_ticks
from worker.supervisor import Supervisor, WorkerOptions, WorkerSummary
from worker.timing import Timing
from worker.trainer_handle import trainer_command

EXIT_FINE, EXIT_FAILED, EXIT_USAGE, EXIT_INTERRUPTED = 0, 1, 2, 130


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one worker to its end; returns the exit code."""
    given = _parser().parse_args(arguments)
    if given.with_parent:
        die_with_parent(given.with_parent, signal.SIGTERM)
    try:
        summary = _work(given)
    except HlbqError as error:
        _say(f"error: {error}")
        return EXIT_USAGE
    runs = f"{summary.completed} completed, {summary.failed} failed"
    _say(f"worker ends: {summary.why} ({runs})")
    if summary.interrupted:
        return EXIT_INTERRUPTED
    return EXIT_FAILED if summary.failed or summary.set_aside else EXIT_FINE


def identity_of(device: Device) -> WorkerIdentity:
    """Who this process is, as a worker on `device`."""
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


def _work(given: argparse.Namespace) -> WorkerSummary:
    device = choose_device(given.gpu, given.device)
    timing = Timing()
    with open_store(given.db, mode=OpenMode.WRITE) as store:
        folder = make_state_folder(state_folder(store.location.path, given.state_dir))
        supervisor = Supervisor(
            store=store,
            state_folder=folder,
            identity=identity_of(device),
            device=device,
            command=trainer_command(
                device.torch_device, deterministic=given.deterministic, path=given.path, compile_mode=given.compile
            ),
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
    return parser


def _say(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except OSError:
        pass  # nobody listens any more; the work goes on


if __name__ == "__main__":
    sys.exit(main())
