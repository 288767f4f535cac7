"""What sets the arms of a sweep apart."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol

from hlbgpt_core.settings import specs
from orchestrator.sweep.options import value_text


class HasSettings(Protocol):
    """A run, or its curve."""

    @property
    def settings(self) -> Mapping[str, Any]:
        """Its arm's, the same object for all runs of the arm that were read together."""


def differing_settings(arms: Iterable[Mapping[str, Any]]) -> Sequence[str]:
    """The settings that do not have the same value in all `arms`, in the order of the settings. The true model_scale
    follows from other settings; it counts only if nothing else differs."""
    first: Mapping[str, Any] | None = None
    same = list(specs())
    for settings in arms:
        if first is None:
            first = settings
        elif settings is not first and any(settings.get(name) != first.get(name) for name in same):
            same = [name for name in same if settings.get(name) == first.get(name)]
    differing = [name for name in specs() if name not in same]
    return [name for name in differing if name != "model_scale"] or differing


def settings_of(runs: Iterable[HasSettings]) -> Collection[Mapping[str, Any]]:
    """The settings of these runs, once for all that share them."""
    return {id(run.settings): run.settings for run in runs}.values()


def arm_label(settings: Mapping[str, Any], names: Sequence[str]) -> str:
    """`depth 4, num_heads 2`."""
    return ", ".join(f"{name} {value_text(settings[name])}" for name in names if settings.get(name) is not None)
