"""What is checked of a policy's options before anything is trained."""

import math
from collections.abc import Mapping
from typing import Any

from orchestrator.comparison.contrasts import check_margin
from orchestrator.comparison.policy import DecidePolicy
from orchestrator.comparison.statistics import fewest_pairs
from orchestrator.errors import ExportError, UsageError
from orchestrator.export.metric_names import Metric, parse_metric
from orchestrator.sweep.sweep_options import SweepOptions
from orchestrator.wording.numbers import counted

Arms = Mapping[str, Mapping[str, Any]]


def futility_of(text: str) -> float | None:
    """`0.10` as a number, `off` as None. Raises UsageError for anything else."""
    if text == "off":
        return None
    try:
        chance = float(text)
    except ValueError:
        chance = math.nan
    if not 0 < chance < 1:
        raise UsageError(f"--futility {text}: no chance between 0 and 1", "Use for instance 0.1, or off.")
    return chance


def check_looks(options: SweepOptions, metric: Metric) -> None:
    """Raise UsageError for a cap below the first look, and for a margin that is none."""
    if options.max_seeds < options.first_look:
        less = f"--max_seeds {options.max_seeds} is less than --first_look {options.first_look}"
        raise UsageError(less, f"Use --max_seeds {max(options.first_look, 20)}.")
    margin = options.margin
    check_margin(margin)
    if margin is not None and metric.column == "acc" and margin >= 1:
        raise UsageError(f"--margin {margin:g}: {metric.name} is a share, from 0 to 1", "Use for instance 0.01.")


def check_cap(policy: DecidePolicy) -> None:
    """Raise UsageError where no evidence can ever reach the bound."""
    needed = fewest_pairs(1 / policy.bound.evidence(len(policy.arms)))
    if policy.max_seeds < needed:
        least = f"no verdict on {counted(len(policy.arms), 'arm')} is possible below {needed} seeds"
        raise UsageError(f"--max_seeds {policy.max_seeds}: {least}", f"Use --max_seeds {max(needed, 20)}.")


def checked_metric(name: str, arms: Arms) -> Metric:
    """The standard metric of that name. Raises UsageError for another, and for one that not all of the arms have."""
    try:
        metric = parse_metric(name)
    except ExportError as error:
        raise UsageError(error.message, error.hint) from None
    if metric.name.startswith("test_") and not all(arm.get("test_tokens") for arm in arms.values()):
        what = f"--metric {metric.name}: not every arm is evaluated on test text"
        raise UsageError(what, "Add --test_tokens 1000000.")
    return metric
