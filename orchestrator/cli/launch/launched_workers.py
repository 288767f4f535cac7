"""What `hlbq launch` asks of the workers themselves, whichever engine places them."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated

import typer

from hlbgpt_core.fast_path.compile_mode import CompileMode
from orchestrator.cli.option_groups import OptionGroup
from orchestrator.errors import UsageError
from orchestrator.launch.worker_command import WorkerCommand

if TYPE_CHECKING:
    from orchestrator.store import Store


@dataclass(frozen=True, kw_only=True)
class LaunchedWorkers(OptionGroup):
    """What the workers do, as `hlbq worker` takes it."""

    sweep: Annotated[list[int], typer.Option(help="Take runs of these sweeps only.", metavar="INT...")] = field(
        default_factory=list
    )
    threads: Annotated[int, typer.Option(help="CPU threads of each trainer.", min=1)] = 1
    deterministic: Annotated[
        bool, typer.Option("--deterministic", help="On a GPU: the same seed gives the same run bit for bit.")
    ] = False
    fast: Annotated[
        bool | None, typer.Option("--fast/--plain", help="The fast path (default on a GPU) or the plain one.")
    ] = None
    compile_mode: Annotated[
        CompileMode, typer.Option("--compile", help="Compile the model's blocks where it pays, or not.")
    ] = CompileMode.AUTO
    state_dir: Annotated[
        str | None,
        typer.Option(help="Folder of checkpoints and logs, shared by the nodes: a run that moves goes on from there."),
    ] = None

    def check_sweeps(self, store: "Store") -> None:
        """Raise UsageError for a sweep that is not there."""
        for sweep_id in self.sweep:
            if store.sweep(sweep_id) is None:
                raise UsageError(f"there is no sweep {sweep_id}", "hlbq status lists the sweeps.")

    def command(
        self, *, state_dir: str, gpus: str | None = None, device: str | None = None, slots: int = 1, watch: bool = False
    ) -> WorkerCommand:
        """The worker that these options ask for; it finds the database in its environment."""
        return WorkerCommand(
            state_dir=state_dir,
            gpus=gpus,
            device=device,
            slots=slots,
            watch=watch,
            sweep_ids=tuple(self.sweep),
            threads=self.threads,
            deterministic=self.deterministic,
            fast=self.fast,
            compile_mode=self.compile_mode.value,
        )
