"""The options of `hlbq submit` and `hlbq run`: settings, and what a sweep needs besides them."""

import inspect
import os
import socket
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Self

import typer

from orchestrator.cli.option_groups import OptionGroup
from orchestrator.cli.shape_options import ShapeOptions
from orchestrator.errors import UsageError
from orchestrator.queue.records import Bookkeeping, CsvTarget
from orchestrator.queue.states import Limits
from orchestrator.sweep.options import axes_of, setting_parameters
from orchestrator.sweep.shapes import Axes
from orchestrator.sweep.submission import with_absolute_paths

SWEEP = "Sweep"
OUTPUT = "Output"
WORKERS = "Workers"
DEFAULT_LOGFILE = "results_041.csv"
DEFAULT_WANDB_PROJECT = "speedy-lang"


@dataclass(frozen=True, kw_only=True)
class GivenSettings(OptionGroup):
    """The settings that were typed, as text. Each takes one value or several."""

    texts: Mapping[str, Sequence[str]]

    @classmethod
    def option_parameters(cls) -> Sequence[inspect.Parameter]:
        """One option for each setting."""
        return setting_parameters()

    @classmethod
    def from_options(cls, values: Mapping[str, Any]) -> Self:
        """The settings among `values` that were given."""
        return cls(texts={name: tuple(texts) for name, texts in values.items() if texts})

    def axes(self, *, repeated: Collection[str] = ()) -> Axes:
        """The typed values of every setting that was given, each once but for settings in `repeated`; paths of `text:`
        made absolute.

        Raises SettingsError, PlanError or DataError for a value that is refused.
        """
        return with_absolute_paths(axes_of(self.texts, repeated=repeated), repeated=repeated)


