"""A sweep for people to check before it is stored: arms, sizes, what was left out, and roughly what it costs."""

from collections.abc import Mapping
from statistics import fmean
from types import MappingProxyType
from typing import Any

from hlbgpt_core.scale import token_limit
from hlbgpt_core.settings import Settings
from orchestrator.cli.common import DatabaseOption, counted, print_table, say, short_count
from orchestrator.errors import DatabaseError
from orchestrator.queue.records import RunFilter
from orchestrator.queue.states import State
from orchestrator.sweep.options import value_text
from orchestrator.sweep.plan import LeftOut, Plan, PlannedArm

SIZE_SETTINGS = ("depth", "width", "num_heads")
SHOWN_ARMS = 200
SHOWN_LEFT_OUT = 50
HISTORY_RUNS = 1000


def print_review(plan: Plan, speeds: Mapping[int, float] = MappingProxyType({})) -> None:
    """Every arm with the settings that differ, every combination that was left out, and an estimate, on stdout.

    `speeds` are tokens a second by number of parameters, as `measured_speeds` gives them.
    """
    names = list(dict.fromkeys([*plan.varying(), *SIZE_SETTINGS]))
    for line in plan.shape.lines():
        say(line)
    print_table(
        ["arm", *names, "N", "tokens a microbatch", "at most"],
        [_arm_row(number, arm, names) for number, arm in enumerate(plan.arms[:SHOWN_ARMS], start=1)],
        title=f"{counted(len(plan.arms), 'arm')} x {counted(plan.num_runs, 'seed')}",
    )
    if len(plan.arms) > SHOWN_ARMS:
        say(f"and {len(plan.arms) - SHOWN_ARMS:,} more arms")
    if plan.left_out:
        print_table(
            ["left out", "why"],
            [[_given_text(left), left.reason] for left in plan.left_out[:SHOWN_LEFT_OUT]],
            title=f"{counted(len(plan.left_out), 'combination')} left out",
        )
    if len(plan.left_out) > SHOWN_LEFT_OUT:
        say(f"and {len(plan.left_out) - SHOWN_LEFT_OUT:,} more left out")
    say(plan_summary(plan))
    say(estimate(plan))
    hours = estimated_hours(plan, speeds)
    if hours is not None:
        say(f"time: at most about {hours:.1f} hours of one device, by the speed of completed runs of these sizes")


def plan_summary(plan: Plan) -> str:
    """One line: runs, arms, seeds, and how many combinations were left out."""
    last = plan.first_seed + plan.num_runs - 1
    seeds = f"seed {plan.first_seed}" if plan.num_runs == 1 else f"seeds {plan.first_seed} to {last}"
    left_out = f"; {counted(len(plan.left_out), 'combination')} left out" if plan.left_out else ""
    skipped = f"; {counted(len(plan.skipped), 'existing run')} left out" if plan.skipped else ""
    return f"{counted(plan.total_runs, 'run')}: {counted(len(plan.arms), 'arm')}, {seeds}{left_out}{skipped}"


def estimate(plan: Plan) -> str:
    """The most tokens that the sweep can see, as far as its limits say."""
    tokens = total_tokens(plan)
    if tokens is None:
        return "tokens: known once a worker has read the data (max_epochs ends the runs; --max_tokens would bound them)"
    return f"tokens: at most {short_count(tokens)} in all"


def total_tokens(plan: Plan) -> int | None:
    """The sum of the runs' token limits; None if one has no limit."""
    limits = [token_limit(arm.settings) for arm in plan.arms]
    return None if None in limits else plan.num_runs * sum(limit for limit in limits if limit is not None)


def estimated_hours(plan: Plan, speeds: Mapping[int, float]) -> float | None:
    """Hours of one device that the token limits allow; None if a limit or the speed of a size is unknown."""
    seconds = 0.0
    for arm in plan.arms:
        tokens, speed = token_limit(arm.settings), speeds.get(arm.sizes.num_params)
        if tokens is None or not speed:
            return None
        seconds += plan.num_runs * tokens / speed
    return seconds / 3600


def measured_speeds(database: DatabaseOption) -> Mapping[int, float]:
    """Mean tokens a second of completed runs by number of parameters; empty if there is no database."""
    found: dict[int, list[float]] = {}
    try:
        with database.read() as store:
            for run in store.runs(RunFilter(states=(State.COMPLETED,)), limit=HISTORY_RUNS):
                if run.tokens_per_second > 0:
                    found.setdefault(run.num_params, []).append(run.tokens_per_second)
    except DatabaseError:
        return {}
    return {num_params: fmean(speeds) for num_params, speeds in found.items()}


def plan_json(plan: Plan, speeds: Mapping[int, float]) -> Mapping[str, Any]:
    """The plan for programs."""
    return {
        "runs": plan.total_runs,
        "num_runs": plan.num_runs,
        "seed": plan.first_seed,
        "duplicates": plan.duplicates,
        "warnings": plan.warnings,
        "shape": plan.shape.to_dict(),
        "skipped": len(plan.skipped),
        "max_tokens": total_tokens(plan),
        "max_hours": estimated_hours(plan, speeds),
        "arms": [
            {"key": arm.key, "num_params": arm.sizes.num_params, "microbatch_tokens": arm.sizes.microbatch_tokens}
            | {"settings": arm.settings.to_dict()}
            for arm in plan.arms
        ],
        "left_out": [{"given": left.given, "reason": left.reason} for left in plan.left_out],
    }


def _arm_row(number: int, arm: PlannedArm, names: list[str]) -> list[str]:
    limit = token_limit(arm.settings)
    return [
        str(number),
        *(_shown(arm.settings, name) for name in names),
        short_count(arm.sizes.num_params),
        f"{arm.sizes.microbatch_tokens:,}",
        f"{short_count(limit)} tokens" if limit is not None else _epochs(arm.settings.max_epochs),
    ]


def _epochs(epochs: float) -> str:
    return f"{value_text(epochs)} epoch{'' if epochs == 1 else 's'}"


def _shown(settings: Settings, name: str) -> str:
    value = getattr(settings, name)
    return f"{value:.3g}" if name == "model_scale" else value_text(value)


def _given_text(left: LeftOut) -> str:
    return " ".join(f"{name}={value_text(value)}" for name, value in left.given.items())
