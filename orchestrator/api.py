"""`orchestrator.submit`: what `hlbq submit` does, as a call from Python."""

import inspect
import sys
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from orchestrator.errors import PlanError
from orchestrator.notify.commands import submit_with_command
from orchestrator.queue.records import Bookkeeping, NewSweep, SweepRecord
from orchestrator.queue.states import Limits
from orchestrator.store import OpenMode, Store, open_store
from orchestrator.sweep.existing_runs import find_existing
from orchestrator.sweep.options import axes_of
from orchestrator.sweep.plan import Plan, make_plan
from orchestrator.sweep.shapes import Axes, Shape
from orchestrator.sweep.submission import check_place, definition_of, with_absolute_paths
from orchestrator.wording.numbers import counted
from orchestrator.wording.secrets import without_credentials


def submit(
    settings: Mapping[str, Any],
    *,
    num_runs: int = 1,
    seed: int = 100,
    db: str | None = None,
    name: str = "",
    note: str = "",
    priority: int = 0,
    zip: Sequence[Sequence[str]] = (),
    where: Sequence[str] = (),
    one_at_a_time: bool = False,
    random: int | None = None,
    random_seed: int = 0,
    skip_existing: bool = False,
    checkpoint_every: float = 60.0,
    keep_checkpoints: bool = False,
    stall_timeout: float = 600.0,
    max_attempts: int = 2,
    notify: str | None = None,
) -> SweepRecord:
    """Expand settings and seeds into runs, queue them, and return the sweep as stored.

    `settings` gives each setting one value or a list of values; several make an axis. A text such as "1e-4..1e-1" is
    a range to draw from. The other arguments are the options of `hlbq submit`, of the same names and meaning;
    `checkpoint_every` and `stall_timeout` are seconds. `db` is a path or a URL (None: $HLBQ_DB, else hlbq.db here).

        from orchestrator import submit

        sweep = submit({"depth": [4, 8], "width": [192, 384]}, zip=[("depth", "width")], num_runs=3)
        print(sweep.id, sweep.counts)

    Combinations that can't be trained are left out with a warning that names the reasons. Raises SettingsError,
    PlanError, DataError or DatabaseError (all of them HlbqError); PlanError too where nothing is left to submit.
    """
    shape = Shape(
        zips=tuple(tuple(names) for names in zip),
        where=(where,) if isinstance(where, str) else tuple(where),
        one_at_a_time=one_at_a_time,
        random_draws=random,
        random_seed=random_seed,
    )
    axes = _axes(settings, shape)
    plan = make_plan(axes, shape=shape, num_runs=num_runs, first_seed=seed)
    check_place(plan, axes, db)
    _warn_of(plan)
    options: dict[str, Any] = {
        "priority": priority,
        "checkpoint_every": checkpoint_every,
        "keep_checkpoints": keep_checkpoints,
    }
    options |= {"stall_timeout": stall_timeout, "max_attempts": max_attempts}
    options |= {"name": name, "note": note, "skip_existing": skip_existing}
    bookkeeping = Bookkeeping(
        checkpoint_every_seconds=checkpoint_every,
        keep_checkpoints=keep_checkpoints,
        stall_timeout_seconds=stall_timeout,
        limits=Limits(max_attempts=max_attempts),
    )
    with open_store(db, mode=OpenMode.CREATE) as store:
        plan = _without_existing(plan, store) if skip_existing else plan
        new = NewSweep(
            name=name,
            note=note,
            argv=without_credentials(["orchestrator.submit", *sys.argv]),
            arms=plan.new_arms(),
            runs=plan.new_runs(),
            priority=priority,
            bookkeeping=bookkeeping,
            definition=definition_of(plan, axes, _not_at_default(options)),
        )
        return store.submit(new) if notify is None else submit_with_command(store, new, notify)


def _axes(settings: Mapping[str, Any], shape: Shape) -> Axes:
    listed = {name: _values(values) for name, values in settings.items()}
    return with_absolute_paths(axes_of(listed, repeated=shape.zipped()), repeated=shape.zipped())


def _values(values: Any) -> list[Any]:
    return [values] if isinstance(values, str) or not isinstance(values, Iterable) else list(values)


def _warn_of(plan: Plan) -> None:
    left_out = [f"{counted(count, 'combination')} left out: {reason}" for reason, count in plan.reasons().items()]
    for line in (*plan.warnings, *left_out):
        warnings.warn(line, stacklevel=3)


def _without_existing(plan: Plan, store: Store) -> Plan:
    left = plan.without(find_existing(plan, store).runs)
    if not left.total_runs:
        raise PlanError("nothing to submit: every run exists", "Leave out skip_existing to make them again.")
    return left


def _not_at_default(options: Mapping[str, Any]) -> Mapping[str, Any]:
    parameters = inspect.signature(submit).parameters
    return {name: value for name, value in options.items() if value != parameters[name].default}
