"""A sweep for people to check before it is stored: arms, sizes, what was left out, and roughly what it costs."""

import contextlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import TYPE_CHECKING, Any

from hlbgpt_core.errors import DataError
from hlbgpt_core.scale import largest_microbatch, token_limit
from hlbgpt_core.settings import Settings
from hlbgpt_core.text.dataset_source import DatasetSource
from hlbgpt_core.text.token_cache import default_cache_dir
from orchestrator.cli.common import DatabaseOption
from orchestrator.cli.output import counted, print_table, say, short_count
from orchestrator.errors import DatabaseError, UsageError
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import State
from orchestrator.sweep.baseline import baseline_text, parse_baseline, restricted
from orchestrator.sweep.options import value_text
from orchestrator.sweep.plan import Plan, PlannedArm
from orchestrator.sweep.sweep_options import SweepOptions
from orchestrator.wording.numbers import duration

if TYPE_CHECKING:
    from orchestrator.comparison.planning import SeedPlan

SIZE_SETTINGS = ("depth", "width", "num_heads")
SHOWN_ARMS = 200
SHOWN_LEFT_OUT = 50
HISTORY_RUNS = 1000


@dataclass(frozen=True, kw_only=True)
class History:
    """Mean tokens a second of completed runs by number of parameters, and the training tokens of prepared data by
    dataset and tokenizer."""

    speeds: Mapping[int, float] = field(default_factory=dict)
    tokens: Mapping[tuple[str, str], int] = field(default_factory=dict)

    def most_tokens(self, settings: Settings) -> int | None:
        """The most tokens that a run sees; None if nothing bounds them."""
        return token_limit(settings, train_tokens=self.tokens.get((settings.dataset, settings.tokenizer)))


UNKNOWN = History()


def print_review(plan: Plan, history: History) -> None:
    """Every arm with the settings that differ, every combination that was left out, and an estimate, on stdout.
    `history` is what `read_history` gives."""
    names = list(dict.fromkeys([*plan.varying(), *SIZE_SETTINGS]))
    say(*plan.shape.lines())
    print_table(
        ["arm", *names, "N", "tokens a microbatch", "at most"],
        [_arm_row(number, arm, names, history) for number, arm in enumerate(plan.arms[:SHOWN_ARMS], start=1)],
        title=f"{counted(len(plan.arms), 'arm')} x {counted(plan.num_runs, 'seed')}",
    )
    if len(plan.arms) > SHOWN_ARMS:
        say(f"and {len(plan.arms) - SHOWN_ARMS:,} more arms")
    if plan.left_out:
        differing = plan.varying_given()
        print_table(
            ["left out", "why"],
            [
                [baseline_text(restricted(left.given, differing)), left.reason]
                for left in plan.left_out[:SHOWN_LEFT_OUT]
            ],
            title=f"{counted(len(plan.left_out), 'combination')} left out",
        )
    if len(plan.left_out) > SHOWN_LEFT_OUT:
        say(f"and {len(plan.left_out) - SHOWN_LEFT_OUT:,} more left out")
    say(plan_summary(plan))
    tokens = total_tokens(plan, history)
    if tokens is None:
        say("tokens: known once a worker has read the data (max_epochs ends the runs; --max_tokens would bound them)")
    else:
        say(f"tokens: at most {short_count(tokens)} in all")
    if seconds := estimated_seconds(plan, history):
        say(f"time: at most about {_device_time(seconds)}, by the speed of completed runs of these sizes")


def plan_summary(plan: Plan) -> str:
    """One line: runs, arms, seeds, and how many combinations were left out."""
    last = plan.first_seed + plan.num_runs - 1
    seeds = f"seed {plan.first_seed}" if plan.num_runs == 1 else f"seeds {plan.first_seed} to {last}"
    left_out = f"; {counted(len(plan.left_out), 'combination')} left out" if plan.left_out else ""
    skipped = f"; {counted(len(plan.skipped), 'existing run')} left out" if plan.skipped else ""
    return f"{counted(plan.total_runs, 'run')}: {counted(len(plan.arms), 'arm')}, {seeds}{left_out}{skipped}"


def total_tokens(plan: Plan, history: History) -> int | None:
    """The sum of the runs' token limits; None if one has no limit."""
    limits = [(plan.runs_of(arm), history.most_tokens(arm.settings)) for arm in plan.arms]
    known = [runs * limit for runs, limit in limits if limit is not None]
    return sum(known) if len(known) == len(limits) else None


def estimated_seconds(plan: Plan, history: History) -> float | None:
    """Seconds of one device that the token limits allow; None if a limit or the speed of a size is unknown."""
    seconds = 0.0
    for arm in plan.arms:
        tokens, speed = history.most_tokens(arm.settings), history.speeds.get(arm.sizes.num_params)
        if tokens is None or not speed:
            return None
        seconds += plan.runs_of(arm) * tokens / speed
    return seconds


def _device_time(seconds: float) -> str:
    return f"{duration(max(seconds, 1.0))} of one device"


