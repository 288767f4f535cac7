"""`hlbq submit`: expand settings and seeds into runs, and put them into the queue."""

import shlex
import sys
from dataclasses import dataclass
from typing import Annotated

import typer

from orchestrator.cli.common import DatabaseOption, JsonOption, YesOption, ask, counted, note, print_json, warn
from orchestrator.cli.given import GivenSettings, SweepOptions, check_datasets
from orchestrator.cli.option_groups import OptionGroup, grouped
from orchestrator.cli.parsing import VariadicCommand
from orchestrator.cli.review import measured_speeds, plan_json, plan_summary, print_review
from orchestrator.plan import Axes, Plan, make_plan
from orchestrator.records import NewSweep, SweepRecord
from orchestrator.secrets import without_credentials
from orchestrator.state_folder import state_folder

SHOWN_REASONS = 3


@dataclass(frozen=True, kw_only=True)
class ReviewOptions(OptionGroup):
    """Whether to show the sweep before it is stored."""

    review_settings: Annotated[
        bool, typer.Option("--review_settings", help="Print every arm and what is left out, then ask.")
    ] = False
    dry_run: Annotated[bool, typer.Option("--dry_run", "--dry-run", help="Print what it would do, and stop.")] = False


def register(app: typer.Typer) -> None:
    """Add `submit`."""
    app.command(cls=VariadicCommand)(grouped(submit))


def submit(
    settings: GivenSettings,
    sweep: SweepOptions,
    review: ReviewOptions,
    database: DatabaseOption,
    as_json: JsonOption = False,
    yes: YesOption = False,
) -> None:
    """Expand settings and seeds into runs, and queue them.

    Every setting takes one value or several; several make an axis, and the sweep is their product:

    hlbq submit --depth 4 8 --width 192 384 --num_runs 3
    """
    prepared = prepare_sweep(settings, sweep, review, database, as_json=as_json, yes=yes)
    if prepared is None:
        return
    with database.create() as store:
        stored = store.submit(prepared.sweep)
        where = store.location.display
    next_command = f"hlbq worker --db {shlex.quote(where)}" if database.db else "hlbq worker"
    if as_json:
        print_json(
            {
                "sweep": stored.id,
                "uid": stored.uid,
                "runs": prepared.plan.total_runs,
                "arms": len(prepared.plan.arms),
                "left_out": len(prepared.plan.left_out),
                "duplicates": prepared.plan.duplicates,
                "database": where,
                "next": next_command,
            }
        )
        return
    print(f"sweep {stored.id}: {plan_summary(prepared.plan)}")
    print(f"next: {next_command}")


@dataclass(frozen=True, kw_only=True)
class PreparedSweep:
    """A sweep that was checked and approved, and is not stored yet."""

    plan: Plan
    sweep: NewSweep


def submit_sweep(
    settings: GivenSettings, sweep: SweepOptions, review: ReviewOptions, database: DatabaseOption, *, yes: bool = False
) -> SweepRecord | None:
    """Check and store a sweep, and say so on stderr; None after --dry-run, which stores nothing."""
    prepared = prepare_sweep(settings, sweep, review, database, yes=yes)
    if prepared is None:
        return None
    with database.create() as store:
        stored = store.submit(prepared.sweep)
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
    axes = settings.axes()
    plan = make_plan(axes, num_runs=sweep.num_runs, first_seed=sweep.seed)
    new_sweep = describe_sweep(plan, axes, sweep)
    check_place(axes, database)
    for warning in (*plan.warnings, *sweep.warnings()):
        warn(warning)
    if review.dry_run and as_json:
        print_json(plan_json(plan, measured_speeds(database)))
    elif review.dry_run or (review.review_settings and not as_json):
        print_review(plan, measured_speeds(database))
    else:
        _note_left_out(plan)
    if review.dry_run:
        note("Nothing was submitted (--dry-run).")
        return None
    if review.review_settings and not yes:
        ask(f"Submit {counted(plan.total_runs, 'run')}?", otherwise="Nothing was submitted.")
    return PreparedSweep(plan=plan, sweep=new_sweep)


def describe_sweep(plan: Plan, axes: Axes, options: SweepOptions) -> NewSweep:
    """The sweep as the store takes it. Raises UsageError for a name, a note or a CSV path that is of no use."""
    options.check_texts()
    return NewSweep(
        name=options.name,
        note=options.note,
        argv=without_credentials(["hlbq", *sys.argv[1:]]),
        arms=plan.new_arms(),
        runs=plan.new_runs(),
        priority=options.priority,
        bookkeeping=options.bookkeeping(),
        csv=options.csv_target(),
        wandb_project=options.project(),
        definition={
            "axes": {name: list(values) for name, values in axes.items()},
            "num_runs": plan.num_runs,
            "seed": plan.first_seed,
            "state_dir": str(state_folder(None, options.state_dir)) if options.state_dir else None,
        },
    )


def check_place(axes: Axes, database: DatabaseOption) -> None:
    """Check what depends on where the workers are: with SQLite they are on this host, and need the data here.

    Raises DataError for a dataset that training could not use, DatabaseError for a `--db` that makes no sense.
    """
    from orchestrator.store.location import parse_location

    elsewhere = parse_location(database.db).dialect != "sqlite"
    check_datasets(axes, missing_path_is_fine=elsewhere)
    if elsewhere and any(name.startswith("text:") for name in axes.get("dataset", ())):
        note("note: the workers will look for the text: path on their own hosts")


def _note_left_out(plan: Plan) -> None:
    """A short word on what was left out, where no table shows it."""
    reasons = plan.reasons()
    if reasons:
        note(f"{counted(len(plan.left_out), 'combination')} left out:")
    for reason, count in list(reasons.items())[:SHOWN_REASONS]:
        note(f"  {reason}" + (f" ({count:,} times)" if count > 1 else ""))
    if len(reasons) > SHOWN_REASONS:
        note(f"  and {len(reasons) - SHOWN_REASONS} other reasons; --dry-run shows all")
