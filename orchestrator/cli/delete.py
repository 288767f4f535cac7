"""`hlbq delete`: remove runs and sweeps for good."""

from typing import TYPE_CHECKING

from orchestrator.cli.common import DatabaseOption, JsonOption, RunFilterOptions, StateDirOption, YesOption
from orchestrator.cli.control import actor
from orchestrator.cli.notify import tell
from orchestrator.cli.output import ask, counted, note, print_json, say, suggest

if TYPE_CHECKING:
    from orchestrator.queue.runs import Deletion
    from orchestrator.store import Store


def delete(
    runs: RunFilterOptions,
    database: DatabaseOption,
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
    yes: YesOption = False,
) -> None:
    """Delete runs for good, with their points, attempts, checkpoints and logs. A sweep goes with its last run.

    Runs that are running are refused. The event stays, the numbers are never given again, and so does what W&B holds.
    """
    from orchestrator.store.known import check_named

    chosen = runs.to_chosen("hlbq delete --sweep 3")
    with database.write() as store:
        check_named(store, chosen)
        found = store.deletable(chosen)
        if found.run_ids and not yes:
            ask(f"Delete {_what(found)} for good?", otherwise="Nothing was deleted.")
        done = store.delete(found.run_ids, actor())
        if as_json:
            counts = {"runs": len(done.run_ids), "sweeps": done.sweeps, "points": done.points}
            print_json({**counts, "runs_on_wandb": done.on_wandb})
        else:
            say(f"deleted: {_what(done)}")
        if done.on_wandb:
            note(f"{counted(done.on_wandb, 'run')} of these were sent to W&B: what it holds stays there")
        if done.run_ids:
            _remove_files(store, state_dir)
        tell(store)  # the runs that are left may all have ended


def _what(found: "Deletion") -> str:
    """`12 runs with 340 points, and sweep 3`."""
    sweeps = f"sweep{'s' if len(found.sweeps) > 1 else ''} {' '.join(map(str, found.sweeps))}"
    what = f"{counted(len(found.run_ids), 'run')} with {counted(found.points, 'point')}"
    return f"{what}, and {sweeps}" if found.sweeps else what


def _remove_files(store: "Store", state_dir: str | None) -> None:
    """Remove the checkpoints and logs that are on this host."""
    from orchestrator.files.state_folder import state_folder
    from orchestrator.leftovers import of_deleted_runs, remove_leftovers

    folder = state_folder(store.location.names, state_dir) if state_dir or store.location.names else None
    if folder is not None and folder.is_dir():
        remove_leftovers(store, list(of_deleted_runs(store, folder)))
    elif folder is None:
        suggest("Their files go with: hlbq db check --repair --state_dir FOLDER", store)
