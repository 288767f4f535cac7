"""`hlbq logs RUN`: what the trainer of a run printed."""

import io
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.cli.common import DatabaseOption, RunArgument, StateDirOption
from orchestrator.cli.option_groups import option
from orchestrator.errors import UsageError
from orchestrator.files.given_path import open_to_read
from orchestrator.files.state_folder import state_folder
from orchestrator.queue.attempts import AttemptRecord
from orchestrator.queue.runs import RunRecord

if TYPE_CHECKING:
    from orchestrator.store import Store


def logs(
    run: RunArgument,
    database: DatabaseOption,
    attempt: int | None = option(None, min=1, help="Which attempt, from 1 (default: the newest)."),
    state_dir: StateDirOption = None,
) -> None:
    """Print what the trainer of a run printed."""
    with database.read() as store:
        found = find_run(store, run)
        chosen = choose_attempt(found, store.attempts(found.id), attempt)
        path = state_folder(store.location.names, state_dir) / chosen.log_path
    copy_to_stdout(path, found)


def find_run(store: "Store", run: str) -> RunRecord:
    """The run by its number or uid. Raises UsageError if there is none."""
    from orchestrator.store.known import known_run

    is_number = run.isascii() and run.isdecimal() and len(run) < 19
    if is_number:
        return known_run(store, int(run))
    found = store.run(run) if run.isascii() else None
    if found is None:
        raise UsageError(f"there is no run '{run}' in {store.location.display}", "See the runs: hlbq status --all")
    return found


def choose_attempt(run: RunRecord, attempts: Sequence[AttemptRecord], number: int | None) -> AttemptRecord:
    """Attempt `number` (from 1), or the newest. Raises UsageError if there is none."""
    if not attempts:
        raise UsageError(f"run {run.id} has not been started yet", "See the queue: hlbq status")
    in_order = sorted(attempts, key=lambda one: one.fence)
    if number is None:
        return in_order[-1]
    if number > len(in_order):
        raise UsageError(
            f"run {run.id} has no attempt {number}", f"Use --attempt 1 to {len(in_order)}, or leave it out."
        )
    return in_order[number - 1]


def copy_to_stdout(path: Path, run: RunRecord) -> None:
    """Print the log at `path`. Raises UsageError if it is not on this host."""
    try:
        with io.TextIOWrapper(open_to_read(path), encoding="utf-8", errors="replace") as log:
            shutil.copyfileobj(log, sys.stdout)
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"the log of run {run.id} is not here: {path}",
            "It is on the host that ran it. Use --state_dir for its folder, or run this there.",
        ) from None
    except OSError as error:
        if error.filename is None:  # it is stdout that takes no more
            raise
        raise UsageError(f"the log of run {run.id} can't be read: {path}: {error.strerror}", "ls -l it.") from None
