"""`orchestrator.submit`, `extend` and `wait`: what these commands do, as calls from Python."""

import inspect
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ParamSpec, TypeVar, cast

from hlbgpt_core.settings import specs
from orchestrator.errors import PlanError, UsageError
from orchestrator.growth.by_hand import addition_to, other_code
from orchestrator.notify.commands import submit_with_command
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import State
from orchestrator.queue.sweeps import SweepRecord
from orchestrator.status.waiting import wait_until_ended
from orchestrator.store import OpenMode, open_store
from orchestrator.store.known import known_sweep
from orchestrator.sweep.baseline import baseline_texts
from orchestrator.sweep.chosen_runs import python_filter, readable_runs, sweep_number
from orchestrator.sweep.existing_runs import Existing, find_existing
from orchestrator.sweep.option_spec import OptionSpec, plain, several_of, shown, typed_as, underscored
from orchestrator.sweep.plan import Plan
from orchestrator.sweep.submission import prepare_sweep
from orchestrator.sweep.sweep_file import SweepFile, preset_path, read_sweep_file
from orchestrator.sweep.sweep_options import SweepOptions, no_setting
from orchestrator.wording.numbers import counted
from orchestrator.wording.secrets import without_credentials

P = ParamSpec("P")
R = TypeVar("R")
_EVERY = OptionSpec(name="every", type=float, default=2.0, help="", minimum=0.0, maximum=86_400.0)


@dataclass(frozen=True, kw_only=True)
class SubmitArguments(SweepOptions):
    """The arguments of `submit`: settings, every option of a sweep, and where it goes."""

    settings: Mapping[str, Any] = field(kw_only=False)
    db: str | None = None
    preset: str | None = None
    notify: str | None = None


def with_arguments_of(arguments: Callable[P, Any]) -> Callable[[Callable[..., R]], Callable[P, R]]:
    """Make type checkers, editors and help() show a function with the arguments of another. The function itself still
    sees which arguments were given."""

    def shown(function: Callable[..., R]) -> Callable[P, R]:
        returned = inspect.signature(function).return_annotation
        function.__signature__ = inspect.signature(arguments).replace(return_annotation=returned)  # type: ignore[attr-defined]
        return cast("Callable[P, R]", function)

    return shown


@with_arguments_of(SubmitArguments)
def submit(
    settings: Mapping[str, Any],
    *,
    db: str | None = None,
    preset: str | None = None,
    notify: str | None = None,
    **options: Any,
) -> SweepRecord:
    """Expand settings and seeds into runs, queue them, and return the sweep as stored.

    `settings` gives each setting one value or a list of values; several make an axis. A text such as "1e-4..1e-1" is
    a range to draw from. The other arguments are the options of `hlbq submit`, with the same names and meaning.
    `checkpoint_every` and `stall_timeout` are in seconds, and `baseline` may map names to values. `db` is a path or a
    URL (None: $HLBQ_DB, else hlbq.db here). The arguments replace those of a `preset`; None counts as not given.

        from orchestrator import submit

        sweep = submit({"depth": [4, 8], "width": [192, 384]}, zip=[("depth", "width")], num_runs=3)
        print(sweep.id, sweep.counts)

    Combinations that cannot be trained are left out, with a warning that names the reasons. An option without effect
    gives a warning too. Raises UsageError (an unknown or invalid option), SettingsError, PlanError (also if nothing is
    left to submit), DataError or DatabaseError; all are HlbqErrors.
    """
    preset, notify = (typed_as(str, name, value) for name, value in (("preset", preset), ("notify", notify)))
    file = read_sweep_file(str(preset_path(preset))) if preset is not None else SweepFile()
    options = {name: value for name, value in options.items() if value is not None}
    baseline = options.get("baseline")
    if isinstance(baseline, Mapping):
        options["baseline"] = baseline_texts(baseline)
    chosen = SweepOptions.of({**file.options, **options})
    prepared = prepare_sweep(
        {**file.settings, **_listed(settings)},
        chosen,
        db=db,
        argv=without_credentials(["orchestrator.submit", *sys.argv]),
        find_existing=lambda plan: _existing(plan, db) if chosen.takes_existing else Existing(),
    )
    if chosen.grows:
        from orchestrator.growth.declaring import with_policy

        prepared = with_policy(prepared, chosen)
    for warning in (*prepared.warnings, *_left_out(prepared.plan)):
        warnings.warn(warning, stacklevel=2)
    if not prepared.has_work:
        raise PlanError("nothing to submit: every run exists already", "Leave out skip_existing to run them again.")
    with open_store(db, mode=OpenMode.CREATE) as store:
        if notify is None:
            return store.submit(prepared.sweep)
        return submit_with_command(store, prepared.sweep, notify)


