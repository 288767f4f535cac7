"""What sets the arms of a sweep apart."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from hlbgpt_core.settings import specs
from orchestrator.sweep.options import value_text


def differing_settings(arms: Iterable[Mapping[str, Any]]) -> Sequence[str]:
    """The settings that do not have the same value in all `arms`, in the order of the settings.

    The true model_scale follows from other settings; it counts only if nothing else differs.
    """
    seen: dict[str, set[Any]] = {}
    for settings in arms:
        for name in specs():
            seen.setdefault(name, set()).add(settings.get(name))
    differing = [name for name, values in seen.items() if len(values) > 1]
    return [name for name in differing if name != "model_scale"] or differing


def arm_label(settings: Mapping[str, Any], names: Sequence[str]) -> str:
    """`depth 4, num_heads 2`."""
    return ", ".join(f"{name} {value_text(settings[name])}" for name in names if settings.get(name) is not None)
