"""`hlbq doctor`: check this machine, and say how to fix what is wrong."""

import typer

from orchestrator.cli.common import DatabaseOption, JsonOption
from orchestrator.cli.output import print_json, print_table


def doctor(database: DatabaseOption, as_json: JsonOption = False) -> None:
    """Check Python, torch, GPU, disk, database, SQLite, clock, caches and wandb; exit code 1 if one has a problem."""
    from orchestrator.doctor import Level, examine

    findings = examine(database.db)
    if as_json:
        print_json(findings)
    else:
        print_table(
            ["check", "", "found", "fix"], [[one.check, one.level.value, one.found, one.fix] for one in findings]
        )
    if any(one.level is Level.PROBLEM for one in findings):
        raise typer.Exit(1)