def extend(
    sweep: int,
    settings: Mapping[str, Any] | None = None,
    *,
    num_runs: int | None = None,
    undecided: bool = False,
    db: str | None = None,
) -> SweepRecord:
    """Add seeds up to `num_runs`, or more values of `settings`, to a sweep as `hlbq extend` does; returns the sweep.

    With `undecided` only the arms without a verdict get more seeds, and their baselines.

        orchestrator.extend(3, num_runs=10)
        orchestrator.extend(3, {"depth": 32})

    Raises NotThereError without the sweep, UsageError where nothing is added, SettingsError, PlanError or DataError.
    """
    given, sweep, num_runs = _listed(settings or {}), sweep_number(plain(sweep)), typed_as(int, "num_runs", num_runs)
    with open_store(db, mode=OpenMode.WRITE) as store:
        found = known_sweep(store, sweep)
        addition = addition_to(store, found, given, num_runs, undecided=undecided)
        for warning in (*addition.plan.warnings, *_left_out(addition.plan), *other_code(store, found)):
            warnings.warn(warning, stacklevel=2)
        addition.apply(store, sweep)
        return known_sweep(store, sweep)


def wait(
    *,
    db: str | None = None,
    sweep: int | Iterable[int] | None = None,
    where: Mapping[str, Any] | None = None,
    runs: RunFilter | None = None,
    all: bool = False,
    every: float = 2.0,
    progress: Callable[[str], None] = lambda text: None,
) -> Mapping[State, int]:
    """Wait until the runs (by default of the latest sweep) have ended; returns the number of runs in each state.

    It asks the database every `every` seconds. It does not wait for runs that are held for other code. It calls
    `progress` when the counts change, and when no worker is running: `progress=print` shows this.
    """
    seconds = _EVERY.typed(every)
    _EVERY.check_range(seconds)
    with open_store(db, mode=OpenMode.READ) as store:
        chosen = readable_runs(store, python_filter(sweep, where, runs, everything=all))
        own = replace(chosen, with_members=False)
        return wait_until_ended(store, own, sleep=lambda: time.sleep(seconds), progress=progress)


def _left_out(plan: Plan) -> list[str]:
    return [f"{counted(count, 'combination')} left out: {reason}" for reason, count in plan.reasons().items()]


def _listed(settings: Mapping[str, Any]) -> Mapping[str, list[Any]]:
    """The values of each setting. Raises UsageError for no mapping, an option and an empty list; SettingsError for an
    unknown name."""
    if not isinstance(settings, Mapping):
        raise UsageError(f"settings: '{shown(settings)}' is not a mapping", "For instance: {'depth': [4, 8]}")
    found = {name: several_of(values) for name, values in underscored(settings, "settings").items()}
    for name, values in found.items():
        if name not in specs():
            raise no_setting(name, place_of_options=f"Give it beside the settings: {name}=...")
        if not values:
            raise UsageError(f"{name} is an empty list", "Give a value, or leave it out.")
    return found


def _existing(plan: Plan, db: str | None) -> Existing:
    with open_store(db, mode=OpenMode.CREATE) as store:
        return find_existing(plan, store)
