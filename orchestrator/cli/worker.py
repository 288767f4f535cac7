"""`hlbq worker`: claim runs and train them on one device until the queue is empty."""

import os
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated

import typer

from orchestrator.cli.common import DatabaseOption
from orchestrator.cli.option_groups import OptionGroup, grouped
from orchestrator.cli.parsing import VariadicCommand
from orchestrator.worker_command import WorkerCommand


class CompileChoice(StrEnum):
    """When the trainer compiles the model's blocks. The core's CompileMode says the same, behind torch."""

    AUTO = "auto"
    ALWAYS = "always"
    NEVER = "never"


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(OptionGroup):
    """Where a worker trains, shared by `worker` and `run`."""

    gpu: Annotated[int | None, typer.Option(help="Train on this GPU, as the NVIDIA driver numbers them.", min=0)] = None
    device: Annotated[str | None, typer.Option(help="cpu, or auto: the first GPU, else the CPU (default: auto).")] = (
        None
    )
    threads: Annotated[
        int,
        typer.Option(help="CPU threads of the trainer. The same seed gives the same run at the same count.", min=1),
    ] = 1
    deterministic: Annotated[
        bool,
        typer.Option("--deterministic", help="On a GPU: the same seed gives the same run bit for bit, more slowly."),
    ] = False
    fast: Annotated[
        bool | None,
        typer.Option(
            "--fast/--plain",
            help="The fast path (default on a GPU) or the recipe as written (default on a CPU); they learn the same.",
        ),
    ] = None
    compile_mode: Annotated[
        CompileChoice,
        typer.Option(
            "--compile", help="Compile the model's blocks on the fast path: where it pays within the run, or not."
        ),
    ] = CompileChoice.AUTO
    state_dir: Annotated[
        str | None,
        typer.Option(help="Folder of checkpoints and logs (default: beside the SQLite file, as <db>.state)."),
    ] = None


@dataclass(frozen=True, kw_only=True)
class WorkerOptions(OptionGroup):
    """What a worker takes, and when it ends."""

    watch: Annotated[bool, typer.Option(help="Stay when the queue is empty, and wait for more.")] = False
    count: Annotated[int, typer.Option(help="End after this many runs; 0: no limit.", min=0)] = 0
    sweep: Annotated[list[int], typer.Option(help="Take runs of these sweeps only.", metavar="INT...")] = field(
        default_factory=list
    )


def register(app: typer.Typer) -> None:
    """Add `hlbq worker`."""
    app.command("worker", cls=VariadicCommand)(grouped(worker))


def worker(where: DeviceOptions, what: WorkerOptions, database: DatabaseOption) -> None:
    """Claim runs and train them on one device, until the queue is empty.

    Ctrl-C once ends after a checkpoint and gives the run back; twice stops at once. Exit code 1 if a run failed.
    """
    command = WorkerCommand(
        db=database.db,
        state_dir=where.state_dir,
        gpu=where.gpu,
        device=where.device,
        watch=what.watch,
        count=what.count,
        sweep_ids=tuple(what.sweep),
        threads=where.threads,
        deterministic=where.deterministic,
        fast=where.fast,
        compile_mode=where.compile_mode.value,
    )
    # The worker takes this process's place: signals and the exit code are its own.
    hidden, environment = command.hidden()
    argv = hidden.argv()
    os.execve(argv[0], argv, environment)
