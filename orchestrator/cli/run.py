"""`hlbq run`: submit a sweep, train it on this machine with a live view, and export its table."""

import os
import shlex
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from hlbgpt_core.errors import HlbqError
from orchestrator.cli.common import DatabaseOption, YesOption
from orchestrator.cli.notify import tell
from orchestrator.cli.option_groups import OptionGroup, option, read_by
from orchestrator.cli.output import counted, note, say_wrapped, warn
from orchestrator.cli.review import plan_summary
from orchestrator.cli.submit import AskedSweep, submit_sweep
from orchestrator.cli.sweep_options import SweepCommand
from orchestrator.errors import UsageError
from orchestrator.files.given_path import expanded
from orchestrator.files.replaced_file import checked_target
from orchestrator.files.state_folder import check_state_dir, make_state_folder, state_folder
from orchestrator.launch.prestarted import PrestartedWorkers
from orchestrator.launch.stop_signals import handled, heeded_stop_signals
from orchestrator.launch.worker_command import WorkerOptions
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import State
from orchestrator.queue.sweeps import SweepRecord
from orchestrator.status.waiting import failed_among, held_among, held_text
from orchestrator.sweep.definition import is_search
from orchestrator.sweep.sweep_options import SweepOptions

if TYPE_CHECKING:
    from orchestrator.store import Store

POLL_SECONDS = 0.5
DEFAULT_TABLE = "results.csv"


@dataclass(frozen=True, kw_only=True)
class LocalWorkers(OptionGroup):
    """How many workers this machine gives the sweep, and where the table goes."""

    workers: int = option(
        1, minimum=1, maximum=256, help="Worker processes on the device; on a CPU, at most one per core."
    )
    output: str = option(
        DEFAULT_TABLE, "--output", "-o", help="The table to write at the end (.csv, .parquet, .jsonl)."
    )


@read_by(SweepCommand)
def run(
    asked: AskedSweep,
    where: WorkerOptions,
    local: LocalWorkers,
    database: DatabaseOption,
    yes: YesOption = False,
) -> None:
    """Submit a sweep, train it here with a live view, export its table, and print its verdicts.

    The verdicts are those of hlbq compare, against the sweep's baseline. Ctrl-C releases the running runs after a
    checkpoint; `hlbq worker` resumes them later. Exit code 1 if a run failed; arms of a search may diverge.
    """
    check_output(local.output)
    check_append(asked.sweep, local.output)
    check_state_dir(where.state_dir)
    where.check()
    if local.workers > 1 and (where.gpus or where.slots > 1):
        raise UsageError(
            "--workers was given with --gpus or --slots",
            "--gpus and --slots start the workers themselves: leave --workers out.",
        )
    # Workers load torch while the sweep is planned; none of them trains before it is stored.
    options, environment = replace(where, db=database.db, prestarted=True).hidden()
    argv = options.ending_with_this_process().argv()
    with PrestartedWorkers(argv, 0 if asked.review.dry_run else local.workers, environment=environment) as workers:
        submitted = submit_sweep(asked, database, yes=yes)
        if submitted is None:
            return
        prepared, stored, _ = submitted
        note(f"sweep {stored.id}: {plan_summary(prepared.plan)}")
        with database.write() as store:
            interrupted = work_off(store, stored, workers, options.state_dir)
            wanted = RunFilter(sweep_ids=(stored.id,))
            counts, held = store.counts(wanted), held_among(store, wanted)
            failures = failed_among(store, wanted)
            export_table(store, stored, local.output)
            if held:
                note(*held_text(store, wanted))
            if asked.notify.notify is not None:
                tell(store)
    unfinished = counts[State.PENDING] + counts[State.RUNNING]
    if unfinished > held:
        resume = f"hlbq worker{store.location.option} {shlex.join([*where.to_words(), '--sweep', str(stored.id)])}"
        note(f"{counted(unfinished - held, 'run')} left; resume: {resume}")
    if interrupted:
        raise typer.Exit(130)
    say_verdicts(database, stored)
    if failures or unfinished:
        raise typer.Exit(1)


