"""`hlbq cancel`, `pause`, `unpause`, `retry`, `priority`, `delete`: change runs, or remove them for good."""

import socket
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.common import DatabaseOption, JsonOption, RunFilterOptions, StateDirOption, YesOption, narrowed
from orchestrator.cli.notify import tell
from orchestrator.cli.option_groups import option
from orchestrator.cli.output import ask, counted, note, print_json, print_result, say, suggest
from orchestrator.errors import UsageError
from orchestrator.files.state_folder import state_folder
from orchestrator.notify.commands import user_name
from orchestrator.queue.runs import LARGEST_PRIORITY, Deletion, RunFilter
from orchestrator.queue.states import OPEN, Action, Reason, Retry, State, sources

if TYPE_CHECKING:
    from orchestrator.store import Store

IdleYesOption = Annotated[bool, typer.Option("--yes", "-y", hidden=True, help="For older scripts.")]


def cancel(
    runs: RunFilterOptions, database: DatabaseOption, as_json: JsonOption = False, yes: YesOption = False
) -> None:
    """Cancel runs that are pending or running. `hlbq retry` brings them back."""
    chosen = narrowed(runs.to_chosen("hlbq cancel --sweep 3"), sources(Action.CANCEL))
    with database.write() as store:
        _change(store, chosen, "cancel", "cancelled", store.cancel, yes=yes, as_json=as_json)
        tell(store)  # this may end the sweep when no worker is running


def pause(
    runs: RunFilterOptions, database: DatabaseOption, as_json: JsonOption = False, yes: IdleYesOption = False
) -> None:
    """Stop workers from taking these runs, until hlbq unpause. Runs that are running go on."""
    # One that runs goes on; once it is back in the queue, no worker claims it.
    chosen = narrowed(runs.to_chosen("hlbq pause --sweep 3"), OPEN)
    with database.write() as store:
        _change(store, chosen, "pause", "paused", store.pause, yes=True, as_json=as_json)


def unpause(
    runs: RunFilterOptions, database: DatabaseOption, as_json: JsonOption = False, yes: IdleYesOption = False
) -> None:
    """Let workers take runs that were paused."""
    chosen = narrowed(runs.to_chosen("hlbq unpause --sweep 3"), OPEN)
    with database.write() as store:
        _change(store, chosen, "unpause", "unpaused", store.unpause, yes=True, as_json=as_json)


def retry(
    runs: RunFilterOptions,
    database: DatabaseOption,
    failed: bool = option(False, help="Failed runs only; without other filters, those of all sweeps."),
    from_start: bool = option(
        False, help="Start at step 0 and delete checkpoints and points. Applies to held runs too."
    ),
    resume_across_code: bool = option(
        False, help="Resume even if the code differs, and mark the run as mixed code. Applies to held runs too."
    ),
    as_json: JsonOption = False,
    yes: YesOption = False,
) -> None:
    """Put failed or cancelled runs back into the queue. They go on from their last checkpoint.

    Runs that a search stopped early need --reason pruned. They are not stopped again.
    """
    if from_start and resume_across_code:
        raise UsageError("--from_start and --resume_across_code contradict each other", "Leave one of them out.")
    how = Retry.FROM_START if from_start else Retry.ACROSS_CODE if resume_across_code else Retry.AS_BEFORE
    held = (State.PENDING,) if how is not Retry.AS_BEFORE else ()
    states: Sequence[State] = (State.FAILED,) if failed else (*sources(Action.RETRY), *held)
    asked = runs.to_filter() if failed else runs.to_chosen("hlbq retry --failed")
    chosen = narrowed(asked, states)
    with database.write() as store:
        count = store.retriable(chosen, how)
        pruned = 0 if chosen.reasons else store.matching(replace(chosen, reasons=(Reason.PRUNED,)))
        if pruned:
            note(f"not included: {counted(pruned, 'run')} stopped early by a search (add --reason {Reason.PRUNED})")
        change = partial(store.retry, how=how)
        _change(store, chosen, "retry", "back in the queue", change, yes=yes, as_json=as_json, count=count)


