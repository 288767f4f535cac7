"""`hlbq notify`, and the option `--notify` of submit and run."""

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import typer

from orchestrator.cli.common import DatabaseOption
from orchestrator.cli.option_groups import OptionGroup, option
from orchestrator.cli.output import counted, note
from orchestrator.errors import DatabaseBusyError
from orchestrator.notify.commands import check_command, submit_with_command
from orchestrator.queue.sweeps import NewSweep, SweepRecord

if TYPE_CHECKING:
    from orchestrator.store import Store

WATCH_SECONDS = 5.0


@dataclass(frozen=True, kw_only=True)
class NotifyOptions(OptionGroup):
    """The command to call. Not an option of sweep files: nobody should run a stranger's command by accident."""

    panel = "Output"
    notify: str | None = option(
        None,
        metavar="CMD",
        help="Run this command when a run fails or the sweep ends, with JSON on its standard input.",
    )

    def check(self) -> None:
        """Raise UsageError for a line that cannot be a command, before anything is made."""
        if self.notify is not None:
            check_command(self.notify)

    def store(self, store: "Store", sweep: NewSweep) -> SweepRecord:
        """Submit the sweep and keep its command for later. Raises UsageError if the command cannot be kept."""
        if self.notify is None:
            return store.submit(sweep)
        stored = submit_with_command(store, sweep, self.notify)
        if store.location.path is None:
            note("note: workers that share your home folder call the --notify command; for others: hlbq notify --watch")
        return stored


def notify(
    database: DatabaseOption,
    watch: bool = option(False, help="Keep running, and call commands as things happen."),
    by_workers: bool = option(False, hidden=True, help="Used by workers."),
) -> None:
    """Call the --notify commands for events not yet reported.

    Workers do this themselves. Use it for commands that failed three times, and if your workers do not share your home
    folder. Exit code 1 if a command failed again.
    """
    from orchestrator.notify.delivering import Teller, may_be_told

    with database.write() as store:
        teller = Teller(store=store, say=note)
        done = teller.tell_all(given_up_too=not by_workers)
        # Deliver what came while another process held the lock, or after our last check, before leaving.
        while watch or (done and may_be_told(store)):
            if watch:
                time.sleep(WATCH_SECONDS)
            try:
                done = teller.tell_all()
            except DatabaseBusyError as error:
                if not watch:
                    raise
                note(f"waiting for the database: {error.message}")
        left = [notice for notice in store.undelivered() if not notice.given_up]
    if not done:
        note("another `hlbq notify` is running for this database")
        return
    for who in sorted({notice.by for notice in left}):
        theirs = sum(notice.by == who for notice in left)
        note(f"{counted(theirs, 'notice')} of {who}: deliver there with `hlbq notify`")
    note(f"{counted(teller.told, 'notice')} told")
    if teller.given_up:
        raise typer.Exit(1)


def tell(store: "Store") -> None:
    """Start a separate process that delivers the waiting notices, and give it a moment."""
    from orchestrator.notify.side import TELL_SECONDS, NotifySide

    NotifySide(store, note).close(TELL_SECONDS)