def seeds_of(
    plan: Plan, options: SweepOptions, database: DatabaseOption, *, effect: float | None, noise: float | None
) -> "SeedPlan | None":
    """What the plan's seeds allow to decide, by the rule that the options declare; None if it has nothing to compare.

    Raises UsageError for a value that is no size, or if the noise is neither given nor known from earlier runs.
    """
    from orchestrator.comparison.judging.bounds import VILLE, Bound
    from orchestrator.comparison.planning import Noise, contrasts_in, read_noise, seed_plan

    for name, value in (("--plan_for", effect), ("--noise", noise)):
        if value is not None and value <= 0:
            raise UsageError(f"{name} {value:g}: not a size", f"Use a number above 0: {name} 0.01")
    contrasts = contrasts_in(plan, parse_baseline(options.baseline))
    if not contrasts:
        return None
    found = None if noise is None else Noise(deviation=noise)
    if effect is not None and found is None:
        with contextlib.suppress(DatabaseError), database.read() as store:
            found = read_noise(store, plan)
        if found is None:
            raise UsageError(
                f"--plan_for {effect:g}: there are no earlier runs of similar arms to estimate the noise from",
                "Give the deviation of a paired difference, for instance --noise 0.004; or train 4 seeds of two arms "
                "first.",
            )
    is_capped = options.decide and not options.best_arm and not plan.skipped
    bound = Bound(cap=options.max_seeds, first_look=options.first_look) if is_capped else VILLE
    return seed_plan(contrasts, effect, found, bound=bound)


def seed_lines(plan: Plan, seeds: "SeedPlan | None", history: History) -> list[str]:
    """What the plan's seeds allow to decide, as sentences."""
    if seeds is None:
        return []
    found = []
    if plan.num_runs < seeds.fewest:
        found.append(f"{counted(plan.num_runs, 'seed')}: no verdict is possible below {seeds.fewest}")
    if seeds.effect is None or seeds.noise is None:
        return found
    learned = " at most, estimated from earlier runs" if seeds.noise.degrees else ""
    compared = f"{counted(seeds.contrasts, 'arm')} against the baseline"
    given = f"(noise {seeds.noise.deviation:.2g}{learned}; {compared})"
    if seeds.needed is None:
        return [*found, f"an effect of {seeds.effect:g} needs more than {seeds.most:,} seeds {given}"]
    seconds = estimated_seconds(replace(plan, num_runs=seeds.needed, skipped=frozenset()), history)
    time = f", at most about {_device_time(seconds)}" if seconds else ""
    needs = f"an effect of {seeds.effect:g} needs {counted(seeds.needed, 'seed')} for a verdict in 4 of 5 cases"
    return [*found, f"{needs}{time} {given}"]


def read_history(database: DatabaseOption, plan: Plan) -> History:
    """What this host and the database know of the plan's data and of the speed of its sizes."""
    found: dict[int, list[float]] = {}
    with contextlib.suppress(DatabaseError), database.read() as store:
        for run in store.runs(RunFilter(states=(State.COMPLETED,)), limit=HISTORY_RUNS):
            if run.tokens_per_second > 0:
                found.setdefault(run.num_params, []).append(run.tokens_per_second)
    data = {(arm.settings.dataset, arm.settings.tokenizer) for arm in plan.arms}
    return History(
        speeds={num_params: fmean(speeds) for num_params, speeds in found.items()},
        tokens={names: tokens for names in data if (tokens := _prepared_tokens(*names)) is not None},
    )


def _prepared_tokens(dataset: str, tokenizer: str) -> int | None:
    try:
        manifest = DatasetSource.of(dataset, tokenizer, default_cache_dir()).manifest_if_unchanged()
    except DataError:
        return None
    return manifest.train_tokens if manifest else None


def plan_json(plan: Plan, history: History, seeds: "SeedPlan | None") -> Mapping[str, Any]:
    """The plan for programs."""
    seconds = estimated_seconds(plan, history)
    return {
        "runs": plan.total_runs,
        "num_runs": plan.num_runs,
        "seed": plan.first_seed,
        "duplicates": plan.duplicates,
        "warnings": plan.warnings,
        "shape": plan.shape.to_dict(),
        "skipped": len(plan.skipped),
        "max_tokens": total_tokens(plan, history),
        "max_hours": None if seconds is None else seconds / 3600,
        "fewest_seeds": seeds.fewest if seeds else None,
        "needed_seeds": seeds.needed if seeds else None,
        "noise": seeds.noise.deviation if seeds and seeds.noise else None,
        "arms": [
            {
                "key": arm.key,
                "num_params": arm.sizes.num_params,
                "microbatch_tokens": largest_microbatch(arm.settings),
                "settings": arm.settings.to_dict(),
            }
            for arm in plan.arms
        ],
        "left_out": [{"given": left.given, "reason": left.reason} for left in plan.left_out],
    }


def _arm_row(number: int, arm: PlannedArm, names: list[str], history: History) -> list[str]:
    limit, epochs = history.most_tokens(arm.settings), arm.settings.max_epochs
    most = (
        f"{value_text(epochs)} epoch{'' if epochs == 1 else 's'}" if limit is None else f"{short_count(limit)} tokens"
    )
    shown = [_shown(arm.settings, name) for name in names]
    return [str(number), *shown, short_count(arm.sizes.num_params), f"{largest_microbatch(arm.settings):,}", most]


def _shown(settings: Settings, name: str) -> str:
    value = getattr(settings, name)
    return f"{value:.3g}" if name == "model_scale" else value_text(value)