def priority(
    value: Annotated[
        int, typer.Argument(metavar="VALUE", help="The new priority.", min=-LARGEST_PRIORITY, max=LARGEST_PRIORITY)
    ],
    runs: RunFilterOptions,
    database: DatabaseOption,
    as_json: JsonOption = False,
    yes: YesOption = False,
) -> None:
    """Set the priority of runs that have not ended. Workers take higher ones first; submit gives 0."""
    chosen = narrowed(runs.to_chosen("hlbq priority 5 --sweep 3"), OPEN)
    verb, done = f"give priority {value} to", f"now at priority {value}"
    with database.write() as store:
        change = partial(store.set_priority, priority=value)
        _change(store, chosen, verb, done, change, yes=yes, as_json=as_json)


def delete(
    runs: RunFilterOptions,
    database: DatabaseOption,
    state_dir: StateDirOption = None,
    as_json: JsonOption = False,
    yes: YesOption = False,
) -> None:
    """Delete runs for good, with their points, attempts, checkpoints and logs. A sweep goes with its last run.

    It refuses running runs. Events stay, and so does what W&B has. The numbers are never used again.
    """
    from orchestrator.export.writing import catch_up_all
    from orchestrator.store.known import check_named

    chosen = runs.to_chosen("hlbq delete --sweep 3")
    with database.write() as store:
        check_named(store, chosen)
        found = store.deletable(chosen)
        if found.run_ids and not yes:
            ask(f"Delete {_what(found)} for good?", otherwise="Nothing was deleted.")
        files = _files_with_rows(store, found.sweeps)
        done = store.delete(found.run_ids, user_name())
        if as_json:
            counts = {"runs": len(done.run_ids), "sweeps": done.sweeps, "points": done.points}
            print_json({**counts, "runs_on_wandb": done.on_wandb})
        else:
            say(f"deleted: {_what(done)}")
        if done.on_wandb:
            was, it = ("was", "it") if done.on_wandb == 1 else ("were", "them")
            note(f"{counted(done.on_wandb, 'run')} of these {was} sent to W&B, which keeps {it}")
        note(*files)
        if done.run_ids:
            _remove_files(store, state_dir)
            note(*catch_up_all(store, socket.gethostname()))  # the rows of deleted runs leave the files of -c
        tell(store)  # the runs that are left may all have ended


def _what(found: Deletion) -> str:
    """`12 runs with 340 points, and sweep 3`."""
    sweeps = f"sweep{'s' if len(found.sweeps) > 1 else ''} {' '.join(map(str, found.sweeps))}"
    what = f"{counted(len(found.run_ids), 'run')} with {counted(found.points, 'point')}"
    return f"{what}, and {sweeps}" if found.sweeps else what


def _files_with_rows(store: "Store", sweep_ids: Sequence[int]) -> list[str]:
    """Which files of `-c` on this host keep the rows of these sweeps for good: nobody will write there for them."""
    return [
        f"the rows of sweep {one.sweep_id} stay in '{one.target.path}'"
        for one in store.csv_states(socket.gethostname())
        if one.sweep_id in sweep_ids and one.written and one.taken_by is None
    ]


def _remove_files(store: "Store", state_dir: str | None) -> None:
    """Remove the checkpoints and logs that are on this host."""
    from orchestrator.leftovers import of_deleted_runs, remove_leftovers

    folder = state_folder(store.location.names, state_dir) if state_dir or store.location.names else None
    if folder is not None and folder.is_dir():
        remove_leftovers(store, list(of_deleted_runs(store, folder)))
    elif folder is None:
        suggest("To remove their files: hlbq db check --repair --state_dir FOLDER", store)


def _change(
    store: "Store",
    chosen: RunFilter,
    verb: str,
    done: str,
    change: Callable[..., int],
    *,
    yes: bool,
    as_json: bool,
    count: int | None = None,
) -> None:
    """Ask where several runs (`count`, else all that are chosen) will change, change, and print how many changed."""
    from orchestrator.status.waiting import counts_text
    from orchestrator.store.known import check_named

    check_named(store, chosen)
    count = store.matching(chosen) if count is None else count
    if count > 1 and not yes:
        ask(f"{verb.capitalize()} {counted(count, 'run')}?", otherwise="Nothing was changed.")
    changed = change(chosen, actor=user_name())
    there = {} if changed else store.counts(replace(chosen, states=()))
    if any(there.values()) and not any(there[state] for state in chosen.states):
        note(f"nothing to {verb}: {counts_text(there)}. It changes runs that are {' or '.join(chosen.states)}.")
    print_result({"changed": changed}, f"{counted(changed, 'run')} {done}", as_json=as_json)
