"""`hlbq search`: queue a sweep whose arms a sampler chooses from the results so far."""

import typer

from orchestrator.cli.common import DatabaseOption, JsonOption, YesOption
from orchestrator.cli.option_groups import add_commands
from orchestrator.cli.submit import AskedSweep, submit
from orchestrator.cli.sweep_command import SweepCommand
from orchestrator.errors import UsageError


def register(app: typer.Typer) -> None:
    """Add `search`."""
    add_commands(app, search, cls=SweepCommand)


def search(asked: AskedSweep, database: DatabaseOption, as_json: JsonOption = False, yes: YesOption = False) -> None:
    """Search for good arms: `hlbq submit` with --trials.

    hlbq search --lr_mult 0.5..8 --depth 4 8 --width 192 --trials 60 --confirm 3

    Workers ask a sampler for the next arm whenever one has ended. `hlbq status` says how the search stands.
    """
    if asked.sweep.options.trials is None:
        raise UsageError("how many arms may the search try?", "For instance: hlbq search --lr_mult 0.5..8 --trials 60")
    submit(asked, database, as_json=as_json, yes=yes)
