"""`hlbq dashboard`: sweeps, runs and workers as live pages in a browser."""

from dataclasses import dataclass, field
from typing import Annotated

import typer

from orchestrator.cli.common import DatabaseOption
from orchestrator.cli.control import actor
from orchestrator.cli.option_groups import OptionGroup, grouped
from orchestrator.cli.parsing import VariadicCommand
from orchestrator.errors import UsageError


@dataclass(frozen=True, kw_only=True)
class ServingOptions(OptionGroup):
    """Where and how to serve."""

    host: Annotated[
        str, typer.Option("--host", help="Address to listen on; any but a loopback address opens it to other machines.")
    ] = "127.0.0.1"
    port: Annotated[
        int | None,
        typer.Option(
            "--port", help="Port (default: 8765 if free, else any free one; 0: any free one).", min=0, max=65535
        ),
    ] = None
    allow_host: Annotated[
        list[str],
        typer.Option("--allow_host", help="More host names that browsers may use for this server.", metavar="NAME..."),
    ] = field(default_factory=list)
    read_only: Annotated[bool, typer.Option("--read_only", help="Show everything, change nothing.")] = False
    new_token: Annotated[
        bool, typer.Option("--new_token", help="Make a new token: links from before open nothing more.")
    ] = False
    state_dir: Annotated[
        str | None,
        typer.Option("--state_dir", help="The workers' folder, for logs and the token (default: <db>.state)."),
    ] = None


def register(app: typer.Typer) -> None:
    """Add `hlbq dashboard`."""
    app.command("dashboard", cls=VariadicCommand)(grouped(dashboard))


def dashboard(how: ServingOptions, database: DatabaseOption) -> None:
    """Show sweeps, runs and workers as live pages in a browser, until Ctrl-C.

    Prints a link with a token, which is kept in the state folder: open pages and bookmarks outlive a restart.
    """
    try:
        from orchestrator.dashboard.server import Serving, serve
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise UsageError(
            "the dashboard needs starlette and uvicorn, which are not installed: pip install 'hlbq[dashboard]'"
        ) from None
    serve(
        Serving(
            db=database.db,
            host=how.host,
            port=how.port,
            names=tuple(how.allow_host),
            read_only=how.read_only,
            new_token=how.new_token,
            state_dir=how.state_dir,
            actor=actor(),
        )
    )
