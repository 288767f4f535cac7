"""`hlbq extend SWEEP`: more seeds, or more values of settings, for an existing sweep."""

from typing import Annotated

import typer

from orchestrator.cli.common import DatabaseOption, JsonOption, counted, note, print_json, say, warn
from orchestrator.cli.review import print_review, read_history
from orchestrator.cli.sweep_options import GivenSettings


def extend(
    sweep: Annotated[int, typer.Argument(metavar="SWEEP", help="The sweep's number.", min=1)],
    settings: GivenSettings,
    database: DatabaseOption,
    num_runs: Annotated[
        int | None, typer.Option("--num_runs", min=1, help="Runs that every arm should have (default: as many as now).")
    ] = None,
    undecided: Annotated[
        bool, typer.Option("--undecided", help="Add seeds only to arms without a verdict yet, and to their baselines.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry_run", "--dry-run", help="Print what would be added, and stop.")] = (
        False
    ),
    as_json: JsonOption = False,
) -> None:
    """Add what is missing to a sweep: seeds up to --num_runs, and arms for more values of settings.

    hlbq extend 3 --num_runs 10

    hlbq extend 3 --undecided --num_runs 10

    hlbq extend 3 --depth 32
    """
    from orchestrator.growth.by_hand import addition_to, other_code
    from orchestrator.store.known import known_sweep

    with database.read() if dry_run else database.write() as store:
        found = known_sweep(store, sweep)
        addition = addition_to(store, found, settings.texts, num_runs, undecided=undecided)
        for warning in (*addition.plan.warnings, *other_code(store, found)):
            warn(warning)
        arms = counted(addition.new_arms, "new arm")
        if dry_run:
            lacking = addition.plan.without(store.runs_by_seed(sweep))
            print_review(lacking, read_history(database, addition.plan))
            note(f"Nothing was added (--dry-run). Without it: {counted(lacking.total_runs, 'run')} ({arms}).")
            return
        added = addition.apply(store, sweep)
    if as_json:
        print_json(
            {"sweep": sweep, "added": added, "new_arms": addition.new_arms, "left_out": len(addition.plan.left_out)}
        )
    else:
        say(f"sweep {sweep}: {counted(added, 'run')} added ({arms})")
