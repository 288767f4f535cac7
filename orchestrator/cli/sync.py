"""`hlbq sync`: send the curves of runs to Weights & Biases."""

import contextlib
import os
import shlex
import signal
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from orchestrator.cli.common import DatabaseOption, RunFilterOptions
from orchestrator.cli.export import check_any, chosen_or_latest
from orchestrator.cli.option_groups import OptionGroup, option
from orchestrator.cli.output import counted, note, suggest
from orchestrator.errors import DatabaseBusyError, UsageError
from orchestrator.files.locks import try_lock
from orchestrator.files.state_folder import make_state_folder, state_folder
from orchestrator.queue.runs import RunFilter
from orchestrator.sweep.sweep_options import check_project

if TYPE_CHECKING:
    from orchestrator.store import Store
    from orchestrator.wandb_sync.session import SyncTiming
    from orchestrator.wandb_sync.syncing import SyncCounts, Syncer

SIDE_LOCK = "side.lock"


@dataclass(frozen=True, kw_only=True)
class SyncOptions(OptionGroup):
    """How long to run, and where things go."""

    watch: bool = option(False, help="Keep sending new points until Ctrl-C.")
    wandb_project: str = option("", help="The project for sweeps that were submitted without --log_wandb.")
    state_dir: str | None = option(
        None, help="Folder of checkpoints and logs (default: beside the SQLite file, as <db>.state)."
    )
    by_workers: bool = option(False, hidden=True, help="Used by workers: one per host, until all is sent.")


def sync(how: SyncOptions, runs: RunFilterOptions, database: DatabaseOption) -> None:
    """Send runs to Weights & Biases (without filters: of the sweeps submitted with --log_wandb).

    Each point arrives once, however often you run or kill this command. It sends points up to a run's newest
    checkpoint, and the rest when the run has ended. WANDB_MODE=offline writes folders for `wandb sync`. Exit code 1 if
    some runs could not be sent.
    """
    from orchestrator.wandb_sync.session import SyncTiming

    run_sync(how, runs, database, SyncTiming())


def run_sync(how: SyncOptions, runs: RunFilterOptions, database: DatabaseOption, timing: "SyncTiming") -> None:
    """`hlbq sync` with given times."""
    from orchestrator.wandb_sync.leases import OwnFolder
    from orchestrator.wandb_sync.session import Wandb
    from orchestrator.wandb_sync.syncing import Syncer

    check_project(how.wandb_project)
    with database.write() as store, contextlib.ExitStack() as held:
        state = state_folder(store.location.names, how.state_dir)
        if how.by_workers:
            if not held.enter_context(try_lock(_make_folder(state) / SIDE_LOCK)):
                return
            os.nice(19)  # do not slow the workers that started it
        os.umask(0o077)  # keep wandb's files private too
        wanted = _wanted(store, runs, how)
        if wanted is None:
            suggest("no sweep was submitted with -w. Name one: hlbq sync --sweep 1 --wandb_project NAME", store)
            return
        wandb = Wandb(timing)  # before anything is made, should it refuse
        folder = _make_folder(state)
        own = held.enter_context(OwnFolder(folder))
        # A sync may stop at any point: once it is gone, the kernel unlocks its folder, and others can take its runs.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, lambda *_: os._exit(130))
        project = how.wandb_project
        syncer = Syncer(store, wandb, own, folder, timing=timing, project=project, say=note, on_hang=_end_hung)
        if how.watch or how.by_workers:
            _watch(store, syncer, wanted if runs.given() else None, how, timing)
            return
        tally = syncer.send_all(wanted)
    _report(tally, folder if wandb.offline else None)


def _make_folder(state: Path) -> Path:
    return make_state_folder(make_state_folder(state) / "wandb")


def _watch(store: "Store", syncer: "Syncer", chosen: RunFilter | None, how: SyncOptions, timing: "SyncTiming") -> None:
    """Repeat passes over the chosen runs, or all marked sweeps, those submitted meanwhile too. For workers it ends when
    nothing is left to send and no run of these sweeps is running."""
    from orchestrator.store.known import check_named

    answers = True
    while True:
        try:
            if chosen is not None:
                check_named(store, chosen)
            wanted = chosen or RunFilter(sweep_ids=_marked_sweeps(store))
            running = bool(store.running(wanted))
            tally = syncer.send_all(wanted)
            answers = True
            left = running or tally.failed or tally.held or store.unsent(wanted, limit=1)
            if how.by_workers and not left:
                return
        except DatabaseBusyError as error:
            if answers:
                note(f"waiting for the database: {error.message}")
            answers = False
        time.sleep(timing.poll_seconds)


def _wanted(store: "Store", runs: RunFilterOptions, how: SyncOptions) -> RunFilter | None:
    """The runs to send; None if there are none. Raises UsageError for runs that do not exist or have no project."""
    marked = _marked_sweeps(store)
    if not runs.given():
        return RunFilter(sweep_ids=marked) if marked else None
    chosen = chosen_or_latest(runs, store)
    check_any(store, chosen)
    named = chosen.sweep_ids or tuple({run.sweep_id for run in store.runs(chosen)})
    for sweep_id in named:
        if sweep_id not in marked and not how.wandb_project:
            raise UsageError(
                f"sweep {sweep_id} was submitted without --log_wandb, so it has no project",
                "Add one: --wandb_project NAME",
            )
    return chosen


def _marked_sweeps(store: "Store") -> tuple[int, ...]:
    return tuple(sweep.id for sweep in store.sweeps() if sweep.wandb_project)


def _report(tally: "SyncCounts", offline: Path | None) -> None:
    note(f"{counted(tally.points, 'point')} of {counted(tally.runs, 'run')} " + ("written" if offline else "sent"))
    if offline and tally.runs:
        note(f"upload them with: wandb sync {shlex.quote(str(offline))}/offline-run-*")
    if tally.held:
        note(f"{counted(tally.held, 'run')} left to another running sync")
    if tally.failed:
        note(f"{counted(tally.failed, 'run')} could not be sent; run the same command again")
        raise typer.Exit(1)


def _end_hung() -> None:
    note("error: W&B did not answer in time. To send the rest: hlbq sync")
    sys.stderr.flush()
    os._exit(1)
