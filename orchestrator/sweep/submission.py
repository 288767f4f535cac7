"""What `hlbq submit` and `orchestrator.submit` share: from a request to the sweep that the store takes."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hlbgpt_core.text.sources import absolute_dataset, check_dataset, check_text_length
from orchestrator.errors import PlanError, UsageError
from orchestrator.queue.labels import checked_name, checked_note
from orchestrator.queue.sweeps import NewSweep
from orchestrator.sweep.baseline import baseline_texts, check_baseline, parse_baseline, search_start
from orchestrator.sweep.definition import definition_of
from orchestrator.sweep.options import axes_of
from orchestrator.sweep.plan import Plan, make_plan
from orchestrator.sweep.shapes import Axes
from orchestrator.sweep.sweep_options import SweepOptions

if TYPE_CHECKING:
    from orchestrator.sweep.existing_runs import Existing


@dataclass(frozen=True, kw_only=True)
class PreparedSweep:
    """A sweep that was checked and is not stored yet, with warnings for people."""

    plan: Plan
    sweep: NewSweep
    existing: "Existing"
    warnings: Sequence[str]
    note: str

    @property
    def has_work(self) -> bool:
        """Whether there is anything to store: runs, or a policy that may add some."""
        return self.plan.total_runs > 0 or self.sweep.policy is not None


def prepare_sweep(
    settings: Mapping[str, Sequence[Any]],
    options: SweepOptions,
    *,
    db: str | None,
    argv: Sequence[str],
    find_existing: "Callable[[Plan], Existing]",
) -> PreparedSweep:
    """All steps before a sweep is stored in `db`: expand, check, find existing runs, describe. Writes nothing.

    `settings` are the values of each setting, as text or typed; `argv` is kept in the sweep's record. `find_existing`
    looks up the plan's runs; with skip_existing those are left out. A search's plan is its baseline.

    Raises SettingsError or PlanError for invalid settings and shapes, DataError for a dataset that training could not
    use, DatabaseError for an invalid location, and UsageError for an unusable text or CSV path, or for
    a baseline that no arm has.
    """
    shape = options.shape()
    axes = given_axes(settings, repeated=shape.zipped())
    baseline = parse_baseline(options.baseline)
    planned = axes if options.trials is None else _search_start(axes, options, baseline)
    try:
        plan = make_plan(planned, shape=shape, num_runs=options.first_runs, first_seed=options.seed)
    except PlanError as error:
        if options.trials is None:
            raise
        raise PlanError(f"the baseline, with which the search begins: {error.message}", error.hint) from None
    check_baseline(baseline, plan)
    note = check_place(plan, axes, db)
    existing = find_existing(plan)
    if options.takes_existing:
        plan = plan.without(existing.runs)
    options.check_texts()
    given = options.given()
    if "dataset" in baseline:  # whose path is read in other folders too
        given = {**given, "baseline": baseline_texts(baseline)}
    sweep = NewSweep(
        name=checked_name(options.name),
        note=checked_note(options.note),
        argv=argv,
        arms=plan.new_arms(),
        runs=plan.new_runs(),
        members=sorted(existing.runs.values()) if options.takes_existing else (),
        priority=options.priority,
        bookkeeping=options.bookkeeping(),
        csv=options.csv_target(),
        wandb_project=options.project(),
        definition=definition_of(plan, axes, given),
    )
    warnings = [*plan.warnings, *options.warnings()]
    return PreparedSweep(plan=plan, sweep=sweep, existing=existing, warnings=warnings, note=note)


def _search_start(axes: Axes, options: SweepOptions, baseline: Mapping[str, Any]) -> Axes:
    """The values with which a search begins; all its other arms come later."""
    for name in ("random", "one_at_a_time", "decide", "best_arm"):
        if getattr(options, name):
            raise UsageError(f"--{name} was given with --trials", "A search chooses its arms: leave one of them out.")
    return search_start(axes, options.shape(), baseline)


def given_axes(settings: Mapping[str, Sequence[Any]], *, repeated: Collection[str] = ()) -> Axes:
    """The typed values of every setting, each once except for settings in `repeated`. Paths of `text:` become absolute,
    so workers in other folders find them. Raises SettingsError, PlanError or DataError for an invalid value."""
    axes = axes_of(settings, repeated=repeated)
    if "dataset" not in axes:
        return axes
    names = [absolute_dataset(name) for name in axes["dataset"]]
    return {**axes, "dataset": tuple(names if "dataset" in repeated else dict.fromkeys(names))}


def check_datasets(axes: Axes, *, missing_path_is_fine: bool) -> None:
    """Raise the DataError that training on one of the datasets would raise, as far as this host can tell."""
    for dataset in dict.fromkeys(axes.get("dataset", ())):
        check_dataset(dataset, missing_path_is_fine=missing_path_is_fine)


def check_place(plan: Plan, axes: Axes, db: str | None) -> str:
    """Check what depends on where the workers are: with SQLite they are on this host, and need the data here.

    Returns a note for the user, or "". Raises DataError for a dataset that training could not use, DatabaseError for an
    invalid database location.
    """
    from orchestrator.store.opening.location import parse_location

    elsewhere = parse_location(db).dialect != "sqlite"
    check_datasets(axes, missing_path_is_fine=elsewhere)
    # Of each dataset and length once: whether a text on this host is too short for it.
    needs = {
        (one.dataset, one.max_sequence_length, one.eval_sequence_length, bool(one.test_tokens)): one
        for one in (arm.settings for arm in plan.arms)
    }
    for _, settings in sorted(needs.items(), key=lambda item: item[0]):
        check_text_length(settings)
    if elsewhere and any(name.startswith("text:") for name in axes.get("dataset", ())):
        return "workers will search for the text: path on their own hosts"
    return ""
