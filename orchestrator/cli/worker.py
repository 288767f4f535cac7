"""`hlbq worker`: claim runs and train them, on one device or on all GPUs, until the queue is empty."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated

import typer

from hlbgpt_core.fast_path.compile_mode import CompileMode
from orchestrator.cli.common import DatabaseOption
from orchestrator.cli.option_groups import OptionGroup, grouped
from orchestrator.cli.parsing import VariadicCommand
from orchestrator.errors import UsageError
from orchestrator.launch.worker_command import WorkerCommand


@dataclass(frozen=True, kw_only=True)
class DeviceOptions(OptionGroup):
    """Where a worker trains, shared by `worker` and `run`."""

    gpu: Annotated[int | None, typer.Option(help="Train on this GPU, as the NVIDIA driver numbers them.", min=0)] = None
    gpus: Annotated[
        list[str],
        typer.Option(help="One worker on each of these GPUs, under one parent; all: every GPU.", metavar="all|N..."),
    ] = field(default_factory=list)
    device: Annotated[str | None, typer.Option(help="cpu, or auto: the first GPU, else the CPU (default: auto).")] = (
        None
    )
    slots: Annotated[int, typer.Option(help="Workers that share the device, or each of the GPUs.", min=1, max=64)] = 1
    no_memory_check: Annotated[
        bool, typer.Option("--no-memory-check", help="Start all --slots, even if the memory seems too small for them.")
    ] = False
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
        CompileMode,
        typer.Option(
            "--compile", help="Compile the model's blocks on the fast path: where it pays within the run, or not."
        ),
    ] = CompileMode.AUTO
    state_dir: Annotated[
        str | None,
        typer.Option(help="Folder of checkpoints and logs (default: beside the SQLite file, as <db>.state)."),
    ] = None

    def check(self) -> None:
        """Raise UsageError for two options that say where to train."""
        given = [name for name, value in self._named().items() if value]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} were given together", "Use one of them.")

    def _named(self) -> Mapping[str, bool]:
        return {"--gpu": self.gpu is not None, "--gpus": bool(self.gpus), "--device": self.device is not None}

    def to_command(
        self, *, db: str | None, sweep_ids: Sequence[int] = (), watch: bool = False, count: int = 0
    ) -> WorkerCommand:
        """The worker that these options ask for. Raises UsageError as `check` does."""
        self.check()
        return WorkerCommand(
            db=db,
            state_dir=self.state_dir,
            gpu=self.gpu,
            gpus=",".join(self.gpus) or None,
            device=self.device,
            slots=self.slots,
            memory_check=not self.no_memory_check,
            watch=watch,
            count=count,
            sweep_ids=tuple(sweep_ids),
            threads=self.threads,
            deterministic=self.deterministic,
            fast=self.fast,
            compile_mode=self.compile_mode.value,
        )


@dataclass(frozen=True, kw_only=True)
class WorkerOptions(OptionGroup):
    """What a worker takes, and when it ends."""

    watch: Annotated[bool, typer.Option(help="Stay when the queue is empty, and wait for more.")] = False
    count: Annotated[int, typer.Option(help="End after this many runs (each worker); 0: no limit.", min=0)] = 0
    sweep: Annotated[list[int], typer.Option(help="Take runs of these sweeps only.", metavar="INT...")] = field(
        default_factory=list
    )


def register(app: typer.Typer) -> None:
    """Add `hlbq worker`."""
    app.command("worker", cls=VariadicCommand)(grouped(worker))


def worker(where: DeviceOptions, what: WorkerOptions, database: DatabaseOption) -> None:
    """Claim runs and train them, until the queue is empty.

    One worker on one device; with --gpus one on each GPU, with --slots several on each. Ctrl-C once ends after a
    checkpoint and gives the runs back; twice stops at once. Exit code 1 if a run failed.
    """
    command = where.to_command(db=database.db, sweep_ids=what.sweep, watch=what.watch, count=what.count)
    # The worker takes this process's place: signals and the exit code are its own.
    hidden, environment = command.hidden()
    argv = hidden.argv()
    os.execve(argv[0], argv, environment)
