"""`hlbq show RUN` and `hlbq show --sweep N`: everything that is known of one run, or of one sweep."""

import shlex
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hlbgpt_core.points import Split
from hlbgpt_core.settings import Settings
from orchestrator.cli.code import print_diff
from orchestrator.cli.common import DatabaseOption, JsonOption, find_run
from orchestrator.cli.option_groups import option
from orchestrator.cli.output import counted, naming_database, print_json, print_table, say, short_count, when
from orchestrator.errors import UsageError
from orchestrator.queue.attempts import AttemptRecord
from orchestrator.queue.code import HELD, MIXED, held_lines
from orchestrator.queue.notices import NOTIFIER
from orchestrator.queue.runs import EventRecord, RunFilter, RunRecord
from orchestrator.queue.states import Reason, State
from orchestrator.queue.sweeps import SweepRecord
from orchestrator.status.waiting import counts_text
from orchestrator.sweep.baseline import baseline_of, baseline_text, restricted
from orchestrator.sweep.definition import stored_shape, sweep_file_of, swept_axes
from orchestrator.sweep.options import repeat_command, value_text
from orchestrator.sweep.sweep_file import write_sweep_file

if TYPE_CHECKING:
    from orchestrator.store import Store

SHOWN_EVENTS = 20
SHOWN_RUNS = 50
SHOWN_NOTICES = 6


@dataclass(frozen=True, kw_only=True)
class RunStory:
    """A run with its attempts and events, oldest first; `repeat` is the command that submits it again. `test_loss` is
    None without a test."""

    run: RunRecord
    test_loss: float | None
    repeat: str
    attempts: Sequence[AttemptRecord]
    events: Sequence[EventRecord]
    mixed_code: bool = False


def show(
    database: DatabaseOption,
    run: Annotated[str | None, typer.Argument(metavar="RUN", help="The run's number, or its uid.")] = None,
    sweep: int | None = option(None, minimum=1, help="Show this sweep instead."),
    toml: bool = option(False, help="For a sweep: print the sweep file that makes it again."),
    diff: bool = option(False, help="For a run: print only how the code here differs from the run's code."),
    as_json: JsonOption = False,
) -> None:
    """Show a run (settings, facts, attempts, events, its error), or a sweep."""
    if toml and (sweep is None or as_json):
        raise UsageError("--toml prints a sweep", "For instance: hlbq show --sweep 3 --toml > sweep.toml")
    if diff and (run is None or as_json):
        raise UsageError("--diff prints how a run's code differs", "For instance: hlbq show 12 --diff")
    if (run is None) == (sweep is None):
        raise UsageError("which run or sweep?", "For instance: hlbq show 12   or: hlbq show --sweep 3")
    from orchestrator.store.known import known_sweep

    with database.read() as store:
        if run is not None and diff:
            from orchestrator.code.names import find_code

            print_diff(find_code(store, str(find_run(store, run).id)), find_code(store, "here"))
            return
        if run is not None:
            story = read_story(store, find_run(store, run))
            print_json(story) if as_json else _print_story(story, store.location.option)
            return
        found = known_sweep(store, sweep or 0)
        if toml:
            say(write_sweep_file(sweep_file_of(found.definition)), end="")
            return
        wanted = RunFilter(sweep_ids=(found.id,), with_members=True)
        runs = list(store.runs(wanted, limit=None if as_json else SHOWN_RUNS))
        if as_json:
            print_json({"sweep": found, "runs": runs})
            return
        _print_sweep(found, runs, _csv_taken_by(store, found))
        _print_notices(store, found)


def read_story(store: "Store", run: RunRecord) -> RunStory:
    """What the database knows of `run`."""
    attempts = sorted(store.attempts(run.id), key=lambda one: one.fence)
    events = sorted(store.events(run_id=run.id, limit=SHOWN_EVENTS), key=lambda one: one.id)
    tested = store.losses([run.id], Split.TEST).get(run.id)
    return RunStory(
        run=run,
        test_loss=tested[-1] if tested else None,
        repeat=repeat_command(run.settings, run.seed),
        attempts=attempts,
        events=events,
        mixed_code=store.same_code().are_mixed(run.code),
    )


def _print_story(story: RunStory, database_option: str) -> None:
    run = story.run
    say(f"run {run.id} ({run.uid}) of sweep {run.sweep_id}: {state_text(run)}")
    say(f"arm {run.arm_number}, run {run.run_num} of it, seed {run.seed}, N {short_count(run.num_params)}")
    changed = Settings.from_dict(run.settings).changed()
    say("settings changed from the recipe's defaults:")
    _print_values(changed)
    say("all other settings:")
    _print_values({name: value for name, value in run.settings.items() if name not in changed})
    if run.facts:
        say("known since its first claim:")
        _print_values(run.facts)
    if run.tags:
        say(f"tags: {' '.join(run.tags)}")
    if run.note:
        say(f"note: {run.note}")
    say(*code_lines(run, mixed=story.mixed_code))
    _print_times(run, story.test_loss)
    if story.attempts and story.attempts[-1].provenance:
        say("what computed the newest attempt:")
        _print_values(story.attempts[-1].provenance)
    say(f"to submit the same run again: {naming_database(story.repeat, database_option)}")
    if story.attempts:
        print_table(
            ["attempt", "started", "ended", "steps", "ended because", "worker", "log"],
            [_attempt_row(number, attempt) for number, attempt in enumerate(story.attempts, start=1)],
        )
    if story.events:
        print_table(
            ["when", "who", "what", "why"],
            [[when(event.at), event.actor, event.action, event.why] for event in story.events],
        )
    _print_error(run, story.attempts, database_option)


