"""`hlbq launch`: start workers on a cluster. One file per engine."""

import typer

from orchestrator.cli.launch import ray, slurm
from orchestrator.cli.parsing import LightGroup


def register(app: typer.Typer) -> None:
    """Add the group `launch`."""
    group = typer.Typer(cls=LightGroup, help="Start workers on a cluster: slurm, ray.", no_args_is_help=True)
    slurm.register(group)
    ray.register(group)
    app.add_typer(group, name="launch")
