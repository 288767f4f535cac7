"""`hlbq worker`, and the options of a worker for all commands that start workers."""

import inspect
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from orchestrator.cli.common import DatabaseOption
from orchestrator.cli.option_groups import OptionGroup, spec_parameter
from orchestrator.launch.worker_command import WorkerOptions

if TYPE_CHECKING:
    from orchestrator.store import Store


@dataclass(frozen=True, kw_only=True)
class GivenWorkerOptions(OptionGroup):
    """The options of a worker that were typed."""

    options: WorkerOptions

    @classmethod
    def option_parameters(cls, command: str) -> Sequence[inspect.Parameter]:
        """One parameter for each option that the command takes."""
        taken = [one for one in WorkerOptions.options() if command in one.commands]
        return [spec_parameter(one, *([one.flags] if one.flags else [])) for one in taken]

    @classmethod
    def from_options(cls, values: Mapping[str, Any], command: str) -> Self:
        """The options that were typed; the others are at their defaults."""
        return cls(options=WorkerOptions.from_parsed(values))

    def check_sweeps(self, store: "Store") -> None:
        """Raise NotThereError for a sweep that does not exist."""
        from orchestrator.store.known import known_sweep

        for sweep_id in self.options.sweep:
            known_sweep(store, sweep_id)


def worker(what: GivenWorkerOptions, database: DatabaseOption) -> None:
    """Claim runs and train them, until the queue is empty.

    This is one worker on one device. --gpus starts one worker on each GPU, --slots several on each device. Ctrl-C once
    saves a checkpoint, releases the runs and ends; twice stops at once. Exit code 1 if a run failed.
    """
    what.options.check()
    # The worker replaces this process, so signals reach it and its exit code is ours.
    options, environment = replace(what.options, db=database.db).hidden()
    argv = options.argv()
    os.execve(argv[0], argv, environment)
