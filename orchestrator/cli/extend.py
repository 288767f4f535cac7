"""`hlbq extend SWEEP`: more seeds, or more values of settings, for an existing sweep."""

from orchestrator.cli.common import DatabaseOption, JsonOption, SweepArgument
from orchestrator.cli.option_groups import option
from orchestrator.cli.output import counted, note, print_result, warn
from orchestrator.cli.review import print_review, read_history
from orchestrator.cli.sweep_options import GivenSettings


def extend(
    sweep: SweepArgument,
    settings: GivenSettings,
    database: DatabaseOption,
    num_runs: int | None = option(None, min=1, help="Runs that every arm should have (default: as many as now)."),
    undecided: bool = option(False, help="Add seeds only to arms without a verdict yet, and to their baselines."),
    dry_run: bool = option(False, "--dry_run", "--dry-run", help="Print what would be added, and stop."),
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
    counts = {"added": added, "new_arms": addition.new_arms, "left_out": len(addition.plan.left_out)}
    print_result({"sweep": sweep, **counts}, f"sweep {sweep}: {counted(added, 'run')} added ({arms})", as_json=as_json)
