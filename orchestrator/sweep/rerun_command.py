"""The command that runs a stored run again. Pure."""

import shlex
from collections.abc import Mapping
from typing import Any

from hlbgpt_core.settings import Settings
from orchestrator.sweep.options import value_text

# It follows from depth and width, which a resolved arm always has.
_FOLLOWS = "model_scale"


def repeat_command(settings: Mapping[str, Any], seed: int) -> str:
    """A line for a shell that submits an arm (its resolved settings) with one seed: the same arm key, one run."""
    typed = {name: value_text(value) for name, value in _given(Settings.from_dict(settings)).items()}
    words = ["hlbq", "submit"]
    # Options that are not settings do not accept 1e6.
    for name, text in {**typed, "seed": str(seed), "num_runs": "1"}.items():
        # A text that starts with a dash would be read as an option.
        words += [f"--{name}={text}"] if text.startswith("-") else [f"--{name}", text]
    return shlex.join(words)


def _given(settings: Settings) -> Mapping[str, Any]:
    """What to type for resolved `settings`: all that is not at the recipe's default, and its sizes."""
    sizes = {"depth": settings.depth, "width": settings.width}
    changed = {name: value for name, value in settings.changed().items() if name not in (*sizes, _FOLLOWS)}
    return {**sizes, **changed}
