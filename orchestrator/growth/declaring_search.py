"""From what was typed to a declared search, with everything checked that can be before anything is trained."""

from collections.abc import Mapping
from dataclasses import asdict, replace
from importlib.util import find_spec
from typing import Any

from hlbgpt_core.points import Split
from hlbgpt_core.settings import Settings
from orchestrator.comparison.measures import goal_of
from orchestrator.comparison.policy import DecidePolicy
from orchestrator.errors import UsageError
from orchestrator.export.metric_names import Metric
from orchestrator.growth.checks import check_cap, check_looks, checked_metric, futility_of
from orchestrator.growth.search import NEVER, SAMPLERS, STOPPERS, SearchPolicy
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
    _check_early_stopping(options, metric, prepared.plan.arms[0].settings)
    confirmation: dict[str, Any] = {"max_seeds": options.max_seeds, "first_look": options.first_look}
    confirmation |= {"margin": options.margin, "futility": futility_of(options.futility)}
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
        stop_early=options.stop_early,
        reduction=options.reduction,
        first_rung=options.first_rung,
    )
    stops = f", all but the best 1 in {policy.reduction} stopped at each rung" if policy.stops_early else ""
    then = f", then confirms {counted(policy.confirm, 'arm')} on seeds of their own" if policy.confirm else ""
    told = f"a search: up to {counted(policy.trials, 'arm')} by {policy.metric}, the baseline first{stops}{then}"
    sweep = replace(prepared.sweep, policy=NewPolicy(kind=SEARCH, definition=asdict(policy)))
    return replace(prepared, sweep=sweep, note="; ".join(filter(None, (prepared.note, told))))


def _check_early_stopping(options: SweepOptions, metric: Metric, settings: Settings) -> None:
    """Raise UsageError for early stopping by nothing, of nothing, or before anything is known."""
    if options.stop_early not in STOPPERS:
        raise UsageError(f"--stop_early {options.stop_early}: there is no such rule", f"Use {' or '.join(STOPPERS)}.")
    if not 0 < options.first_rung < 1:
        hint = "Use a number between 0 and 1, such as 0.5."
        raise UsageError(f"--first_rung {options.first_rung:g}: no share of a run", hint)
    if options.stop_early == NEVER:
        return
    if options.num_runs > 1:
        seeds = f"--stop_early was given with --num_runs {options.num_runs}: it is for arms of one seed"
        raise UsageError(seeds, "Leave --num_runs out; --confirm 3 gives the best arms more seeds.")
    if metric.split is not Split.VAL:
        raise UsageError(f"--stop_early: {metric.name} is not of the evaluations in a run", "Use --metric val_loss.")
    steps, epochs = options.first_rung * settings.max_steps, options.first_rung * settings.max_epochs
    if settings.eval_every > steps and settings.max_epochs_between_evals >= epochs:
        late = f"no evaluation before the first rung, which is at step {steps:g} of {settings.max_steps:,}"
        raise UsageError(f"--stop_early: {late}", f"Use --eval_every {max(1, int(steps))}, or a later --first_rung.")


def _first(definition: Mapping[str, Any], options: SweepOptions) -> Mapping[str, Any]:
    """The choices that are the baseline."""
    start = search_start(stored_axes(definition), stored_shape(definition), parse_baseline(options.baseline))
    found: dict[str, Any] = {}
    for track in Space.of(definition).tracks:
        values = tuple(start[name][0] for name in track.names)
        if track.count() > 1:
            found[parameter(track)] = values[0] if track.range else track.choices.index(values)
    return found
