"""From what was typed to a declared search, with everything checked that can be before anything is trained."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.util import find_spec
from typing import Any

from orchestrator.comparison.measures import goal_of
from orchestrator.comparison.policy import DecidePolicy
from orchestrator.errors import UsageError
from orchestrator.growth.checks import check_cap, check_looks, checked_metric, futility_of
from orchestrator.growth.search import SAMPLERS, SearchPolicy
from orchestrator.growth.search_space import Space, parameter
from orchestrator.queue.records import SEARCH, NewPolicy
from orchestrator.sweep.baseline import parse_baseline, search_start
from orchestrator.sweep.definition import stored_axes, stored_shape
from orchestrator.sweep.submission import PreparedSweep
from orchestrator.sweep.sweep_options import SweepOptions
from orchestrator.wording.numbers import counted


def with_search(prepared: PreparedSweep, options: SweepOptions) -> PreparedSweep:
    """The prepared sweep, of which the baseline is planned, with the search that its options declare.

    Raises UsageError for options that contradict each other, a metric of which nobody knows which way is better, and
    where Optuna is missing.
    """
    if options.sampler not in SAMPLERS:
        raise UsageError(f"--sampler {options.sampler}: there is no such sampler", f"Use {' or '.join(SAMPLERS)}.")
    if find_spec("optuna") is None:
        raise UsageError("a search needs optuna, which is not installed", "pip install 'hlbq[search]'")
    metric = checked_metric(options.metric, {arm.key: arm.settings.to_dict() for arm in prepared.plan.arms})
    goal = goal_of(metric)
    if goal is None:
        raise UsageError(f"--trials: is higher or lower better for '{metric.name}'?", "Use --metric val_loss.")
    check_looks(options, metric)
    confirmation: dict[str, Any] = {
        "max_seeds": options.max_seeds,
        "first_look": options.first_look,
        "margin": options.margin,
        "futility": futility_of(options.futility),
    }
    if options.confirm:
        arms = [str(number) for number in range(options.confirm)]
        check_cap(DecidePolicy(metric=metric.name, goal=goal, arms=arms, baselines=arms, **confirmation))
    definition = prepared.sweep.definition
    policy = SearchPolicy(
        metric=metric.name,
        goal=goal,
        trials=options.trials or 0,
        sampler=options.sampler,
        seed=options.search_seed,
        num_runs=options.num_runs,
        first=_first(definition, options),
        confirm=options.confirm,
        confirmation=confirmation,
    )
    then = f", then confirms {counted(policy.confirm, 'arm')} on seeds of their own" if policy.confirm else ""
    told = f"a search: up to {counted(policy.trials, 'arm')} by {policy.metric}, the baseline first{then}"
    sweep = replace(prepared.sweep, policy=NewPolicy(kind=SEARCH, definition=asdict(policy)))
    return replace(prepared, sweep=sweep, note="; ".join(filter(None, (prepared.note, told))))


def _first(definition: Mapping[str, Any], options: SweepOptions) -> Mapping[str, Any]:
    """The choices that are the baseline."""
    start = search_start(stored_axes(definition), stored_shape(definition), parse_baseline(options.baseline))
    found: dict[str, Any] = {}
    for track in Space.of(definition).tracks:
        values = tuple(start[name][0] for name in track.names)
        if track.count() > 1:
            found[parameter(track)] = values[0] if track.range else track.choices.index(values)
    return found
