"""Settings: one dataclass field is one setting.

The fields of `Settings` define the command-line options, the sweep axes, the JSON in the database, the CSV columns and
the reference page in docs/. To add a setting, add a field.

Only the standard library is imported here, so every package can use it at no cost.
"""

import dataclasses
import difflib
import functools
import hashlib
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from hlbgpt_core.errors import SettingsError

RECIPES = ("0.4.1", "0.3.0")
DEFAULT_RECIPE = "0.4.1"
NO_LIMIT_STEPS = 10**9
NO_LIMIT_TOKENS = 10**12

_TRUE = {"true", "yes", "on"}
_FALSE = {"false", "no", "off"}


@dataclass(frozen=True, kw_only=True)
class SettingSpec:
    """One setting apart from its value.

    `default_by_recipe` holds the defaults if they differ between recipes; `recipes` names the recipes that use the
    setting.
    """

    name: str
    type: type
    default: Any
    help: str
    unit: str = ""
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    above: float | None = None
    recipes: tuple[str, ...] = RECIPES
    default_by_recipe: Mapping[str, Any] | None = None

    def default_for(self, recipe: str) -> Any:
        """The default of this setting under `recipe`."""
        return (self.default_by_recipe or {}).get(recipe, self.default)


def setting(
    default: Any,
    *,
    help: str,
    unit: str = "",
    choices: tuple[str, ...] = (),
    minimum: float | None = None,
    above: float | None = None,
    recipes: tuple[str, ...] = RECIPES,
    default_by_recipe: Mapping[str, Any] | None = None,
) -> Any:
    """Declare a field of `Settings`: its default, help text, unit and limits."""
    metadata = {
        "help": help,
        "unit": unit,
        "choices": choices,
        "minimum": minimum,
        "above": above,
        "recipes": recipes,
        "default_by_recipe": default_by_recipe,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that decides what is trained, except the seed."""

    recipe: str = setting(
        DEFAULT_RECIPE, choices=RECIPES, help="The recipe of hlb-gpt: model, schedules, accumulation."
    )
    model_scale: float = setting(
        1.0,
        above=0,
        help="Size relative to the recipe's default model. Used only if depth and width are below 1. The true scale "
        "(N over the recipe's default N) is stored and logged.",
    )
    depth: int = setting(-1, help="Number of blocks. Below 1: from model_scale. Set both depth and width, or neither.")
    width: int = setting(
        -1,
        unit="channels",
        help="Residual width, rounded to a multiple of 64. Below 1: from model_scale. Set both depth and width, or "
        "neither.",
    )
    num_heads: int = setting(
        1,
        minimum=1,
        default_by_recipe={"0.4.1": 1, "0.3.0": 3},
        help="Number of attention heads. It must divide the width, and in 0.4.1 the query-key width too.",
    )
    linear_value: bool = setting(
        False, recipes=("0.4.1",), help="Leave out the product and the GELU on the attention's value."
    )
    qk_dim_div: int = setting(8, minimum=1, recipes=("0.4.1",), help="The query-key width is width // qk_dim_div.")
    expand_factor: int = setting(
        2, minimum=1, recipes=("0.4.1",), help="The block's inner width is expand_factor * width."
    )
    position_distance: str = setting(
        "released",
        choices=("released", "exact"),
        help="Distances in the position bias: rounded to bfloat16 as in the released recipe, or exact.",
    )
    dataset: str = setting(
        "wikitext-103", help="wikitext-103, pystdlib, text:PATH (file, folder or glob) or hf:NAME[:CONFIG]."
    )
    tokenizer: str = setting(
        "gpt2",
        help="A tiktoken encoding, bytes (256 values and end of text), or bpe:SIZE (trained on the text).",
    )
    max_sequence_length: int = setting(
        1024,
        minimum=1,
        unit="tokens",
        default_by_recipe={"0.4.1": 1024, "0.3.0": 512},
        help="Length of the longest training sequences, and of evaluations if eval_sequence_length is 0.",
    )
    initial_sequence_length: int = setting(32, minimum=1, unit="tokens", help="Length of the first training sequences.")
    sequence_growth_steps: int = setting(
        80,
        minimum=1,
        unit="optimizer steps",
        default_by_recipe={"0.4.1": 80, "0.3.0": 195},
        help="Double the sequence length every this many steps.",
    )
    gpu_capacity_scalar: float = setting(
        1.0, above=0, help="Scales the tokens of a microbatch; 1.0 is for a GPU with 40 GB."
    )
    lr_mult: float = setting(2.62, above=0, recipes=("0.4.1",), help="Multiplies the base learning rate.")
    lr_mult_position_bias: float = setting(
        100.0, above=0, recipes=("0.4.1",), help="Multiplies the learning rate of the position biases."
    )
    lr_mult_non_dot_products: float = setting(
        32.0, above=0, recipes=("0.4.1",), help="Multiplies the learning rate of norms and embedding."
    )
    lr_mult_output_layer: float = setting(
        2.0, above=0, recipes=("0.4.1",), help="Multiplies the learning rate of the output layer."
    )
    learning_rate: float = setting(
        2e-3, above=0, recipes=("0.3.0",), help="Peak learning rate of the one-cycle schedule."
    )
    total_train_steps: int = setting(
        200_000,
        minimum=1,
        unit="optimizer steps",
        recipes=("0.3.0",),
        help="Length of the one-cycle schedule.",
    )
    warmup_percent: float = setting(
        0.001, above=0, recipes=("0.3.0",), help="Share of the one-cycle schedule spent on warm-up."
    )
    weight_decay: float = setting(
        16.0,
        minimum=0,
        default_by_recipe={"0.4.1": 16.0, "0.3.0": 0.03},
        help="Initial weight decay; the recipe changes it with the loss.",
    )
    warmup_steps: int = setting(
        100, minimum=1, unit="optimizer steps", recipes=("0.4.1",), help="Steps of learning-rate warm-up."
    )
    microbatch_sample_every: int = setting(
        5,
        minimum=1,
        unit="optimizer steps",
        recipes=("0.4.1",),
        help="Steps between adaptations of the number of microbatches.",
    )
    microbatch_scale_lr: float = setting(
        0.1, minimum=0, recipes=("0.4.1",), help="How fast the number of microbatches is adapted."
    )
    max_microbatches: int = setting(
        0, minimum=0, unit="microbatches", help="At most this many microbatches per step; 0: no limit."
    )
    block_optimizer: str = setting(
        "adamw",
        choices=("adamw", "muon"),
        help="Optimizer for the blocks' matrices; muon orthogonalises each update and scales it to AdamW's size.",
    )
    output_precision: str = setting(
        "same",
        choices=("same", "float8"),
        help="The output layer's product: in the same precision as the rest, or with factors rounded to float8. GPUs "
        "that can do so multiply in float8.",
    )
    precision: str = setting(
        "auto",
        choices=("auto", "bfloat16", "float32", "float64"),
        help="Number format. auto is bfloat16 on a GPU and float32 on a CPU.",
    )
    max_epochs: float = setting(1.0, above=0, unit="epochs", help="Stop after this much of the training data.")
    max_steps: int = setting(NO_LIMIT_STEPS, minimum=1, unit="optimizer steps", help="Stop after this many steps.")
    max_tokens: int = setting(NO_LIMIT_TOKENS, minimum=1, unit="tokens", help="Stop after this many tokens.")
    max_time_seconds: float = setting(
        1e9, above=0, unit="seconds", help="Stop after this many seconds of training, without evaluations."
    )
    log_every: int = setting(10, minimum=1, unit="optimizer steps", help="Steps between train points.")
    eval_every: int = setting(50, minimum=1, unit="optimizer steps", help="Steps between evaluations.")
    max_epochs_between_evals: float = setting(
        0.25, above=0, unit="epochs", help="Evaluate at least once per this much of the training data."
    )
    num_eval_tokens: int = setting(
        153_600,
        minimum=1,
        unit="tokens",
        default_by_recipe={"0.4.1": 153_600, "0.3.0": 1_048_576},
        help="Number of tokens in each evaluation.",
    )
    eval_sequence_length: int = setting(
        0,
        minimum=0,
        unit="tokens",
        help="Length of the sequences in evaluations; 0: max_sequence_length. Arms with different max_sequence_length "
        "can be compared if this is the same.",
    )
    test_tokens: int = setting(
        0,
        minimum=0,
        unit="tokens",
        help="Number of tokens in one more evaluation at the end; 0: none. It reads text that no other evaluation "
        "reads: the dataset's test split, or else the second half of the validation text.",
    )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Settings":
        """Settings from names and values; missing ones take the recipe's default.

        Raises SettingsError for an unknown name (the nearest is suggested), a wrong type, or a
        value outside its limits.
        """
        known = specs()
        for name in values:
            if name not in known:
                raise unknown_setting(name)
        recipe = parse_value(known["recipe"], values.get("recipe", DEFAULT_RECIPE))
        given = {name: parse_value(known[name], value) for name, value in values.items()}
        return cls(**{**defaults(recipe), **given})

    @classmethod
    def of_checked(cls, values: Mapping[str, Any]) -> "Settings":
        """Settings from all values in the order of the fields; the caller has checked them.

        A plan makes tens of thousands, and a frozen dataclass sets its fields one by one.
        """
        made = object.__new__(cls)
        vars(made).update(values)
        return made

    @property
    def evaluation_length(self) -> int:
        """Tokens of a sequence of an evaluation."""
        return self.eval_sequence_length or self.max_sequence_length

    def to_dict(self) -> dict[str, Any]:
        """Every setting by name, as JSON can hold it."""
        return dict(vars(self))

    def changed(self) -> dict[str, Any]:
        """The settings that are not at the recipe's default."""
        base = defaults(self.recipe)
        return {name: value for name, value in vars(self).items() if value != base[name]}

    def key(self) -> str:
        """Sixteen hex digits that identify these values.

        Settings at their default do not count, so a new setting changes no key.
        """
        return key_of_changed(self.changed())


def key_of_changed(changed: Mapping[str, Any]) -> str:
    """The key of settings that differ from their recipe's defaults in these."""
    return hashlib.sha256(_sorted_json(changed).encode()).hexdigest()[:16]


# Made once: planning a large sweep writes one text per arm.
_sorted_json = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


def specs() -> Mapping[str, SettingSpec]:
    """Every setting's spec by name, in the order of the fields."""
    return _specs_of(Settings)


@functools.cache  # planning a large sweep calls this once per arm
def _specs_of(settings_class: Any) -> Mapping[str, SettingSpec]:
    return MappingProxyType(
        {
            field.name: SettingSpec(
                name=field.name,
                type=field.type if isinstance(field.type, type) else _TYPES[str(field.type)],
                default=field.default,
                **field.metadata,
            )
            for field in dataclasses.fields(settings_class)
        }
    )


def defaults(recipe: str) -> Mapping[str, Any]:
    """Every setting's default under `recipe`, by name."""
    return _defaults_of(Settings, recipe)


@functools.cache
def _defaults_of(settings_class: Any, recipe: str) -> Mapping[str, Any]:
    return MappingProxyType({name: spec.default_for(recipe) for name, spec in _specs_of(settings_class).items()})


_TYPES: dict[str, type] = {"int": int, "float": float, "bool": bool, "str": str}


def unknown_setting(name: str) -> SettingsError:
    """The error for an unknown setting, with the nearest name."""
    nearest = difflib.get_close_matches(name.replace("-", "_"), specs(), n=1)
    hint = f"Did you mean '{nearest[0]}'?" if nearest else "See all names: hlbq submit --help"
    return SettingsError(f"there is no setting '{name}'", hint)


def parse_value(spec: SettingSpec, value: Any) -> Any:
    """`value` (typed by a person, or read from JSON or TOML) as the setting's type.

    Raises SettingsError with the value and what it should be.
    """
    parsed = _CONVERTERS[spec.type](spec, value)
    if spec.choices and parsed not in spec.choices:
        near = difflib.get_close_matches(str(parsed), spec.choices, n=1)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        raise SettingsError(
            f"{spec.name}: '{value}' is not one of the choices", f"{hint}Use one of: {', '.join(spec.choices)}."
        )
    if spec.minimum is not None and parsed < spec.minimum:
        raise SettingsError(f"{spec.name}: {value} is too small", f"Use a value of at least {spec.minimum:g}.")
    if spec.above is not None and parsed <= spec.above:
        raise SettingsError(f"{spec.name}: {value} is too small", f"Use a value above {spec.above:g}.")
    return parsed


def _to_float(spec: SettingSpec, value: Any) -> float:
    if isinstance(value, bool):
        raise _wrong_type(spec, value, "a number")
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        raise _wrong_type(spec, value, "a number") from None
    if not math.isfinite(number):
        raise SettingsError(f"{spec.name}: '{value}' is not a finite number", "Use a finite number.")
    return number


def _to_int(spec: SettingSpec, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        number = value
    else:
        if isinstance(value, str):
            try:
                return _within_range(spec, int(value))
            except ValueError:
                pass  # "1e9" is a whole number too: let float() read it
        as_float = _to_float(spec, value)
        if as_float != int(as_float):
            raise _wrong_type(spec, value, "a whole number")
        number = int(as_float)
    return _within_range(spec, number)


def _within_range(spec: SettingSpec, number: int) -> int:
    if abs(number) >= 2**63:
        raise SettingsError(f"{spec.name}: {number} is too large", "Use a value below 2**63.")
    return number


def _to_bool(spec: SettingSpec, value: Any) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _TRUE | _FALSE:
        return value.lower() in _TRUE
    # Any number is a truth value here, as in the original tool: `--linear_value 0 1 2 3`.
    try:
        return _to_float(spec, value) != 0
    except SettingsError:
        raise _wrong_type(spec, value, "0 or 1, true or false") from None


def _to_text(spec: SettingSpec, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise _wrong_type(spec, value, "text")
    if any(ord(character) < 32 for character in value) or not value.isprintable():
        raise SettingsError(f"{spec.name}: {value!r} holds control characters", "Use plain text.")
    return value


_CONVERTERS: Mapping[type, Callable[[SettingSpec, Any], Any]] = {
    float: _to_float,
    int: _to_int,
    bool: _to_bool,
    str: _to_text,
}


def _wrong_type(spec: SettingSpec, value: Any, wanted: str) -> SettingsError:
    example = "4" if spec.default == -1 else f"{spec.default}"  # -1 stands for none given
    return SettingsError(f"{spec.name}: '{value}' is not {wanted}", f"Use {wanted}, for instance {example}.")
