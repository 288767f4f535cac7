"""From what was typed to a declared policy, with everything checked that can be before anything is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from orchestrator.comparison.bounds import VILLE
from orchestrator.comparison.measures import goal_of
from orchestrator.comparison.policy import DecidePolicy
from orchestrator.errors import ExportError, UsageError
from orchestrator.export.metric_names import Metric, find_metric
from orchestrator.growth.checks import Arms, check_cap, check_looks, checked_metric, futility_of
from orchestrator.growth.declaring_search import with_search
from orchestrator.queue.records import DECIDE, NewPolicy, RunFilter, SweepRecord
from orchestrator.queue.states import TERMINAL
from orchestrator.sweep.arm_labels import arm_label, differing_settings
from orchestrator.sweep.baseline import baseline_of, baseline_text, parse_baseline
from orchestrator.sweep.submission import PreparedSweep
from orchestrator.sweep.sweep_options import SweepOptions

if TYPE_CHECKING:
    from orchestrator.store import Store


def declared(
    options: SweepOptions, arms: Arms, baseline: Mapping[str, Any], *, is_capped: bool, metric: Metric | None = None
) -> tuple[DecidePolicy, Sequence[str]]:
    """The policy of these arms (settings by key), and the keys of arms that have no counterpart with the baseline.

    `is_capped` says that none of their runs has a result yet; `metric` is one of users' own that the runs have.

    Raises UsageError for options that contradict each other, a sweep of one arm or without a baseline, and a metric
    that nobody knows or of which nobody knows which way is better.
    """
    metric = metric or checked_metric(options.metric, arms)
    check_looks(options, metric)
    if options.margin is not None and options.best_arm:
        raise UsageError("--margin has no effect with --best_arm", "Leave one of them out.")
    if len(arms) < 2:
        which = "--best_arm" if options.best_arm else "--decide"
        raise UsageError(f"{which}: the sweep has one arm", "Give a setting several values: --depth 4 8")
    given: dict[str, Any] = {"metric": metric.name, "goal": goal_of(metric)}
    given |= {"max_seeds": options.max_seeds, "first_look": options.first_look}
    if options.best_arm:
        if given["goal"] is None:
            raise UsageError(f"--best_arm: is higher or lower better for '{metric.name}'?", "Use --metric val_loss.")
        return DecidePolicy(arms=list(arms), futility=None, best_arm=True, is_capped=False, **given), ()
    pairs, alone = _with_counterparts(arms, baseline)
    given |= {"margin": options.margin, "futility": futility_of(options.futility)}
    policy = DecidePolicy(arms=list(pairs), baselines=list(pairs.values()), is_capped=is_capped, **given)
    check_cap(policy)
    return policy, alone


def with_policy(prepared: PreparedSweep, options: SweepOptions) -> PreparedSweep:
    """The prepared sweep with the policy that its options declare, if they do. Raises as `declared` does."""
    if options.trials is not None:
        return with_search(prepared, options)
    if not options.decide:
        return prepared
    plan, definition = prepared.plan, prepared.sweep.definition
    arms = {arm.key: arm.settings.to_dict() for arm in plan.arms}
    policy, alone = declared(options, arms, baseline_of(definition), is_capped=not plan.skipped)
    sweep = replace(prepared.sweep, policy=NewPolicy(kind=DECIDE, definition=asdict(policy)))
    return replace(prepared, sweep=sweep, warnings=[*prepared.warnings, *_warnings(policy, arms, alone)])


def declared_for_sweep(store: "Store", sweep: SweepRecord, options: SweepOptions) -> tuple[NewPolicy, Sequence[str]]:
    """The policy of these options for a stored sweep, and warnings. Raises as `declared` does."""
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
    named = parse_baseline(options.baseline)
    baseline = named or baseline_of(sweep.definition)
    policy, alone = declared(options, arms, baseline, is_capped=is_capped, metric=metric)
    definition = asdict(replace(policy, baseline=named))
    return NewPolicy(kind=DECIDE, definition=definition), _warnings(policy, arms, alone)


def _warnings(policy: DecidePolicy, arms: Arms, alone: Sequence[str]) -> list[str]:
    found = []
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
    keys = {frozenset(settings.items()): key for key, settings in arms.items()}
    others = {key: keys.get(frozenset({**settings, **baseline}.items())) for key, settings in arms.items()}
    pairs = {key: other for key, other in others.items() if other is not None and other != key}
    if not pairs:
        hint = "Name fewer settings in --baseline, or look for the best of all arms: --best_arm."
        raise UsageError(f"no arm has a counterpart with --baseline {baseline_text(baseline)}", hint)
    return pairs, [key for key, other in others.items() if other is None]
