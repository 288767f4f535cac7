"""How settings are shown and read: their help texts and panels, the axes of a sweep from typed text, and back.

Every value arrives as text and is read by `hlbgpt_core.settings.parse_value`, so a bad value gets the same message
wherever it comes from.
"""

import shlex
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from hlbgpt_core.errors import SettingsError
from hlbgpt_core.settings import (
    DEFAULT_RECIPE,
    RECIPES,
    Settings,
    SettingSpec,
    defaults,
    parse_value,
    specs,
    unknown_setting,
)
from hlbgpt_core.text.sources import absolute_dataset
from orchestrator.sweep.shapes import parse_axis

# Panels of `--help`, in their order; settings that no panel names go under MODEL.
MODEL = "Settings: model"
PANELS: Mapping[str, Sequence[str]] = {
    MODEL: (),
    "Settings: data": "dataset tokenizer max_sequence_length initial_sequence_length sequence_growth_steps "
    "gpu_capacity_scalar".split(),
    "Settings: schedule": "lr_mult lr_mult_position_bias lr_mult_non_dot_products lr_mult_output_layer "
    "learning_rate total_train_steps warmup_percent weight_decay warmup_steps microbatch_sample_every "
    "microbatch_scale_lr max_microbatches".split(),
    "Settings: stopping": "max_epochs max_steps max_tokens max_time_seconds".split(),
    "Settings: recording": "log_every eval_every max_epochs_between_evals num_eval_tokens eval_sequence_length "
    "test_tokens".split(),
}


def panel_of(name: str) -> str:
    """The panel of a setting."""
    return next((panel for panel, names in PANELS.items() if name in names), MODEL)


def sought_value(name: str, text: str) -> Any:
    """The value of a setting by which runs are sought, as runs have it: submit makes the path of `text:` absolute.
    Raises SettingsError or DataError for an invalid value."""
    value = parse_value(specs()[name], text)
    return absolute_dataset(value) if name == "dataset" and value.startswith("text:") else value


# What other tools put around and between values.
_LIST_MARKS = str.maketrans(",[]", "   ")


def axes_of(given: Mapping[str, Sequence[Any]], *, repeated: Collection[str] = ()) -> Mapping[str, tuple[Any, ...]]:
    """The values of each setting that was given, typed, in the order given: each once except for settings in
    `repeated`. `1e-4..1e-1` becomes a Range. Raises SettingsError for an unknown setting, and SettingsError or
    PlanError for an invalid value.
    """
    known = specs()
    axes = {}
    for name, values in given.items():
        if name not in known:
            raise unknown_setting(name)
        if values:
            try:
                axes[name] = parse_axis(known[name], values, keep_repeats=name in repeated)
            except SettingsError as error:
                texts = list(map(str, values))
                if not all(text.strip() for text in texts):
                    raise SettingsError(f"{name}: the value is empty", error.hint) from None
                apart = " ".join(texts).translate(_LIST_MARKS).split()
                if apart in (texts, []):
                    raise
                typed = f"Put spaces between values: --{name} {' '.join(apart)}"
                raise SettingsError(error.message, f"{typed}. In a sweep file and in Python, give a list.") from None
    return axes


def setting_name(name: str, others: Collection[str] = ()) -> str:
    """The setting of that name, or one of `others`, with dashes as underscores. Raises SettingsError, naming the
    nearest, for another one."""
    wanted = name.strip().replace("-", "_")
    if wanted not in specs() and wanted not in others:
        raise unknown_setting(name)
    return wanted


def with_defaults(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Stored settings; one that was stored without is at its default."""
    return {**defaults(settings.get("recipe", DEFAULT_RECIPE)), **settings}


def option_help(spec: SettingSpec) -> str:
    """The help text of a setting's option: its meaning, choices and default, and which recipe uses it."""
    notes = [f"choices: {', '.join(spec.choices)}"] if spec.choices else []
    notes.append(f"default: {default_text(spec)}")
    if spec.recipes != RECIPES:
        notes.append(f"recipe {' and '.join(spec.recipes)} only")
    return f"{spec.help} ({'; '.join(notes)})"


def default_text(spec: SettingSpec) -> str:
    """A setting's default for people; by recipe if the recipes differ."""
    if not spec.default_by_recipe:
        return value_text(spec.default)
    return ", ".join(f"{value_text(value)} for {recipe}" for recipe, value in spec.default_by_recipe.items())


def value_text(value: Any) -> str:
    """A setting's value as it can be typed again: `true`, `2.62`, `1e9`, `gpt2`."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) and abs(value) >= 10**6 and float(f"{value:g}") == value:
        return f"{value:g}".replace("e+0", "e").replace("e+", "e")
    if isinstance(value, float):
        short = f"{value:g}".replace("e+0", "e").replace("e+", "e")
        return short if float(short) == value else repr(value)
    return str(value)


def repeat_command(settings: Mapping[str, Any], seed: int) -> str:
    """A line for a shell that submits an arm (its resolved settings) with one seed: the same arm key, one run."""
    resolved = Settings.from_dict(settings)
    given = {"depth": resolved.depth, "width": resolved.width, **resolved.changed()}
    given.pop("model_scale", None)  # it follows from depth and width, which a resolved arm always has
    typed = {name: value_text(value) for name, value in given.items()}
    words = ["hlbq", "submit"]
    # Options that are not settings do not accept 1e6.
    for name, text in {**typed, "seed": str(seed), "num_runs": "1"}.items():
        # A text that starts with a dash would be read as an option.
        words += [f"--{name}={text}"] if text.startswith("-") else [f"--{name}", text]
    return shlex.join(words)
