"""What a sweep holds before it is stored, for people: arms, sizes, what was left out, and about how much it costs."""

from collections.abc import Mapping
from typing import Any

from hlbgpt_core.settings import Settings
from orchestrator.cli.common import counted, print_table, short_count
from orchestrator.options import value_text
from orchestrator.plan import LeftOut, Plan, PlannedArm, token_limit

SIZE_SETTINGS = ("depth", "width", "num_heads")
SHOWN_ARMS = 200
SHOWN_LEFT_OUT = 50


def print_review(plan: Plan) -> None:
    """Every arm with the settings that differ, and every combination that was left out, as tables on stdout."""
    names = list(dict.fromkeys([*plan.varying(), *SIZE_SETTINGS]))
    print_table(
        ["arm", *names, "N", "tokens a microbatch", "at most"],
        [_arm_row(number, arm, names) for number, arm in enumerate(plan.arms[:SHOWN_ARMS], start=1)],
        title=f"{counted(len(plan.arms), 'arm')} x {counted(plan.num_runs, 'seed')}",
    )
    if len(plan.arms) > SHOWN_ARMS:
        print(f"and {len(plan.arms) - SHOWN_ARMS:,} more arms")
    if plan.left_out:
        print_table(
            ["left out", "why"],
            [[_given_text(left), left.reason] for left in plan.left_out[:SHOWN_LEFT_OUT]],
            title=f"{counted(len(plan.left_out), 'combination')} left out",
        )
    if len(plan.left_out) > SHOWN_LEFT_OUT:
        print(f"and {len(plan.left_out) - SHOWN_LEFT_OUT:,} more left out")
    print(plan_summary(plan))
    print(estimate(plan))


def plan_summary(plan: Plan) -> str:
    """One line: runs, arms, seeds, and how many combinations were left out."""
    last = plan.first_seed + plan.num_runs - 1
    seeds = f"seed {plan.first_seed}" if plan.num_runs == 1 else f"seeds {plan.first_seed} to {last}"
    left_out = f"; {counted(len(plan.left_out), 'combination')} left out" if plan.left_out else ""
    return f"{counted(plan.total_runs, 'run')}: {counted(len(plan.arms), 'arm')}, {seeds}{left_out}"


def estimate(plan: Plan) -> str:
    """At most how many tokens the sweep sees, as far as its limits tell."""
    tokens = total_tokens(plan)
    if tokens is None:
        return "tokens: known once a worker has read the data (max_epochs ends the runs; --max_tokens would bound them)"
    return f"tokens: at most {short_count(tokens)} in all"


def total_tokens(plan: Plan) -> int | None:
    """The sum of the runs' token limits; None where one has none."""
    limits = [token_limit(arm.settings) for arm in plan.arms]
    return None if None in limits else plan.num_runs * sum(limit for limit in limits if limit is not None)


def plan_json(plan: Plan) -> Mapping[str, Any]:
    """The plan for programs."""
    return {
        "runs": plan.total_runs,
        "num_runs": plan.num_runs,
        "seed": plan.first_seed,
        "duplicates": plan.duplicates,
        "warnings": plan.warnings,
        "max_tokens": total_tokens(plan),
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
