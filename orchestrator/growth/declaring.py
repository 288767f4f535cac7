"""From what was typed to a declared policy, with everything checked that can be before anything is trained."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

from hlbgpt_core.points import Split
from hlbgpt_core.settings import Settings
from orchestrator.comparison.judging.bounds import VILLE
from orchestrator.comparison.judging.contrasts import check_margin
from orchestrator.comparison.judging.policy import DecidePolicy
from orchestrator.comparison.measuring.evaluations import unlike_settings
from orchestrator.comparison.measuring.measures import goal_of
from orchestrator.comparison.statistics import fewest_pairs
from orchestrator.errors import ExportError, UsageError
from orchestrator.export.metric_names import Metric, find_metric, parse_metric
from orchestrator.growth.search import NEVER, SAMPLERS, STOPPERS, SearchPolicy, check_optuna
from orchestrator.growth.search_space import Space, parameter
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import TERMINAL
from orchestrator.queue.sweeps import DECIDE, SEARCH, NewPolicy, SweepRecord
from orchestrator.store import Store
from orchestrator.sweep.arm_labels import arm_label, differing_settings
from orchestrator.sweep.baseline import baseline_of, baseline_text, parse_baseline, search_start, with_zipped
from orchestrator.sweep.definition import stored_axes, stored_shape
from orchestrator.sweep.options import value_text, with_defaults
from orchestrator.sweep.plan import check_seeds
from orchestrator.sweep.submission import PreparedSweep
from orchestrator.sweep.sweep_options import SweepOptions
from orchestrator.wording.numbers import counted

Arms = Mapping[str, Mapping[str, Any]]


def with_policy(prepared: PreparedSweep, options: SweepOptions) -> PreparedSweep:
    """The prepared sweep with the policy that its options declare, if they do. Raises as `_declared` does."""
    if options.trials is not None:
        return _with_search(prepared, options)
    if not options.decide:
        return prepared
    plan, definition = prepared.plan, prepared.sweep.definition
    if options.num_runs > options.max_seeds:
        more = f"--num_runs {options.num_runs} is more than --max_seeds {options.max_seeds}, the most that can count"
        raise UsageError(more, f"Use --num_runs {options.max_seeds}, or more --max_seeds.")
    arms = {arm.key: arm.settings.to_dict() for arm in plan.arms}
    check_seeds(options.max_seeds, plan.first_seed)
    baseline = with_zipped(baseline_of(definition), arms.values(), plan.shape.zips)
    policy, alone = _declared(options, arms, baseline, is_capped=not plan.skipped)
    sweep = replace(prepared.sweep, policy=NewPolicy(kind=DECIDE, definition=asdict(policy)))
    return replace(prepared, sweep=sweep, warnings=[*prepared.warnings, *_warnings(options, policy, arms, alone)])


def _declared(
    options: SweepOptions, arms: Arms, baseline: Mapping[str, Any], *, is_capped: bool, metric: Metric | None = None
) -> tuple[DecidePolicy, Sequence[str]]:
    """The policy of these arms (settings by key), and the keys of arms that have no counterpart with the baseline.

    `is_capped` says that none of their runs has a result yet; `metric` is one of users' own that the runs have.

    Raises UsageError for options that contradict each other, a sweep of one arm or without a baseline, and a metric
    that nobody knows, of which nobody knows which way is better, or of which the arms' numbers can't be compared.
    """
    metric = metric or _checked_metric(options.metric, arms)
    _check_looks(options, metric)
    _check_alike([with_defaults(arm) for arm in arms.values()], metric)
    if options.margin is not None and options.best_arm:
        raise UsageError("--margin has no effect with --best_arm", "Leave one of them out.")
    if len(arms) < 2:
        which = "--best_arm" if options.best_arm else "--decide"
        raise UsageError(f"{which}: the sweep has one arm", "Give a setting several values: --num_heads 1 2")
    given: dict[str, Any] = {"metric": metric.name, "goal": goal_of(metric)}
    given |= {"max_seeds": options.max_seeds, "first_look": options.first_look}
    if options.best_arm:
        if given["goal"] is None:
            raise UsageError(f"--best_arm: is higher or lower better for '{metric.name}'?", "Use --metric val_loss.")
        return DecidePolicy(arms=list(arms), futility=None, best_arm=True, is_capped=False, **given), ()
    pairs, alone = _with_counterparts(arms, baseline)
    given |= {"margin": options.margin, "futility": _futility_of(options.futility)}
    policy = DecidePolicy(arms=list(pairs), baselines=list(pairs.values()), is_capped=is_capped, **given)
    _check_cap(policy)
    return policy, alone


def declared_for_sweep(store: Store, sweep: SweepRecord, options: SweepOptions) -> tuple[NewPolicy, Sequence[str]]:
    """The policy of these options for a stored sweep, and warnings. Raises as `_declared` does."""
    wanted = RunFilter(sweep_ids=(sweep.id,), with_members=True)
    arms: dict[str, Mapping[str, Any]] = {}
    is_capped = True
    for run in store.runs(wanted):
        arms[run.arm_key] = run.settings
        is_capped &= run.state not in TERMINAL
    try:
        metric = find_metric(store, wanted, options.metric)
    except ExportError as error:
        raise UsageError(f"--metric {options.metric}: no run of sweep {sweep.id} has it", error.hint) from None
    check_seeds(options.max_seeds, int(sweep.definition["seed"]))
    _check_tested(metric, arms)
    named = parse_baseline(options.baseline)
    zips = stored_shape(sweep.definition).zips
    baseline = with_zipped(named or baseline_of(sweep.definition), arms.values(), zips)
    policy, alone = _declared(options, arms, baseline, is_capped=is_capped, metric=metric)
    definition = asdict(replace(policy, baseline=baseline if named else {}))
    return NewPolicy(kind=DECIDE, definition=definition), _warnings(options, policy, arms, alone)


def _warnings(options: SweepOptions, policy: DecidePolicy, arms: Arms, alone: Sequence[str]) -> list[str]:
    found = []
    if policy.best_arm:
        usual = SweepOptions()
        idle = [f"--{name}" for name in ("baseline", "futility") if getattr(options, name) != getattr(usual, name)]
        found += [f"{' and '.join(idle)}: no effect on the race of --best_arm"] if idle else []
    if alone:
        names = differing_settings(arms.values())
        which = "; ".join(arm_label(arms[key], names) for key in alone)
        found.append(f"without a counterpart among the baselines, and so left out of the verdicts: {which}")
    if not policy.is_capped and not policy.best_arm:
        found.append(f"some runs have results already: the verdicts need {VILLE.text}, which takes more seeds")
    return found


def _with_counterparts(arms: Arms, baseline: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Each arm that is no baseline with the key of its baseline, and the arms for which there is none."""
    if not baseline:
        hint = "Name one: --baseline NAME=VALUE. Or look for the best of all arms: --best_arm."
        raise UsageError("--decide: the sweep has no baseline", hint)
    # By what sets the arms apart: the true model_scale follows from other settings, and would never be the same.
    names = {*differing_settings(arms.values()), *baseline}

    def place(settings: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(settings.get(name) for name in names)

    keys = {place(settings): key for key, settings in arms.items()}
    others = {key: keys.get(place({**settings, **baseline})) for key, settings in arms.items()}
    pairs = {key: other for key, other in others.items() if other is not None and other != key}
    if not pairs:
        hint = "Name fewer settings in --baseline, or look for the best of all arms: --best_arm."
        raise UsageError(f"no arm has a counterpart with --baseline {baseline_text(baseline)}", hint)
    return pairs, [key for key, other in others.items() if other is None]


def _with_search(prepared: PreparedSweep, options: SweepOptions) -> PreparedSweep:
    """The prepared sweep, of which the baseline is planned, with the search that its options declare.

    Raises UsageError for options that contradict each other, a metric of which nobody knows which way is better or of
    which the arms' numbers can't be compared, and where Optuna is missing.
    """
    if options.sampler not in SAMPLERS:
        raise UsageError(f"--sampler {options.sampler}: there is no such sampler", f"Use {' or '.join(SAMPLERS)}.")
    check_optuna()
    others = (options.trials or 0) - 1  # than the baseline
    if options.confirm > others:
        more = f"--confirm {options.confirm}: a search of --trials {options.trials} tries {counted(others, 'arm')} more"
        raise UsageError(f"{more} than the baseline", f"Use --confirm {others}, or more --trials.")
    metric = _checked_metric(options.metric, {arm.key: arm.settings.to_dict() for arm in prepared.plan.arms})
    goal = goal_of(metric)
    if goal is None:
        raise UsageError(f"--trials: is higher or lower better for '{metric.name}'?", "Use --metric val_loss.")
    _check_looks(options, metric)
    _check_early_stopping(options, metric, prepared.plan.arms[0].settings)
    _check_alike(list(Space.of(prepared.sweep.definition).every_meaning()), metric)
    confirmation: dict[str, Any] = {"max_seeds": options.max_seeds, "first_look": options.first_look}
    confirmation |= {"margin": options.margin, "futility": _futility_of(options.futility)}
    if options.confirm:
        check_seeds(options.num_runs + options.max_seeds, options.seed)
        arms = [str(number) for number in range(options.confirm)]
        _check_cap(DecidePolicy(metric=metric.name, goal=goal, arms=arms, baselines=arms, **confirmation))
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
        raise UsageError(f"--first_rung {options.first_rung:g}: not a share of a run", hint)
    if options.stop_early == NEVER:
        return
    if options.num_runs > 1:
        seeds = f"--stop_early was given with --num_runs {options.num_runs}: it is for arms of one seed"
        raise UsageError(seeds, "Leave --num_runs out; --confirm 3 gives the best arms more seeds.")
    if metric.split is not Split.VAL:
        raise UsageError(f"--stop_early: evaluations in a run do not measure {metric.name}", "Use --metric val_loss.")
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


def _check_alike(arms: Sequence[Mapping[str, Any]], metric: Metric) -> None:
    """Raise UsageError where the arms' numbers mean different things: other tokens, data, or evaluations."""
    unlike = unlike_settings(arms, metric.name)
    if not unlike:
        return
    name, values = next(iter(unlike.items()))
    hints = {
        "tokenizer": "Use --metric val_bits_per_byte.",
        "max_sequence_length": f"Give all arms one evaluation: --eval_sequence_length {min(values)}",
    }
    differ = f"{metric.name} can't decide between arms that differ in {name}: {', '.join(map(value_text, values))}"
    raise UsageError(differ, hints.get(name, f"Use one --{name}."))


def _futility_of(text: str) -> float | None:
    """`0.10` as a number, `off` as None. Raises UsageError for anything else."""
    if text == "off":
        return None
    try:
        chance = float(text)
    except ValueError:
        chance = math.nan
    if not 0 < chance < 1:
        raise UsageError(f"--futility {text}: not a chance between 0 and 1", "Use for instance 0.1, or off.")
    return chance


def _check_looks(options: SweepOptions, metric: Metric) -> None:
    """Raise UsageError for a cap below the first look, and for a margin that is none."""
    if options.max_seeds < options.first_look:
        less = f"--max_seeds {options.max_seeds} is less than --first_look {options.first_look}"
        raise UsageError(less, f"Use --max_seeds {max(options.first_look, 20)}.")
    margin = options.margin
    check_margin(margin)
    if margin is not None and metric.column == "acc" and margin >= 1:
        raise UsageError(f"--margin {margin:g}: {metric.name} is a share, from 0 to 1", "Use for instance 0.01.")


def _check_cap(policy: DecidePolicy) -> None:
    """Raise UsageError where no evidence can ever reach the bound."""
    needed = fewest_pairs(1 / policy.bound.evidence(len(policy.arms)))
    if policy.max_seeds < needed:
        least = f"no verdict on {counted(len(policy.arms), 'arm')} is possible below {needed} seeds"
        raise UsageError(f"--max_seeds {policy.max_seeds}: {least}", f"Use --max_seeds {max(needed, 20)}.")


def _checked_metric(name: str, arms: Arms) -> Metric:
    """The standard metric of that name. Raises UsageError for another, and for one that not all of the arms have."""
    try:
        metric = parse_metric(name)
    except ExportError as error:
        raise UsageError(error.message, error.hint) from None
    _check_tested(metric, arms)
    return metric


def _check_tested(metric: Metric, arms: Arms) -> None:
    """Raise UsageError for a metric of the test text that not all of the arms are evaluated on."""
    if metric.name.startswith("test_") and not all(arm.get("test_tokens") for arm in arms.values()):
        what = f"--metric {metric.name}: not every arm is evaluated on test text"
        raise UsageError(what, "Submit the sweep with --test_tokens 1000000.")
