"""What a person adds to a sweep: more seeds, or more values of its settings."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hlbgpt_core.scale import sizes
from hlbgpt_core.settings import Settings
from orchestrator.errors import UsageError
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.sweeps import SweepRecord
from orchestrator.store import Store
from orchestrator.sweep.baseline import base_arm_of
from orchestrator.sweep.definition import is_search, stored_axes, stored_shape, stored_value
from orchestrator.sweep.plan import Plan, PlannedArm, check_seeds, joined, make_plan
from orchestrator.sweep.shapes import Axes, Shape
from orchestrator.sweep.submission import check_datasets, given_axes


@dataclass(frozen=True, kw_only=True)
class Addition:
    """The whole sweep as it is to be, how many of its arms are new, and its definition if that changes."""

    plan: Plan
    new_arms: int
    definition: Mapping[str, Any] | None

    def apply(self, store: Store, sweep: int) -> int:
        """Add what is missing; returns how many runs that is."""
        return store.extend(sweep, arms=self.plan.new_arms(), runs=self.plan.new_runs(), definition=self.definition)


def addition_to(
    store: Store,
    sweep: SweepRecord,
    settings: Mapping[str, Sequence[Any]],
    num_runs: int | None,
    *,
    undecided: bool = False,
) -> Addition:
    """What more values of settings, and seeds up to `num_runs`, add to a sweep; with `undecided`, seeds only for arms
    without a verdict.

    Raises UsageError where that adds nothing or is not possible, SettingsError, PlanError or DataError for a value.
    """
    if undecided and (settings or num_runs is None):
        example = f"hlbq extend {sweep.id} --undecided --num_runs 10"
        raise UsageError("--undecided adds seeds, to arms that are there", example)
    if not settings and num_runs is None:
        raise UsageError("nothing to add", f"For instance: hlbq extend {sweep.id} --num_runs 10")
    given = given_axes(settings, repeated=stored_shape(sweep.definition).zipped())
    check_datasets(given, missing_path_is_fine=store.location.dialect != "sqlite")
    present = stored_arms(store, sweep, undecided_arms(store, sweep.id) if undecided else None)
    plan = extended_plan(sweep, present, given, num_runs)
    definition = None if undecided else extended_definition(sweep, given, plan)
    return Addition(plan=plan, new_arms=len(plan.arms) - len(present.arms), definition=definition)


def other_code(store: Store, sweep: SweepRecord) -> list[str]:
    """A warning if the sweep's runs were computed by other code than the code here."""
    from orchestrator.code.names import HERE, find_digest
    from orchestrator.comparison.reporting.cautions import difference_text

    here, same = find_digest(store, HERE), store.same_code()
    newest = store.newest_code(sweep.id)
    if not newest or same.equal(newest, here):
        return []
    other = f"the runs of sweep {sweep.id} were computed by other code than the code here"
    return [f"{other}; the new runs differ: {difference_text(store, newest, here)}"]


def undecided_arms(store: Store, sweep: int) -> Collection[str]:
    """The keys of the arms that `hlbq compare --sweep N` has no verdict on yet, and of their baselines. Raises
    UsageError where there is none."""
    from orchestrator.comparison.questions import Question
    from orchestrator.comparison.results import compare

    found = compare(store, RunFilter(sweep_ids=(sweep,), with_members=True), Question())
    if not found.undecided_arms:
        why = "no arm of it is undecided" if found.has_verdicts else "nothing of it is held against a baseline"
        raise UsageError(f"sweep {sweep}: {why}", f"See: hlbq compare --sweep {sweep}")
    return found.undecided_arms


def stored_arms(store: Store, sweep: SweepRecord, keys: Collection[str] | None = None) -> Plan:
    """The sweep's arms (those of `keys`, None: all), its members' among them, each with all seeds that one has."""
    there = [(key, seed) for key, seed in store.runs_by_seed(sweep.id) if keys is None or key in keys]
    own = {key for key, _ in there}
    first = sweep.definition.get("seed", min((seed for _, seed in there), default=0))
    last = max((seed for _, seed in there), default=first)
    stored = {arm.key: Settings.from_dict(arm.settings) for arm in store.arms(sweep.id) if arm.key in own}
    arms = [PlannedArm(settings=settings, sizes=sizes(settings), key=key) for key, settings in stored.items()]
    return Plan(arms=tuple(arms), first_seed=first, num_runs=max(1, last - first + 1))


def extended_plan(sweep: SweepRecord, present: Plan, given: Axes, num_runs: int | None) -> Plan:
    """The sweep's arms and those of its axes with the given values added, all with the same seeds. Raises UsageError if
    the sweep has more than `num_runs` already."""
    seeds = present.num_runs if num_runs is None else num_runs
    if seeds < present.num_runs:
        fewer = f"sweep {sweep.id} has {present.num_runs} runs per arm, and --num_runs {seeds} is fewer"
        raise UsageError(fewer, f"To stop runs: hlbq cancel --sweep {sweep.id}")
    if not given:
        check_seeds(seeds, present.first_seed)
        return replace(present, num_runs=seeds)
    if is_search(sweep.definition):
        hint = "Start another search, or add seeds with --num_runs."
        raise UsageError(f"the arms of sweep {sweep.id} are chosen by a search", hint)
    shape = stored_shape(sweep.definition)
    if shape.random_draws is not None:
        drawn = f"the arms of sweep {sweep.id} were drawn at random, and more values would change every draw"
        raise UsageError(drawn, "Submit another sweep, or add seeds with --num_runs.")
    axes = _added(stored_axes(sweep.definition), given, shape)
    return joined([present, make_plan(axes, shape=shape, num_runs=seeds, first_seed=present.first_seed)])


def extended_definition(sweep: SweepRecord, given: Axes, plan: Plan) -> Mapping[str, Any]:
    """The sweep's definition, changed to describe the extended sweep."""
    axes = _added(stored_axes(sweep.definition), given, stored_shape(sweep.definition))
    options = sweep.definition.get("options", {})
    # A sweep that grows by itself began with so many, and would begin with so many again.
    begins_with = {} if options.get("decide") or options.get("trials") else {"num_runs": plan.num_runs}
    return {
        **sweep.definition,
        "base_arm": base_arm_of(sweep.definition),
        "axes": {name: [stored_value(value) for value in values] for name, values in axes.items()},
        **begins_with,
    }


def _added(axes: Axes, given: Axes, shape: Shape) -> Axes:
    """The axes with the values of `given` behind their own; zipped values count by position."""
    zipped = shape.zipped()
    found: dict[str, tuple[Any, ...]] = {}
    for name in {**axes, **given}:
        values = (*axes.get(name, ()), *given.get(name, ()))
        found[name] = values if name in zipped else tuple(dict.fromkeys(values))
    return found
