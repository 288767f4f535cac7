"""`hlbq submit`: expand settings and seeds into runs, and put them into the queue."""

import shlex
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.common import (
    DatabaseOption,
    JsonOption,
    YesOption,
    ask,
    counted,
    note,
    print_json,
    warn,
    without_garbage_collection,
)
from orchestrator.cli.notify import NotifyOptions
from orchestrator.cli.option_groups import OptionGroup, grouped
from orchestrator.cli.review import measured_speeds, plan_json, plan_summary, print_review
from orchestrator.cli.sweep_command import SweepCommand
from orchestrator.cli.sweep_options import GivenSettings, SweepOptions
from orchestrator.errors import DatabaseError, DatabaseMissingError
from orchestrator.queue.records import NewSweep, SweepRecord
from orchestrator.sweep.plan import Axes, Plan, make_plan
from orchestrator.sweep.submission import check_place, definition_of
from orchestrator.wording.secrets import without_credentials, without_value

if TYPE_CHECKING:
    from orchestrator.sweep.existing_runs import Existing

SHOWN_REASONS = 3


@dataclass(frozen=True, kw_only=True)
class ReviewOptions(OptionGroup):
    """Whether to show the sweep before it is stored."""

    review_settings: Annotated[
        bool, typer.Option("--review_settings", help="Print every arm and what is left out, then ask.")
    ] = False
    dry_run: Annotated[bool, typer.Option("--dry_run", "--dry-run", help="Print what it would do, and stop.")] = False


@dataclass(frozen=True, kw_only=True)
class PreparedSweep:
    """A sweep that was checked and approved, and is not stored yet."""

    plan: Plan
    sweep: NewSweep
    existing: "Existing"


def register(app: typer.Typer) -> None:
    """Add `submit`."""
    app.command(cls=SweepCommand)(grouped(submit))


def submit(
    settings: GivenSettings,
    sweep: SweepOptions,
    notify: NotifyOptions,
    review: ReviewOptions,
    database: DatabaseOption,
    as_json: JsonOption = False,
    yes: YesOption = False,
) -> None:
    """Expand settings and seeds into runs, and queue them.

    Every setting takes one value or several; several make an axis, and the sweep is their product:

    hlbq submit --depth 4 8 --width 192 384 --num_runs 3

    A sweep file may hold all of this, and what is typed besides it replaces what it says:

    hlbq submit sweep.toml --num_runs 5
    """
    notify.check()
    with without_garbage_collection():
        prepared = prepare_sweep(settings, sweep, review, database, as_json=as_json, yes=yes)
        if prepared is None:
            return
        if not prepared.plan.total_runs:
            _say_nothing_to_do(prepared, as_json=as_json)
            return
        with database.create() as store:
            stored = notify.store(store, prepared.sweep)
            where = store.location.display
    next_command = f"hlbq worker --db {shlex.quote(where)}" if database.db else "hlbq worker"
    if as_json:
        print_json(
            _counts_json(prepared) | {"sweep": stored.id, "uid": stored.uid} | {"database": where, "next": next_command}
        )
        return
    print(f"sweep {stored.id}: {plan_summary(prepared.plan)}")
    print(f"next: {next_command}")


def submit_sweep(
    settings: GivenSettings,
    sweep: SweepOptions,
    notify: NotifyOptions,
    review: ReviewOptions,
    database: DatabaseOption,
    *,
    yes: bool = False,
) -> SweepRecord | None:
    """Check and store a sweep, and say so on stderr; None where there is nothing to store, as after --dry-run."""
    notify.check()
    with without_garbage_collection():
        prepared = prepare_sweep(settings, sweep, review, database, yes=yes)
        if prepared is None:
            return None
        if not prepared.plan.total_runs:
            _say_nothing_to_do(prepared, as_json=False)
            return None
        with database.create() as store:
            stored = notify.store(store, prepared.sweep)
    note(f"sweep {stored.id}: {plan_summary(prepared.plan)}")
    return stored