def check_output(path: str) -> None:
    """Raise ExportError or UsageError for a table that could not be written when the runs have ended, and for a file
    there that is none of hlbq's."""
    from orchestrator.export.replaced_table import check_replaceable
    from orchestrator.export.table_formats import format_of

    checked_target(Path(path))
    format_of(Path(path))
    check_replaceable(Path(path), f"--output {DEFAULT_TABLE}")


def check_append(options: SweepOptions, path: str) -> None:
    """Raise UsageError for --append without --log_csv where a table is: its rows are to stay."""
    file = expanded(path)
    if options.append and not options.log_csv and file.is_file() and file.stat().st_size:
        kept = shlex.join(["-c", "--append", "--logfile", str(Path(path).with_suffix(".csv"))])
        raise UsageError(
            f"--append was given without --log_csv (-c), so '{path}' would be overwritten",
            f"Keep its rows: {kept} -o {shlex.quote(path)}   or leave out --append.",
        )


def work_off(store: "Store", sweep: SweepRecord, workers: PrestartedWorkers, state_dir: str | None) -> bool:
    """Make the workers train the sweep, with a live view. True if a signal stopped them."""
    came: list[int] = []

    def pass_on(number: int) -> None:
        came.append(number)
        workers.send_signal(number)

    with handled(heeded_stop_signals(), pass_on):
        workers.go(sweep.id, _worker_log(store, sweep, state_dir))
        from orchestrator.status.live_view import LiveView  # loaded while the workers start

        with LiveView(store, RunFilter(sweep_ids=(sweep.id,))) as view:
            while workers.at_work(wait_seconds=POLL_SECONDS):
                view.update()
            view.update()
    broken = workers.broken()
    if broken:
        note(broken)
    return bool(came)


def export_table(store: "Store", sweep: SweepRecord, path: str) -> None:
    """Write the sweep's table and say where. Where that is the sweep's own log, the rows of others in it stay."""
    from orchestrator.export.blocks import Selection
    from orchestrator.export.csv_table import holds_runs
    from orchestrator.export.writing import export
    from orchestrator.store.outgoing.csv_files import place_of

    selection = Selection(runs=RunFilter(sweep_ids=(sweep.id,), with_members=True))
    target = expanded(path)
    if sweep.csv and place_of(str(target)) == place_of(sweep.csv.path) and holds_runs(target):
        rows = export(store, sweep.csv.path, selection, append=True)
    else:
        rows = export(store, path, selection)
    note(f"wrote {path} ({counted(rows, 'run')})" if rows else f"{path} was not written: no run has points")


def say_verdicts(database: DatabaseOption, sweep: SweepRecord) -> None:
    """Print the verdicts of the sweep's arms against its baseline, if it has several; they are recorded as a look.

    Of a search: what it found, and what came of confirming it. Its other arms have no verdict.
    """
    if is_search(sweep.definition):
        from orchestrator.growth.standing import standing_lines, standing_of

        with database.read() as store:
            standings = [standing_of(store, record) for record in store.policies((sweep.id,))]
            option = store.location.option
        for standing in standings:
            say_wrapped(*standing_lines(standing, database_option=option))
        return
    from orchestrator.comparison.questions import Question
    from orchestrator.comparison.reporting.rendering import sentences
    from orchestrator.comparison.results import compare, recorded

    try:
        with database.read() as store:
            comparison = compare(store, RunFilter(sweep_ids=(sweep.id,), with_members=True), Question())
            more = store.location.option
    except HlbqError as error:
        note(f"no verdict: {error.message}. {error.hint}")
        return
    if not comparison.has_verdicts:
        return
    warn(*comparison.warnings)
    say_wrapped(*sentences(recorded(comparison, database.write, warn), extend_options=more))


def _worker_log(store: "Store", sweep: SweepRecord, state_dir: str | None) -> Path:
    """The file for the workers' output, which would disturb the live view."""
    folder = make_state_folder(make_state_folder(state_folder(store.location.names, state_dir)) / "logs")
    path = folder / f"workers-of-sweep-{sweep.id}.log"
    os.close(os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600))
    return path
