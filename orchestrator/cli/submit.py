"""`hlbq submit`, `search` and `preset`: expand settings and seeds into runs, and put them into the queue."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.common import DatabaseOption, JsonOption, YesOption, without_garbage_collection
from orchestrator.cli.notify import NotifyOptions
from orchestrator.cli.option_groups import OptionGroup, option, read_by
from orchestrator.cli.output import ask, counted, note, print_json, say, warn
from orchestrator.cli.review import UNKNOWN, plan_json, plan_summary, print_review, read_history, seed_lines, seeds_of
from orchestrator.cli.sweep_options import GivenSettings, SweepCommand
from orchestrator.errors import DatabaseError, DatabaseMissingError, UsageError
from orchestrator.queue.sweeps import CsvTarget, SweepRecord
from orchestrator.sweep.plan import Plan
from orchestrator.sweep.submission import PreparedSweep, prepare_sweep
from orchestrator.sweep.sweep_file import preset_names, preset_summary, preset_text
from orchestrator.sweep.sweep_options import SWEEP, SweepOptions
from orchestrator.wording.secrets import without_credentials, without_value

if TYPE_CHECKING:
    from orchestrator.store import StoreLocation
    from orchestrator.sweep.existing_runs import Existing

SHOWN_REASONS = 3


@dataclass(frozen=True, kw_only=True)
class ReviewOptions(OptionGroup):
    """Whether to show the sweep before it is stored."""

    review_settings: bool = option(False, help="Print every arm and what was left out, then ask.")
    dry_run: bool = option(False, "--dry_run", "--dry-run", help="Print what submit would do, and stop.")
    plan_for: float | None = option(
        None,
        metavar="EFFECT",
        help="Print how many seeds an effect of this size needs, given the noise of earlier runs of similar arms.",
    )
    noise: float | None = option(
        None, help="For --plan_for: the standard deviation of a paired difference, instead of that of earlier runs."
    )


@dataclass(frozen=True, kw_only=True)
class AskedSweep(OptionGroup):
    """A sweep as it was asked for; SweepCommand adds what a sweep file or a preset says to what was typed."""

    settings: GivenSettings
    file: Annotated[
        str | None,
        typer.Argument(metavar="SWEEP.toml", help="A sweep file; options on the command line replace its own."),
    ] = None
    preset: str | None = option(
        None,
        panel=SWEEP,
        metavar="PRESET",
        help="A sweep file that comes with hlbq, instead of your own. List them: hlbq preset",
    )
    sweep: SweepOptions
    notify: NotifyOptions
    review: ReviewOptions


@read_by(SweepCommand)
def submit(asked: AskedSweep, database: DatabaseOption, as_json: JsonOption = False, yes: YesOption = False) -> None:
    """Expand settings and seeds into runs, and queue them.

    Every setting takes one or several values. Several values make an axis, and the sweep is the product of the axes:

    hlbq submit --depth 4 8 --width 192 384 --num_runs 3

    A sweep file can hold all of this. Options on the command line replace those of the file:

    hlbq submit sweep.toml --num_runs 5

    hlbq submit --preset tiny-cpu --num_heads 1 2
    """
    submitted = submit_sweep(asked, database, as_json=as_json, yes=yes)
    if submitted is None:
        return
    prepared, stored, location = submitted
    next_command = f"hlbq worker{location.option}"
    if as_json:
        place = {"database": location.display, "next": next_command}
        print_json(_counts_json(prepared) | {"sweep": stored.id, "uid": stored.uid} | place)
        return
    say(f"sweep {stored.id}: {plan_summary(prepared.plan)}")
    say(f"next: {next_command}")


@read_by(SweepCommand)
def search(asked: AskedSweep, database: DatabaseOption, as_json: JsonOption = False, yes: YesOption = False) -> None:
    """Search for good arms: `hlbq submit` with --trials.

    hlbq search --lr_mult 0.5..8 --depth 4 8 --width 192 --trials 60 --confirm 3

    When an arm has ended, its worker asks a sampler for the next one. `hlbq status` shows the state of the search.
    """
    if asked.sweep.trials is None:
        raise UsageError("how many arms may the search try?", "For instance: hlbq search --lr_mult 0.5..8 --trials 60")
    submit(asked, database, as_json=as_json, yes=yes)


def preset(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The preset to print (default: list all).")] = None,
) -> None:
    """List the presets of `hlbq submit --preset`, or print one as a sweep file.

    hlbq preset tiny-cpu > mine.toml

    hlbq submit mine.toml
    """
    if name is not None:
        say(preset_text(name), end="")
        return
    names = preset_names()
    for one in names:
        say(f"{one:{max(map(len, names))}}  {preset_summary(one)}")


def submit_sweep(
    asked: AskedSweep, database: DatabaseOption, *, as_json: bool = False, yes: bool = False
) -> "tuple[PreparedSweep, SweepRecord, StoreLocation] | None":
    """Check and store a sweep. None if there is nothing to store, as after --dry-run; that it says itself."""
    asked.notify.check()
    with without_garbage_collection():
        prepared = reviewed_sweep(asked, database, as_json=as_json, yes=yes)
        if prepared is None:
            return None
        if not prepared.has_work:
            if as_json:
                print_json(_counts_json(prepared) | {"sweep": None})
            note("Nothing was submitted: every run exists already.")
            return None
        with database.create() as store:
            return prepared, asked.notify.store(store, prepared.sweep), store.location


def reviewed_sweep(
    asked: AskedSweep, database: DatabaseOption, *, as_json: bool = False, yes: bool = False
) -> PreparedSweep | None:
    """Everything that submit does before it writes: prepare, warn, show, ask. None after --dry-run."""
    options, review = asked.sweep, asked.review
    skip_existing = options.takes_existing
    prepared = prepare_sweep(
        asked.settings.texts,
        options,
        db=database.db,
        argv=without_credentials(without_value("--notify", ["hlbq", *sys.argv[1:]])),
        find_existing=lambda plan: existing_runs(plan, database, taken=skip_existing),
    )
    if options.grows:  # loads numpy
        from orchestrator.growth.declaring import with_policy

        prepared = with_policy(prepared, options)
    plan = prepared.plan
    warn(*prepared.warnings)
    if review.noise is not None and review.plan_for is None:
        warn("--noise has no effect without --plan_for")
    seeds = seeds_of(plan, options, database, effect=review.plan_for, noise=review.noise)
    if seeds is None and review.plan_for is not None:
        warn("--plan_for has no effect: the sweep has no arms to compare with a baseline")
    for line in filter(None, (prepared.note, _whose_rows_go(prepared.sweep.csv, database))):
        note(f"note: {line}")
    if review.dry_run and as_json:
        print_json(plan_json(plan, read_history(database, plan), seeds))
    elif review.dry_run or (review.review_settings and not as_json):
        print_review(plan, read_history(database, plan))
    else:
        note_left_out(plan)
    if review.plan_for is not None or not options.grows:  # which adds the seeds that a verdict needs
        note(*seed_lines(plan, seeds, read_history(database, plan) if review.plan_for else UNKNOWN))
    note(*prepared.existing.lines(skipped=skip_existing))
    if review.dry_run:
        note("Nothing was submitted (--dry-run).")
        return None
    if review.review_settings and not yes and plan.total_runs:
        ask(f"Submit {counted(plan.total_runs, 'run')}?", otherwise="Nothing was submitted.")
    return prepared


def existing_runs(plan: Plan, database: DatabaseOption, *, taken: bool) -> "Existing":
    """The plan's runs that the database already holds as completed; none without a database.

    A database that cannot be read (an old one, for instance) raises DatabaseError only if they are `taken`:
    otherwise submit reports that it cannot write.
    """
    from orchestrator.sweep.existing_runs import Existing, find_existing

    try:
        with database.read() as store:
            return find_existing(plan, store, taken=taken)
    except DatabaseError as error:
        if taken and not isinstance(error, DatabaseMissingError):
            raise
        return Existing()


def _whose_rows_go(target: CsvTarget | None, database: DatabaseOption) -> str:
    """What a sweep that doesn't append does to a file that is there, or that other sweeps write to; empty for none."""
    if target is None or target.append:
        return ""
    from orchestrator.store.outgoing.csv_files import replaced_by

    try:
        with database.read() as store:
            before = [one.sweep_id for one in replaced_by(target, store.csv_states(target.host))]
    except DatabaseError:  # there is none yet, or submit itself says what is wrong with it
        before = []
    if not before and not Path(target.path).exists():
        return ""
    sweeps = f"sweep{'s' if len(before) > 1 else ''} {', '.join(map(str, before))}"
    rows = (
        f"{sweeps} will no longer write to '{target.path}', and {'their' if len(before) > 1 else 'its'} rows go"
        if before
        else f"the rows of '{target.path}' go"
    )
    return f"{rows} when the first run of this sweep ends (--append keeps them)"


def _counts_json(prepared: PreparedSweep) -> dict[str, Any]:
    plan = prepared.plan
    return {
        "runs": plan.total_runs,
        "arms": len(plan.arms),
        "left_out": len(plan.left_out),
        "duplicates": plan.duplicates,
        "existing": prepared.existing.count,
        "existing_unchecked": prepared.existing.unchecked,
        "skipped": len(plan.skipped),
    }


def note_left_out(plan: Plan) -> None:
    """A short note on what was left out, if no table shows it."""
    reasons = plan.reasons()
    if reasons:
        note(f"{counted(len(plan.left_out), 'combination')} left out:")
    for reason, count in list(reasons.items())[:SHOWN_REASONS]:
        note(f"  {reason}" + (f" ({count:,} times)" if count > 1 else ""))
    if len(reasons) > SHOWN_REASONS:
        note(f"  and {len(reasons) - SHOWN_REASONS} other reasons; --dry-run shows all")
