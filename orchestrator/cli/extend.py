"""`hlbq extend SWEEP`: more seeds, or more values of settings, for an existing sweep."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from hlbgpt_core.scale import sizes
from hlbgpt_core.settings import Settings
from orchestrator.cli.common import DatabaseOption, JsonOption, counted, note, print_json, warn
from orchestrator.cli.option_groups import grouped
from orchestrator.cli.parsing import VariadicCommand
from orchestrator.cli.review import print_review, read_history
from orchestrator.cli.sweep_options import GivenSettings
from orchestrator.errors import UsageError
from orchestrator.queue.records import RunFilter, SweepRecord
from orchestrator.sweep.baseline import base_arm_of
from orchestrator.sweep.definition import is_search, stored_axes, stored_shape, stored_value
from orchestrator.sweep.plan import Axes, Plan, PlannedArm, joined, make_plan
from orchestrator.sweep.shapes import Shape
from orchestrator.sweep.submission import check_datasets

if TYPE_CHECKING:
    from orchestrator.store import Store


def register(app: typer.Typer) -> None:
    """Add `extend`."""
    app.command(cls=VariadicCommand)(grouped(extend))


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
    if undecided and (settings.texts or num_runs is None):
        raise UsageError(
            "--undecided adds seeds, to arms that are there", f"hlbq extend {sweep} --undecided --num_runs 10"
        )
    if not settings.texts and num_runs is None:
        raise UsageError("nothing to add", f"For instance: hlbq extend {sweep} --num_runs 10")
    from orchestrator.store.known import known_sweep

    with database.read() if dry_run else database.write() as store:
        found = known_sweep(store, sweep)
        given = settings.axes(repeated=stored_shape(found.definition).zipped())
        check_datasets(given, missing_path_is_fine=store.location.dialect != "sqlite")
        present = stored_arms(store, found, undecided_arms(store, sweep) if undecided else None)
        plan = extended_plan(found, present, given, num_runs)
        for warning in plan.warnings:
            warn(warning)
        for warning in other_code(store, found):
            warn(warning)
        new_arms = len(plan.arms) - len(present.arms)
        if dry_run:
            lacking = plan.without(store.runs_by_seed(sweep))
            print_review(lacking, read_history(database, plan))
            more = f"{counted(lacking.total_runs, 'run')} ({counted(new_arms, 'new arm')})"
            note(f"Nothing was added (--dry-run). Without it: {more}.")
            return
        definition = None if undecided else extended_definition(found, given, plan)
        added = store.extend(found.id, arms=plan.new_arms(), runs=plan.new_runs(), definition=definition)
    if as_json:
        print_json({"sweep": sweep, "added": added, "new_arms": new_arms, "left_out": len(plan.left_out)})
    else:
        print(f"sweep {sweep}: {counted(added, 'run')} added ({counted(new_arms, 'new arm')})")


def other_code(store: "Store", sweep: SweepRecord) -> list[str]:
    """A warning if the sweep's runs were computed by other code than the code here."""
    from orchestrator.code.names import HERE, find_digest
    from orchestrator.comparison.cautions import difference_text

    here, same = find_digest(store, HERE), store.same_code()
    newest = ""
    for run in store.runs(RunFilter(sweep_ids=(sweep.id,))):
        newest = run.code[-1].digest if run.code else newest
    if not newest or same.equal(newest, here):
        return []
    return [
        f"the runs of sweep {sweep.id} were computed by other code than the code here; the new runs "
        f"differ: {difference_text(store, newest, here)}"
    ]


def undecided_arms(store: "Store", sweep: int) -> Collection[str]:
    """The keys of the arms that `hlbq compare --sweep N` has no verdict on yet, and of their baselines.

    Raises UsageError where there is none.
    """
    from orchestrator.comparison.results import Question, compare

    found = compare(store, RunFilter(sweep_ids=(sweep,), with_members=True), Question())
    if not found.undecided_arms:
        why = "no arm of it is undecided" if found.has_verdicts else "nothing of it is held against a baseline"
        raise UsageError(f"sweep {sweep}: {why}", f"See: hlbq compare --sweep {sweep}")
    return found.undecided_arms


def stored_arms(store: "Store", sweep: SweepRecord, keys: Collection[str] | None = None) -> Plan:
    """The sweep's arms (those of `keys`, None: all), its members' among them, each with as many seeds as the
    longest."""
    arms: dict[str, PlannedArm] = {}
    longest = 1
    for run in store.runs(RunFilter(sweep_ids=(sweep.id,), with_members=True)):
        if keys is not None and run.arm_key not in keys:
            continue
        longest = max(longest, run.seed - sweep.definition["seed"] + 1)
        if run.arm_key not in arms:
            settings = Settings.from_dict(run.settings)
            arms[run.arm_key] = PlannedArm(settings=settings, sizes=sizes(settings), key=run.arm_key)
    return Plan(arms=tuple(arms.values()), first_seed=sweep.definition["seed"], num_runs=longest)


def extended_plan(sweep: SweepRecord, present: Plan, given: Axes, num_runs: int | None) -> Plan:
    """The sweep's arms and those of its axes with the given values added, all with the same seeds.

    Raises UsageError if the sweep has more than `num_runs` already.
    """
    seeds = num_runs or present.num_runs
    if seeds < present.num_runs:
        raise UsageError(
            f"sweep {sweep.id} has {present.num_runs} runs per arm, and --num_runs {seeds} is fewer",
            f"To stop runs: hlbq cancel --sweep {sweep.id}",
        )
    if not given:
        return replace(present, num_runs=seeds)
    if is_search(sweep.definition):
        raise UsageError(
            f"the arms of sweep {sweep.id} are chosen by a search",
            "Start another search, or add seeds with --num_runs.",
        )
    shape = stored_shape(sweep.definition)
    if shape.random_draws is not None:
        raise UsageError(
            f"the arms of sweep {sweep.id} were drawn at random, and more values would change every draw",
            "Submit another sweep, or add seeds with --num_runs.",
        )
    axes = _added(stored_axes(sweep.definition), given, shape)
    return joined([present, make_plan(axes, shape=shape, num_runs=seeds, first_seed=present.first_seed)])


def extended_definition(sweep: SweepRecord, given: Axes, plan: Plan) -> Mapping[str, Any]:
    """The sweep's definition, changed to describe the extended sweep."""
    axes = _added(stored_axes(sweep.definition), given, stored_shape(sweep.definition))
    return {
        **sweep.definition,
        "base_arm": base_arm_of(sweep.definition),
        "axes": {name: [stored_value(value) for value in values] for name, values in axes.items()},
        "num_runs": plan.num_runs,
    }


def _added(axes: Axes, given: Axes, shape: Shape) -> Axes:
    """The axes with the values of `given` behind their own; zipped values count by position."""
    zipped = shape.zipped()
    found: dict[str, tuple[Any, ...]] = {}
    for name in {**axes, **given}:
        values = (*axes.get(name, ()), *given.get(name, ()))
        found[name] = values if name in zipped else tuple(dict.fromkeys(values))
    return found