def prepare_sweep(
    settings: GivenSettings,
    sweep: SweepOptions,
    review: ReviewOptions,
    database: DatabaseOption,
    *,
    as_json: bool = False,
    yes: bool = False,
) -> PreparedSweep | None:
    """Everything that submit does before it writes: expand, check, warn, show, ask. None after --dry-run."""
    shape = sweep.shape()
    axes = settings.axes(repeated=shape.zipped())
    plan = make_plan(axes, shape=shape, num_runs=sweep.num_runs, first_seed=sweep.seed)
    about_place = check_place(plan, axes, database.db)
    existing = existing_runs(plan, database, needed=sweep.skip_existing)
    if sweep.skip_existing:
        plan = plan.without(existing.runs)
    new_sweep = describe_sweep(plan, axes, sweep)
    for warning in (*plan.warnings, *sweep.warnings()):
        warn(warning)
    if about_place:
        note(f"note: {about_place}")
    if review.dry_run and as_json:
        print_json(plan_json(plan, measured_speeds(database)))
    elif review.dry_run or (review.review_settings and not as_json):
        print_review(plan, measured_speeds(database))
    else:
        _note_left_out(plan)
    for line in existing.lines(skipped=sweep.skip_existing):
        note(line)
    if review.dry_run:
        note("Nothing was submitted (--dry-run).")
        return None
    if review.review_settings and not yes and plan.total_runs:
        ask(f"Submit {counted(plan.total_runs, 'run')}?", otherwise="Nothing was submitted.")
    return PreparedSweep(plan=plan, sweep=new_sweep, existing=existing)


def existing_runs(plan: Plan, database: DatabaseOption, *, needed: bool) -> "Existing":
    """The plan's runs that the database holds already, completed; none where there is no database yet.

    One that can't be read as it is (it is older, for instance) raises DatabaseError only where it is `needed`:
    submit says so itself where it can't write to it either.
    """
    from orchestrator.sweep.existing_runs import Existing, find_existing

    try:
        with database.read() as store:
            return find_existing(plan, store)
    except DatabaseMissingError:
        return Existing()
    except DatabaseError:
        if needed:
            raise
        return Existing()


def describe_sweep(plan: Plan, axes: Axes, options: SweepOptions) -> NewSweep:
    """The sweep as the store takes it. Raises UsageError for a name, a note or a CSV path that is of no use."""
    options.check_texts()
    return NewSweep(
        name=options.name,
        note=options.note,
        argv=without_credentials(without_value("--notify", ["hlbq", *sys.argv[1:]])),
        arms=plan.new_arms(),
        runs=plan.new_runs(),
        priority=options.priority,
        bookkeeping=options.bookkeeping(),
        csv=options.csv_target(),
        wandb_project=options.project(),
        definition=definition_of(plan, axes, options.given()),
    )


def _counts_json(prepared: PreparedSweep) -> dict[str, Any]:
    plan = prepared.plan
    return {
        "runs": plan.total_runs,
        "arms": len(plan.arms),
        "left_out": len(plan.left_out),
        "duplicates": plan.duplicates,
        "existing": len(prepared.existing.runs),
        "existing_unchecked": prepared.existing.unchecked,
        "skipped": len(plan.skipped),
    }


def _say_nothing_to_do(prepared: PreparedSweep, *, as_json: bool) -> None:
    if as_json:
        print_json(_counts_json(prepared) | {"sweep": None})
    note("Nothing was submitted: every run exists.")


def _note_left_out(plan: Plan) -> None:
    """A short word on what was left out, where no table shows it."""
    reasons = plan.reasons()
    if reasons:
        note(f"{counted(len(plan.left_out), 'combination')} left out:")
    for reason, count in list(reasons.items())[:SHOWN_REASONS]:
        note(f"  {reason}" + (f" ({count:,} times)" if count > 1 else ""))
    if len(reasons) > SHOWN_REASONS:
        note(f"  and {len(reasons) - SHOWN_REASONS} other reasons; --dry-run shows all")