def code_lines(run: RunRecord, *, mixed: bool) -> list[str]:
    """By which code the run's points were computed, and the ways on where it is held for another."""
    parts = [
        f"{part.digest} from step {part.after + 1}" + (f" (git {part.git_commit})" if part.git_commit else "")
        for part in run.code
    ]
    lines = [f"code: {', '.join(parts)}" + (f": {MIXED}" if mixed else "")] if parts else []
    if run.held:
        lines += held_lines([run.id], run.code[-1].digest, run.held)
    return lines


def state_text(run: RunRecord) -> str:
    """A run's state with its reason and what holds it back: `failed (oom)`, `pending (paused)`."""
    notes = [str(run.reason)] if run.reason and run.state is not State.COMPLETED else []
    notes += [HELD] if run.held else ["paused"] if run.paused else []
    notes += [f"waits until {when(run.backoff_until)}"] if run.backoff_until else []
    return f"{run.state} ({', '.join(notes)})" if notes else str(run.state)


def _print_times(run: RunRecord, test_loss: float | None) -> None:
    say(f"submitted {when(run.created_at)}  started {when(run.started_at)}  ended {when(run.ended_at)}")
    losses = [
        f"{name} loss {value:.4f}"
        for name, value in (("train", run.last_train_loss), ("val", run.last_val_loss), ("test", test_loss))
        if value is not None
    ]
    say(", ".join([f"step {run.step}", *losses]))


def _attempt_row(number: int, attempt: AttemptRecord) -> list[str]:
    reason = "" if attempt.ended_at is None else str(attempt.reason or "")
    steps = f"{attempt.start_step} to {attempt.step}"
    times = map(when, (attempt.started_at, attempt.ended_at))
    return [str(number), *times, steps, reason, str(attempt.worker_id), attempt.log_path]


def _print_error(run: RunRecord, attempts: Sequence[AttemptRecord], database_option: str) -> None:
    """The newest error, with its traceback; of a run that was stopped early, why."""
    failed = [attempt for attempt in attempts if attempt.error_type or attempt.error_message]
    if not failed:
        return
    error = failed[-1]
    if error.reason is Reason.PRUNED:
        say(error.error_message)
        say(f"to train it to its end anyway: hlbq retry{database_option} --run {run.id} --reason {Reason.PRUNED}")
        return
    said = ": ".join(filter(None, (error.error_type, error.error_message)))  # a worker that was lost has no type
    say(f"error of attempt {attempts.index(error) + 1}: {said}")
    if error.error_traceback:
        say(error.error_traceback.rstrip())
    say(f"to see the trainer's output: hlbq logs{database_option} {run.id}")
    if run.state is State.FAILED:
        say(f"to try it again: hlbq retry{database_option} --run {run.id}")


def _print_sweep(sweep: SweepRecord, runs: Sequence[RunRecord], taken_by: int | None) -> None:
    title = f" '{sweep.name}'" if sweep.name else ""
    say(f"sweep {sweep.id}{title} ({sweep.uid}), submitted {when(sweep.created_at)}: {counts_text(sweep.counts)}")
    if sweep.tags:
        say(f"tags: {' '.join(sweep.tags)}")
    if sweep.note:
        say(f"note: {sweep.note}")
    say(f"made by: {shlex.join(sweep.argv)}")
    if sweep.csv:
        say(f"CSV: {sweep.csv.path} on {sweep.csv.host}" + (f", of sweep {taken_by} now" if taken_by else ""))
    if sweep.wandb_project:
        say(f"wandb project: {sweep.wandb_project}")
    if sweep.notify_by:
        say(f"notifies: {sweep.notify_by}")
    say(*stored_shape(sweep.definition).lines())
    axes: Mapping[str, list[Any]] = sweep.definition.get("axes", {})
    for name, values in axes.items():
        say(f"  {name}: {' '.join(value_text(value) for value in values)}")
    swept = list(swept_axes(sweep.definition))
    if baseline := restricted(baseline_of(sweep.definition), swept):
        say(f"baseline: {baseline_text(baseline)}")
    print_table(["run", *swept, "seed", "state", "step", "val loss"], [_run_row(run, swept, sweep) for run in runs])
    more = sum(sweep.counts.values()) - sum(run.sweep_id == sweep.id for run in runs)
    if more:
        say(f"and {counted(more, 'more run')}")


def _csv_taken_by(store: "Store", sweep: SweepRecord) -> int | None:
    """The later sweep that the CSV of a sweep of this host belongs to."""
    if sweep.csv is None or sweep.csv.host != socket.gethostname():
        return None
    return next((one.taken_by for one in store.csv_states(sweep.csv.host) if one.sweep_id == sweep.id), None)


def _print_notices(store: "Store", sweep: SweepRecord) -> None:
    """How telling the sweep's user went lately."""
    told = store.events(sweep_id=sweep.id, actor=NOTIFIER, limit=SHOWN_NOTICES) if sweep.notify_by else ()
    if told:
        rows = [
            [when(event.at), f"run {event.run_id}" if event.run_id else "sweep", event.action, event.why]
            for event in told
        ]
        print_table(["when", "of", "what", "why"], rows[::-1])


def _run_row(run: RunRecord, swept: Sequence[str], sweep: SweepRecord) -> list[str]:
    loss = "" if run.last_val_loss is None else f"{run.last_val_loss:.4f}"
    values = [value_text(run.settings.get(name, "")) for name in swept]
    state = state_text(run) + ("" if run.sweep_id == sweep.id else f", of sweep {run.sweep_id}")
    return [str(run.id), *values, str(run.seed), state, str(run.step), loss]


def _print_values(values: Mapping[str, Any]) -> None:
    if not values:
        say("  (none)")
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        text = shlex.join(value) if isinstance(value, list) else "none" if value is None else value_text(value)
        say(f"  {name:<{width}}  {text}")
