"""`hlbq logs`, `generate` and `export-model`: what is in the files of a run, its log and its model."""

import io
import re
import shutil
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from hlbgpt_core.points import BEST_CHECKPOINT
from orchestrator.cli.common import DatabaseOption, JsonOption, RunArgument, StateDirOption, find_run
from orchestrator.cli.option_groups import OptionGroup, option
from orchestrator.cli.output import note
from orchestrator.errors import UsageError
from orchestrator.files.given_path import expanded, open_to_read
from orchestrator.files.state_folder import state_folder
from orchestrator.launch.python_process import become_core_command
from orchestrator.queue.attempts import AttemptRecord
from orchestrator.queue.runs import RunRecord

_DEVICE = re.compile(r"cpu|auto|cuda(:\d{1,3})?")


class Which(StrEnum):
    """Which of a run's checkpoints."""

    NEWEST = "newest"
    BEST = "best"


@dataclass(frozen=True, kw_only=True)
class CheckpointOptions(OptionGroup):
    """Where to find a run's model."""

    checkpoint: Which | None = option(
        None, help="newest (of --keep_checkpoints) or best (of --keep_best); default: whichever the run kept."
    )
    state_dir: str | None = option(None, help="The workers' folder (default: <db>.state).")


def logs(
    run: RunArgument,
    database: DatabaseOption,
    attempt: int | None = option(None, minimum=1, help="Which attempt, from 1 (default: the newest)."),
    state_dir: StateDirOption = None,
) -> None:
    """Print the output of a run's trainer."""
    with database.read() as store:
        found = find_run(store, run)
        chosen = choose_attempt(found, store.attempts(found.id), attempt)
        path = state_folder(store.location.names, state_dir) / chosen.log_path
    copy_to_stdout(path, found)


def generate(
    place: CheckpointOptions,
    database: DatabaseOption,
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="The run's number, or its uid.")] = None,
    model: str | None = option(
        None, help="A folder from export-model, or a file of parameters (.safetensors, .pt), instead of a run."
    ),
    prompt: str = option("", help="The text to continue (default: start a new text)."),
    temperature: float = option(
        1.0, minimum=0.0, help="Above 1: more varied; below 1: safer; 0: always the likeliest token."
    ),
    top_k: int = option(0, minimum=0, help="Draw from this many of the likeliest tokens; 0: from all."),
    length: int = option(200, minimum=1, maximum=1_000_000, help="At most this many tokens."),
    seed: int = option(0, minimum=0, help="The same seed gives the same text."),
    device: str = option("cpu", help="cpu, auto or cuda:N."),
    as_json: JsonOption = False,
) -> None:
    """Print text that a run's model writes. Submit the run with --keep_checkpoints or --keep_best to keep its model."""
    if (run is None) == (model is None):
        raise UsageError("which model?", "Name a run, or a file: hlbq generate 12   or: hlbq generate --model FOLDER")
    if any(0xD800 <= ord(character) <= 0xDFFF for character in prompt):
        raise UsageError(f"--prompt: {prompt!r} is not UTF-8", "Use plain text, and a UTF-8 locale.")
    if not _DEVICE.fullmatch(device):
        raise UsageError(f"--device: there is no device '{device}'", "Use cpu, auto, or cuda:N for the GPU number N.")
    folder = model_path(model) if model is not None else run_model(database, str(run), place)
    arguments = ["generate", f"--model={folder}", f"--prompt={prompt}", f"--temperature={temperature!r}"]
    arguments += [f"--top_k={top_k}", f"--length={length}", f"--seed={seed}", f"--device={device}"]
    become_core_command("model_command", [*arguments, "--json"] if as_json else arguments)


def export_model(
    run: RunArgument,
    folder: Annotated[str, typer.Argument(metavar="FOLDER", help="A new folder, or an empty one.")],
    place: CheckpointOptions,
    database: DatabaseOption,
) -> None:
    """Write a run's model to a folder: model.safetensors and settings.json."""
    found = run_model(database, run, place)
    become_core_command("model_command", ["export", f"--model={found}", f"--to={expanded(folder)}"])


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
            if not log.tell():
                note(f"the trainer of run {run.id} has printed nothing in this attempt")
    except (FileNotFoundError, NotADirectoryError):
        raise UsageError(
            f"the log of run {run.id} is not here: {path}",
            "It is on the host that ran it. Use --state_dir for its folder, or run this there.",
        ) from None
    except OSError as error:
        if error.filename is None:  # it is stdout that takes no more
            raise
        raise UsageError(f"the log of run {run.id} can't be read: {path}: {error.strerror}", "ls -l it.") from None


def model_path(name: str) -> Path:
    """The folder or file of --model. Raises UsageError if there is none."""
    path = expanded(name)
    if not (path.is_dir() or path.is_file()):  # a pipe or a device might never end
        raise UsageError(f"there is no model at '{name}'", "Name a folder from hlbq export-model, or a file.")
    return path


def run_model(database: DatabaseOption, run: str, place: CheckpointOptions) -> Path:
    """The folder of the wanted checkpoint. Raises UsageError if the run has none on this host."""
    with database.read() as store:
        found = find_run(store, run)
        folder = state_folder(store.location.names, place.state_dir)
    newest = folder / found.checkpoint.path if found.checkpoint is not None else None
    best = folder / "checkpoints" / found.uid / BEST_CHECKPOINT
    wanted = (newest, best) if place.checkpoint is None else (newest if place.checkpoint is Which.NEWEST else best,)
    for candidate in wanted:
        if candidate is not None and candidate.is_dir():
            return candidate
    raise _no_model(found, folder, place.checkpoint)


def _no_model(run: RunRecord, folder: Path, which: Which | None) -> UsageError:
    """Why there is no model, and how to keep one."""
    kept = run.bookkeeping
    was_kept = {Which.NEWEST: kept.keep_checkpoints, Which.BEST: kept.keep_best}
    if any(was_kept[one] for one in ([which] if which else list(Which))):
        return UsageError(
            f"run {run.id} ({run.state}) has no {which or 'kept'} checkpoint in '{folder}'",
            "Checkpoints are on the host that ran the run, once it has made one. Use --state_dir for their folder.",
        )
    option = "--keep_best" if which is Which.BEST else "--keep_checkpoints"
    return UsageError(
        f"run {run.id} was not submitted to keep its {which or 'newest'} checkpoint",
        f"Submit it again with {option}; hlbq show {run.id} prints the command.",
    )
