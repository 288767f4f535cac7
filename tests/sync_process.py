"""`hlbq sync` in a process of its own with short times: `python -m tests.sync_process TIMING-JSON [options]`."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import typer

from orchestrator.cli import sync
from orchestrator.cli.common import DatabaseOption, RunFilterOptions
from orchestrator.cli.main import print_error
from orchestrator.cli.option_groups import grouped
from orchestrator.cli.parsing import VariadicCommand
from orchestrator.errors import HlbqError
from orchestrator.wandb_sync.session import SyncTiming

ROOT = Path(__file__).parents[1]
SHORT = {
    "poll_seconds": 0.2,
    "lease_seconds": 2.0,
    "session_seconds": 40.0,
    "finish_timeout_seconds": 5.0,
    "init_timeout_seconds": 10.0,
    "request_timeout_seconds": 1.0,
    "retry_least_seconds": 0.05,
    "retry_most_seconds": 0.2,
    "retries": 4,
    "confirm_seconds": 1.0,
}


def start_sync(
    db: str, home: Path, environment: Mapping[str, str], *options: str, timing: Mapping[str, float] | None = None
) -> "subprocess.Popen[str]":
    """Start a sync of the database at `db`; nothing of the user's own wandb is seen by it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    own |= {"HOME": str(home), "NETRC": str(home / ".netrc"), "PYTHONPATH": str(ROOT), **environment}
    chosen = json.dumps(SHORT | dict(timing or {}))
    return subprocess.Popen(
        [sys.executable, "-m", "tests.sync_process", chosen, "--db", db, *options],
        cwd=ROOT,
        env=own,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def main(arguments: list[str]) -> int:
    """The command with the given times; returns its exit code."""
    timing = SyncTiming(**json.loads(arguments[0]))

    def command(how: sync.SyncOptions, runs: RunFilterOptions, database: DatabaseOption) -> None:
        sync.run_sync(how, runs, database, timing)

    app = typer.Typer()
    app.command(cls=VariadicCommand)(grouped(command))
    try:
        code = app(arguments[1:], standalone_mode=False)
    except HlbqError as error:
        print_error(error)
        return 2
    return code if isinstance(code, int) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
