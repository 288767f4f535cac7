"""`hlbq launch`: start workers on a cluster. One file per engine."""

from orchestrator.cli.launch.ray import ray
from orchestrator.cli.launch.slurm import slurm
from orchestrator.cli.option_groups import CommandGroup

launch = CommandGroup("launch", "Start workers on a cluster: slurm, ray.", (slurm, ray))
