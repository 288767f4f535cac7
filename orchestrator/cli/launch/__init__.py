"""`hlbq launch`: start workers on a cluster. One file per engine."""

import typer

from orchestrator.cli.launch.ray import ray
from orchestrator.cli.launch.slurm import slurm
from orchestrator.cli.option_groups import add_group


def register(app: typer.Typer) -> None:
    """Add the group `launch`."""
    add_group(app, "launch", "Start workers on a cluster: slurm, ray.", slurm, ray)