@dataclass(frozen=True, kw_only=True)
class SweepOptions(ShapeOptions):
    """What a sweep needs besides its settings."""

    file: Annotated[
        str | None,
        typer.Argument(metavar="SWEEP.toml", help="A sweep file; options on the command line replace what it says."),
    ] = None

    num_runs: Annotated[
        int, typer.Option("--num_runs", min=1, help="Runs of every arm, each with its own seed.", rich_help_panel=SWEEP)
    ] = 1
    seed: Annotated[
        int,
        typer.Option("--seed", min=0, help="The first seed; run k (from 1) has seed + k - 1.", rich_help_panel=SWEEP),
    ] = 100
    name: Annotated[str, typer.Option("--name", help="A name for the sweep.", rich_help_panel=SWEEP)] = ""
    note: Annotated[str, typer.Option("--note", help="A note on the sweep.", rich_help_panel=SWEEP)] = ""
    priority: Annotated[
        int,
        typer.Option("--priority", min=-(10**6), max=10**6, help="Higher is taken first.", rich_help_panel=SWEEP),
    ] = 0
    log_csv: Annotated[
        bool, typer.Option("--log_csv", "-c", help="Keep a CSV file up to date as runs finish.", rich_help_panel=OUTPUT)
    ] = False
    logfile: Annotated[
        str | None,
        typer.Option(
            "--logfile", help=f"The CSV file of --log_csv (default: {DEFAULT_LOGFILE}).", rich_help_panel=OUTPUT
        ),
    ] = None
    append: Annotated[
        bool, typer.Option("--append", help="Add to the CSV file instead of replacing it.", rich_help_panel=OUTPUT)
    ] = False
    log_wandb: Annotated[
        bool, typer.Option("--log_wandb", "-w", help="Mark the sweep for `hlbq sync` to wandb.", rich_help_panel=OUTPUT)
    ] = False
    wandb_project: Annotated[
        str | None,
        typer.Option(
            "--wandb_project",
            help=f"The wandb project of --log_wandb (default: {DEFAULT_WANDB_PROJECT}).",
            rich_help_panel=OUTPUT,
        ),
    ] = None
    checkpoint_every: Annotated[
        float,
        typer.Option(
            "--checkpoint_every", min=0.0, help="Seconds between checkpoints; 0: none.", rich_help_panel=WORKERS
        ),
    ] = 60.0
    keep_checkpoints: Annotated[
        bool,
        typer.Option("--keep_checkpoints", help="Keep the last checkpoint of finished runs.", rich_help_panel=WORKERS),
    ] = False
    keep_best: Annotated[
        bool,
        typer.Option("--keep_best", help="Keep the model of each run's best evaluation.", rich_help_panel=WORKERS),
    ] = False
    resume_across_code: Annotated[
        bool,
        typer.Option(
            "--resume_across_code",
            help="Runs go on from a checkpoint even when the code has changed, and are marked as mixed code.",
            rich_help_panel=WORKERS,
        ),
    ] = False
    stall_timeout: Annotated[
        float,
        typer.Option(
            "--stall_timeout",
            min=1.0,
            help="Seconds without a sign of life after which a trainer is stopped.",
            rich_help_panel=WORKERS,
        ),
    ] = 600.0
    max_attempts: Annotated[
        int,
        typer.Option("--max_attempts", min=1, help="Tries before errors fail a run.", rich_help_panel=WORKERS),
    ] = 2
    skip_existing: Annotated[
        bool,
        typer.Option(
            "--skip_existing",
            help="Leave out runs that were completed before, in any sweep, with the same data and code.",
            rich_help_panel=SWEEP,
        ),
    ] = False

    def check_texts(self) -> None:
        """Raise UsageError for a text that no database can hold: what was typed is not in the terminal's encoding."""
        for name in ("name", "note", "logfile", "wandb_project"):
            text = getattr(self, name) or ""
            if any(0xD800 <= ord(character) <= 0xDFFF for character in text):
                raise UsageError(f"--{name}: {text!r} is not UTF-8", "Use plain text, and an UTF-8 locale.")

    def bookkeeping(self) -> Bookkeeping:
        """What is fixed for all runs of the sweep."""
        return Bookkeeping(
            checkpoint_every_seconds=self.checkpoint_every,
            keep_checkpoints=self.keep_checkpoints,
            keep_best=self.keep_best,
            resume_across_code=self.resume_across_code,
            stall_timeout_seconds=self.stall_timeout,
            limits=Limits(max_attempts=self.max_attempts),
        )

    def csv_target(self) -> CsvTarget | None:
        """The CSV file of --log_csv, by its absolute path on this host; None without it. Nothing is written.

        Raises UsageError for a folder, and for a file in a folder that is not there.
        """
        if not self.log_csv:
            return None
        path = Path(os.path.abspath(Path(self.logfile or DEFAULT_LOGFILE).expanduser()))  # noqa: PTH100 (keeps links)
        if path.is_dir():
            raise UsageError(f"the CSV file '{path}' is a folder", "Name a file: --logfile results.csv")
        if not path.parent.is_dir():
            raise UsageError(f"the folder '{path.parent}' of the CSV file does not exist", f"mkdir -p {path.parent}")
        return CsvTarget(path=str(path), append=self.append, host=socket.gethostname())

    def project(self) -> str:
        """The wandb project; empty for a sweep that is not marked for the sync."""
        return (self.wandb_project or DEFAULT_WANDB_PROJECT) if self.log_wandb else ""

    def given(self) -> Mapping[str, Any]:
        """The options that are not at their default, by name, for the sweep's record; the shape is kept beside them."""
        beside = {"file", "num_runs", "seed", *(field.name for field in fields(ShapeOptions))}
        values = {field.name: getattr(self, field.name) for field in fields(self) if field.name not in beside}
        plain = SweepOptions()
        return {name: value for name, value in values.items() if value != getattr(plain, name)}

    def warnings(self) -> list[str]:
        """Options that were given and have no effect."""
        found = []
        if self.random_seed and self.random is None:
            found.append("--random_seed has no effect without --random")
        if (self.logfile is not None or self.append) and not self.log_csv:
            found.append("--logfile and --append have no effect without --log_csv (-c)")
        if self.wandb_project is not None and not self.log_wandb:
            found.append("--wandb_project has no effect without --log_wandb (-w)")
        return found
