"""`hlbq decide`: have a sweep grow until the verdict is in, and take the steps that are due."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.common import DatabaseOption, JsonOption
from orchestrator.cli.option_groups import option
from orchestrator.cli.output import counted, note, print_json, say, suggest, warn
from orchestrator.cli.sweep_options import GivenPolicy
from orchestrator.errors import UsageError
from orchestrator.queue.sweeps import AGAIN
from orchestrator.sweep.sweep_options import SweepOptions

if TYPE_CHECKING:
    from orchestrator.store import Store


def decide(
    policy: GivenPolicy,
    database: DatabaseOption,
    sweep: Annotated[int | None, typer.Argument(metavar="SWEEP", help="The sweep's number.", min=1)] = None,
    redeclare: bool = option(False, help="Replace the policy that the sweep has by the one of these options."),
    as_json: JsonOption = False,
) -> None:
    """Add seeds to the undecided arms of a sweep, and to their baseline, until the verdict is in.

    hlbq decide 3 --margin 0.01

    declares that for sweep 3, and queues what its first step asks for; workers take the steps from then on. For a sweep
    with a policy it says how that stands. Without a sweep it takes every step that is due.
    """
    from orchestrator.growth.reconciler import take_due_steps
    from orchestrator.growth.standing import standing_lines, standing_of

    if sweep is None and (redeclare or policy.options != SweepOptions(decide=True)):
        raise UsageError("for which sweep is that?", "For instance: hlbq decide 3 --margin 0.01")
    with database.write() as store:
        if sweep is not None:
            _declare(store, sweep, policy.options, redeclare=redeclare)
        for step in take_due_steps(store, sweep_ids=() if sweep is None else (sweep,), actor="user"):
            if step.added:
                note(f"sweep {step.sweep_id}: {counted(step.added, 'run')} added")
            for sentence in step.sentences:
                note(f"sweep {step.sweep_id}: {sentence}")
        shown = [record for record in store.policies(() if sweep is None else (sweep,)) if record.ended_why != AGAIN]
        standings = [standing_of(store, record) for record in shown]
        if as_json:
            print_json([asdict(standing) for standing in standings])
            return
        for standing in standings:
            for line in standing_lines(standing):
                say(line)
        if sweep is not None and standings[-1].is_open:
            suggest("train what was added: hlbq worker", store)


def _declare(store: "Store", sweep_id: int, options: SweepOptions, *, redeclare: bool) -> None:
    """Declare the policy of these options, unless the sweep has one and nothing was asked to change."""
    from orchestrator.growth.declaring import declared_for_sweep
    from orchestrator.store.changing.policies import has_a_policy

    found = store.sweep(sweep_id)
    if found is None:
        raise UsageError(f"there is no sweep {sweep_id} in {store.location.display}", "See them: hlbq status")
    there = store.policy(sweep_id)
    if there is not None and not redeclare:
        if options == SweepOptions(decide=True):
            return
        if there.ended_at is None:
            raise has_a_policy(sweep_id)
    new, warnings = declared_for_sweep(store, found, options)
    for warning in warnings:
        warn(warning)
    store.declare(sweep_id, new, replace=redeclare)
