"""`hlbq extend`: more seeds or values for a sweep; `hlbq decide`: have it grow until the verdict is in."""

from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.common import DatabaseOption, JsonOption, SweepArgument
from orchestrator.cli.option_groups import option
from orchestrator.cli.output import counted, note, print_json, print_result, say, suggest, warn
from orchestrator.cli.review import print_review, read_history
from orchestrator.cli.submit import note_left_out
from orchestrator.cli.sweep_options import GivenSettings, PolicyOptions
from orchestrator.errors import UsageError
from orchestrator.queue.sweeps import AGAIN, SEARCH

if TYPE_CHECKING:
    from orchestrator.store import Store


def decide(
    policy: PolicyOptions,
    database: DatabaseOption,
    sweep: Annotated[int | None, typer.Argument(metavar="SWEEP", help="The sweep's number.", min=1)] = None,
    redeclare: bool = option(False, help="Replace the sweep's policy with the one of these options."),
    as_json: JsonOption = False,
) -> None:
    """Add seeds to the undecided arms of a sweep, and to their baseline, until the verdict is in.

    hlbq decide 3 --margin 0.01

    declares this policy for sweep 3, and queues the runs of its first step. From then on, workers take the steps.
    Without options, `hlbq decide 3` takes the steps of sweep 3 that are due, and shows the state of its policy. If the
    sweep has none, it gets one with the defaults. `hlbq decide` alone takes the steps of all policies that are due.
    """
    from orchestrator.growth.reconciler import take_due_steps
    from orchestrator.growth.standing import standing_lines, standing_of

    if sweep is None and (redeclare or policy != PolicyOptions()):
        raise UsageError("for which sweep?", "For instance: hlbq decide 3 --margin 0.01")
    with database.write() as store:
        if sweep is not None:
            _declare(store, sweep, policy, redeclare=redeclare)
        for step in take_due_steps(store, sweep_ids=() if sweep is None else (sweep,), actor="user"):
            if step.added:
                note(f"sweep {step.sweep_id}: {counted(step.added, 'run')} added")
            note(*(f"sweep {step.sweep_id}: {sentence}" for sentence in step.sentences))
        shown = [record for record in store.policies(() if sweep is None else (sweep,)) if record.ended_why != AGAIN]
        standings = [standing_of(store, record) for record in shown]
        if as_json:
            print_json(standings)
            return
        for standing in standings:
            say(*standing_lines(standing, database_option=store.location.option))
        if not standings:
            suggest("no sweep has a policy. Declare one: hlbq decide SWEEP", store)
        if sweep is not None and standings[-1].is_open and not standings[-1].waits:
            suggest("train what was added: hlbq worker", store)


def extend(
    sweep: SweepArgument,
    settings: GivenSettings,
    database: DatabaseOption,
    num_runs: int | None = option(None, minimum=1, help="Runs that every arm should have (default: as many as now)."),
    undecided: bool = option(False, help="Add seeds only to arms without a verdict, and to their baselines."),
    dry_run: bool = option(False, "--dry_run", "--dry-run", help="Print what would be added, and stop."),
    as_json: JsonOption = False,
) -> None:
    """Add runs to a sweep: seeds up to --num_runs, and arms for more values of settings.

    hlbq extend 3 --num_runs 10

    hlbq extend 3 --undecided --num_runs 10

    hlbq extend 3 --depth 32
    """
    from orchestrator.growth.by_hand import addition_to, other_code
    from orchestrator.store.known import known_sweep

    with database.read() if dry_run else database.write() as store:
        found = known_sweep(store, sweep)
        addition = addition_to(store, found, settings.texts, num_runs, undecided=undecided)
        warn(*addition.plan.warnings, *other_code(store, found))
        arms = counted(addition.new_arms, "new arm")
        if dry_run:
            lacking = addition.plan.without(store.runs_by_seed(sweep))
            print_review(lacking, read_history(database, addition.plan))
            note(f"Nothing was added (--dry-run). Without it: {counted(lacking.total_runs, 'run')} ({arms}).")
            return
        note_left_out(addition.plan)
        added = addition.apply(store, sweep)
        if added:
            suggest("train what was added: hlbq worker", store)
    counts = {"added": added, "new_arms": addition.new_arms, "left_out": len(addition.plan.left_out)}
    print_result({"sweep": sweep, **counts}, f"sweep {sweep}: {counted(added, 'run')} added ({arms})", as_json=as_json)


def _declare(store: "Store", sweep_id: int, options: PolicyOptions, *, redeclare: bool) -> None:
    """Declare the policy of these options, unless the sweep has one and nothing was asked to change."""
    from orchestrator.growth.declaring import declared_for_sweep
    from orchestrator.store.changing.policies import has_a_policy
    from orchestrator.store.known import known_sweep

    found = known_sweep(store, sweep_id)
    there = store.policy(sweep_id)
    if there is not None and not redeclare:
        if options == PolicyOptions():
            return
        if there.ended_at is None:
            raise has_a_policy(sweep_id)
    new, warnings = declared_for_sweep(store, found, options)
    warn(*warnings)
    store.declare(sweep_id, new, replace=redeclare)
    if there is not None and there.kind == SEARCH and there.ended_at is None:
        rest = "this policy decides between those that it tried"
        note(f"sweep {sweep_id}: its search has ended and tries no more arms; {rest}")
    if there is None and options == PolicyOptions():
        note(f"sweep {sweep_id} had no policy, and now has one with the defaults")
        suggest(f"To add a margin, for instance: hlbq decide {sweep_id} --redeclare --margin 0.01", store)
