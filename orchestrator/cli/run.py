"""`hlbq run`: submit a sweep, work it off on this machine with a live view, and export its table."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.common import DatabaseOption, YesOption, counted, note
from orchestrator.cli.given import GivenSettings, SweepOptions
from orchestrator.cli.option_groups import OptionGroup, grouped
from orchestrator.cli.submit import ReviewOptions, submit_sweep
from orchestrator.cli.sweep_command import SweepCommand
from orchestrator.cli.worker import DeviceOptions
from orchestrator.errors import UsageError
from orchestrator.records import RunFilter, SweepRecord
from orchestrator.runs import State

if TYPE_CHECKING:
    from orchestrator.store import Store

POLL_SECONDS = 0.5
DEFAULT_TABLE = "results.csv"


@dataclass(frozen=True, kw_only=True)
class LocalWorkers(OptionGroup):
    """How many workers this machine gives the sweep, and where the table goes."""

    workers: Annotated[
        int, typer.Option(min=1, max=256, help="Worker processes on the device; on a CPU one a core or two.")
    ] = 1
    output: Annotated[
        str, typer.Option("--output", "-o", help="The table to write at the end (.csv, .parquet, .jsonl).")
    ] = DEFAULT_TABLE


def register(app: typer.Typer) -> None:
    """Add `run`."""
    app.command("run", cls=SweepCommand)(grouped(run))


def run(
    settings: GivenSettings,
    sweep: SweepOptions,
    review: ReviewOptions,
    where: DeviceOptions,
    local: LocalWorkers,
    database: DatabaseOption,
    yes: YesOption = False,
) -> None:
    """Submit a sweep, train it here with a live view, and export its table.

    Ctrl-C releases the runs at hand after a checkpoint; `hlbq worker` goes on with them later. Exit code 1 if a run
    failed.
    """
    check_output(local.output)
    where.check()
    if local.workers > 1 and (where.gpus or where.slots > 1):
        raise UsageError("--workers was given with --gpus or --slots", "With these, one parent starts the workers.")
    stored = submit_sweep(settings, sweep, review, database, yes=yes)
    if stored is None:
        return
    with database.write() as store:
        interrupted = work_off(store, stored, worker_command(where, database, stored), local.workers, where.state_dir)
        counts = store.counts(RunFilter(sweep_ids=(stored.id,)))
        export_table(store, stored, local.output)
    unfinished = counts[State.PENDING] + counts[State.RUNNING]
    if unfinished:
        note(f"{counted(unfinished, 'run')} left; go on with: hlbq worker --sweep {stored.id}")
    if interrupted:
        raise typer.Exit(130)
    if counts[State.FAILED] or unfinished:
        raise typer.Exit(1)


def check_output(path: str) -> None:
    """Raise UsageError for a table that could not be written at the end."""
    target = Path(path).expanduser()
    if target.is_dir():
        raise UsageError(f"the table '{path}' is a folder", "Name a file: --output results.csv")
    if not target.absolute().parent.is_dir():
        raise UsageError(f"the folder of the table '{path}' does not exist", f"mkdir -p {target.parent}")


def worker_command(where: DeviceOptions, database: DatabaseOption, sweep: SweepRecord) -> Sequence[str]:
    """The command of one worker on this sweep; it ends when this process does."""
    return where.to_command(db=database.db, sweep_ids=(sweep.id,)).argv(end_with_this_process=True)


def work_off(
    store: "Store", sweep: SweepRecord, command: Sequence[str], count: int, state_dir: str | None = None
) -> bool:
    """Have `count` workers train the sweep, with a live view; True if a signal ended that."""
    from orchestrator.status.live_view import LiveView

    log_path = _worker_log(store, sweep, state_dir)
    with log_path.open("ab") as log:
        # A group of their own: a terminal's Ctrl-C reaches them through this process alone, and so counts once.
        workers = [subprocess.Popen(command, stdout=log, stderr=log, process_group=0) for _ in range(count)]
    with forwarded_signals(workers) as signals, LiveView(store, sweep.id) as view:
        while any(worker.poll() is None for worker in workers):
            view.update()
            time.sleep(POLL_SECONDS)
        view.update()
    _report_broken(workers, log_path)
    return bool(signals)


@contextmanager
def forwarded_signals(workers: "Sequence[subprocess.Popen[bytes]]") -> Iterator[list[int]]:
    """Pass SIGINT and SIGTERM on to the workers; yields the list of those that came."""
    came: list[int] = []

    def forward(number: int, frame: FrameType | None) -> None:
        came.append(number)
        for worker in workers:
            if worker.poll() is None:
                worker.send_signal(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def export_table(store: "Store", sweep: SweepRecord, path: str) -> None:
    """Write the sweep's table and say where."""
    from orchestrator import export

    selection = export.Selection(runs=RunFilter(sweep_ids=(sweep.id,)))
    rows = export.export(store, Path(path).expanduser(), selection)
    note(f"wrote {path} ({counted(rows, 'run')})")


def _worker_log(store: "Store", sweep: SweepRecord, state_dir: str | None) -> Path:
    """Where the workers' own words go, out of the way of the live view."""
    from orchestrator.state_folder import make_state_folder, state_folder

    folder = make_state_folder(make_state_folder(state_folder(store.location.path, state_dir)) / "logs")
    path = folder / f"workers-of-sweep-{sweep.id}.log"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
    return path


def _report_broken(workers: "Sequence[subprocess.Popen[bytes]]", log_path: Path) -> None:
    """Show the last words of workers that could not work (a device that is not there, for instance)."""
    if any(worker.returncode not in (0, 1, 130) for worker in workers):
        print(log_path.read_text(errors="replace")[-2000:].strip(), file=sys.stderr)
