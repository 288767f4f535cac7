"""What a person adds to a sweep: more seeds, or more values of its settings."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from hlbgpt_core.code_digest import core_digest
from hlbgpt_core.scale import sizes
from hlbgpt_core.settings import Settings
from orchestrator.errors import UsageError
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.sweeps import DECIDE, SweepRecord
from orchestrator.store import Store
from orchestrator.sweep.baseline import base_arm_of
from orchestrator.sweep.definition import is_search, stored_axes, stored_shape, stored_value
from orchestrator.sweep.options import value_text
from orchestrator.sweep.plan import Plan, PlannedArm, check_seeds, check_total, make_plan
from orchestrator.sweep.shapes import Axes, Range
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
        raise UsageError("--undecided only adds seeds to existing arms", f"For instance: {example}")
    if not settings and num_runs is None:
        raise UsageError("nothing to add", f"For instance: hlbq extend {sweep.id} --num_runs 10")
    given = given_axes(settings, repeated=stored_shape(sweep.definition).zipped())
    check_datasets(given, missing_path_is_fine=store.location.dialect != "sqlite")
    present = stored_arms(store, sweep, undecided_arms(store, sweep.id) if undecided else None)
    axes = extended_axes(sweep, present, given)
    plan = extended_plan(sweep, present, axes if given else {}, num_runs)
    definition = None if undecided else extended_definition(sweep, axes, plan)
    return Addition(plan=plan, new_arms=len(plan.arms) - len(present.arms), definition=definition)


def other_code(store: Store, sweep: SweepRecord) -> list[str]:
    """A warning if the sweep's runs were computed by other code than the code here."""
    from orchestrator.comparison.reporting.cautions import difference_text

    here, same = core_digest(), store.same_code()
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
        policy = store.policy(sweep)
        if policy is not None and policy.kind == DECIDE and policy.ended_at is None:
            raise UsageError(f"sweep {sweep}: its policy adds the seeds that it needs", "Train them: hlbq worker")
        why = "none of its arms is undecided" if found.has_verdicts else "none of its arms has a baseline"
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


def extended_axes(sweep: SweepRecord, present: Plan, given: Axes) -> Axes:
    """The sweep's axes with the values of `given` behind their own; zipped values count by position. A setting that was
    no axis yet begins with the value that the arms have. Raises UsageError where that is not one, and for a range."""
    shape, axes = stored_shape(sweep.definition), dict(stored_axes(sweep.definition))
    if not given:
        return axes
    if is_search(sweep.definition):
        hint = "Start another search, or add seeds with --num_runs."
        raise UsageError(f"the arms of sweep {sweep.id} are chosen by a search", hint)
    if shape.random_draws is not None:
        drawn = f"the arms of sweep {sweep.id} were drawn at random, and more values would change every draw"
        raise UsageError(drawn, "Submit another sweep, or add seeds with --num_runs.")
    for name, (first, *_) in given.items():
        if isinstance(first, Range):
            listed = f"{name}: {first} is a range, and the arms of sweep {sweep.id} are of listed values"
            ends = f"{value_text(first.low)} {value_text(first.high)}"
            raise UsageError(listed, f"List values: hlbq extend {sweep.id} --{name} {ends}")
    if given.keys() & {"depth", "width"} and "depth" not in axes:
        axes.pop("model_scale", None)  # the one size that it gave stands as depth and width now
        given = {"depth": (), "width": (), **given}
    for name in given:
        if name not in axes:
            axes[name] = (_shared_value(sweep, present, name),)
    zipped = shape.zipped()
    for name, more in given.items():
        values = (*axes[name], *more)
        axes[name] = values if name in zipped else tuple(dict.fromkeys(values))
    return axes


def _shared_value(sweep: SweepRecord, present: Plan, name: str) -> Any:
    """The value of a setting in all arms that are there. Raises UsageError where they differ: then no grid describes
    these arms and those with another value."""
    found = list(dict.fromkeys(getattr(arm.settings, name) for arm in present.arms))
    if len(found) > 1:
        raise UsageError(
            f"{name} follows from other settings in sweep {sweep.id}: {', '.join(map(value_text, found))}",
            f"Submit another sweep; `hlbq compare --sweep {sweep.id} N` reads both.",
        )
    return found[0]


def extended_plan(sweep: SweepRecord, present: Plan, axes: Axes, num_runs: int | None) -> Plan:
    """The sweep's arms and those of `axes` (empty: no others), all with the same seeds. Raises UsageError if the sweep
    has more than `num_runs` already."""
    seeds = present.num_runs if num_runs is None else num_runs
    if seeds < present.num_runs:
        fewer = f"sweep {sweep.id} has {present.num_runs} runs per arm, and --num_runs {seeds} is fewer"
        raise UsageError(fewer, f"To stop runs: hlbq cancel --sweep {sweep.id}")
    check_seeds(seeds, present.first_seed)
    plan = replace(present, num_runs=seeds)
    if axes:
        more = make_plan(axes, shape=stored_shape(sweep.definition), num_runs=seeds, first_seed=present.first_seed)
        plan = replace(more, arms=tuple({arm.key: arm for arm in (*present.arms, *more.arms)}.values()))
    check_total(len(plan.arms) * seeds)
    return plan


def extended_definition(sweep: SweepRecord, axes: Axes, plan: Plan) -> Mapping[str, Any]:
    """The sweep's definition, changed to describe the extended sweep of these axes."""
    options = sweep.definition.get("options", {})
    # A sweep that grows by itself began with so many, and would begin with so many again.
    begins_with = {} if options.get("decide") or options.get("trials") else {"num_runs": plan.num_runs}
    return {
        **sweep.definition,
        "base_arm": base_arm_of(sweep.definition),
        "axes": {name: [stored_value(value) for value in values] for name, values in axes.items()},
        **begins_with,
    }
