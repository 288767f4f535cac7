"""What sets the arms of a sweep apart."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hlbgpt_core.settings import specs
from orchestrator.sweep.options import value_text


def differing_settings(arms: Iterable[Mapping[str, Any]]) -> Sequence[str]:
    """The settings that do not have the same value in all `arms`, in the order of the settings. The true model_scale
    follows from other settings; it counts only if nothing else differs.

    One object is looked at once, however often it comes: all runs of an arm that were read together share theirs.
    """
    known = list({id(settings): settings for settings in arms}.values())
    same = list(specs())
    for settings in known[1:]:
        if any(settings.get(name) != known[0].get(name) for name in same):
            same = [name for name in same if settings.get(name) == known[0].get(name)]
    differing = [name for name in specs() if name not in same]
    return [name for name in differing if name != "model_scale"] or differing


def arm_label(settings: Mapping[str, Any], names: Sequence[str]) -> str:
    """`depth 4, num_heads 2`."""
    return ", ".join(f"{name} {value_text(settings[name])}" for name in names if settings.get(name) is not None)
