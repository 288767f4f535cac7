"""`hlbq dashboard`: sweeps, runs and workers as live pages in a browser."""

from dataclasses import dataclass

from orchestrator.cli.common import DatabaseOption
from orchestrator.cli.option_groups import OptionGroup, option
from orchestrator.errors import UsageError
from orchestrator.notify.commands import user_name


@dataclass(frozen=True, kw_only=True)
class ServingOptions(OptionGroup):
    """Where and how to serve."""

    host: str = option("127.0.0.1", help="Address to listen on; any but a loopback address opens it to other machines.")
    port: int | None = option(
        None, help="Port (default: 8765 if free, else any free one; 0: any free one).", minimum=0, maximum=65535
    )
    allow_host: tuple[str, ...] = option(
        (), help="More host names that browsers may use for this server.", metavar="HOST..."
    )
    read_only: bool = option(False, help="Show everything, change nothing.")
    new_token: bool = option(False, help="Make a new token, so that older links no longer work.")
    state_dir: str | None = option(None, help="The workers' folder, for logs and the token (default: <db>.state).")


def dashboard(how: ServingOptions, database: DatabaseOption) -> None:
    """Show sweeps, runs and workers as live pages in a browser, until Ctrl-C.

    Prints a link with a token. The token is kept in the state folder, so open pages and bookmarks survive a restart.
    """
    try:
        from orchestrator.dashboard.serving.server import serve
    except ModuleNotFoundError as error:
        if error.name not in ("starlette", "uvicorn"):
            raise
        raise UsageError(
            "the dashboard needs starlette and uvicorn, which are not installed: pip install 'hlbq[dashboard]'"
        ) from None
    serve(db=database.db, actor=user_name(), **vars(how))
