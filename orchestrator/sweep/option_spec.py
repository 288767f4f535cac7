"""One option of a sweep, as a dataclass field declares it."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, get_args, get_origin

from orchestrator.errors import UsageError

_WORDS: Mapping[type, str] = MappingProxyType(
    {int: "a whole number", float: "a number", bool: "true or false", str: "text", list: "a list"}
)


@dataclass(frozen=True, kw_only=True)
class OptionSpec:
    """One option apart from its value.

    `type` is int, float, bool, str or list: a list holds texts, or lists of texts if `nested`. `short` is the
    option's letter on the command line, `example` a value for a message, as a sweep file has it.
    """

    name: str
    type: type
    default: Any
    help: str
    panel: str
    nested: bool = False
    short: str = ""
    minimum: float | None = None
    maximum: float | None = None
    metavar: str | None = None
    example: str = ""

    def check_type(self, value: Any) -> None:
        """Raise UsageError for a value of another type; a single text counts as a list of one."""
        wanted: Any = (int, float) if self.type is float else (list, tuple, str) if self.type is list else self.type
        is_wrong_flag = isinstance(value, bool) and self.type is not bool
        if is_wrong_flag or not isinstance(value, wanted):
            words = _WORDS[self.type]
            raise UsageError(f"{self.name}: '{shown(value)}' is not {words}", f"Use {words}.")
        if self.type is list and not all(self._fits(one) for one in value):
            raise UsageError(f"{self.name}: '{shown(value)}' is not a list of the right form", f"Write {self.example}.")

    def check_range(self, value: Any) -> None:
        """Raise UsageError for a number below the minimum or above the maximum."""
        if self.minimum is not None and not value >= self.minimum:
            raise UsageError(f"{self.name}: {value} is too small", f"Use a value of at least {self.minimum}.")
        if self.maximum is not None and not value <= self.maximum:
            raise UsageError(f"{self.name}: {value} is too large", f"Use a value of at most {self.maximum}.")

    def _fits(self, one: Any) -> bool:
        if not self.nested:
            return isinstance(one, str) and bool(one)
        return isinstance(one, list | tuple) and all(isinstance(name, str) and name for name in one)


def option(default: Any, *, help: str, panel: str, **known: Any) -> Any:
    """Declare a field of `SweepOptions`: its default, help text and panel, and what else `OptionSpec` knows."""
    return dataclasses.field(default=default, metadata={"help": help, "panel": panel, **known})


def spec_of(field: "dataclasses.Field[Any]", hint: Any) -> OptionSpec:
    """The option that a field declares whose type is `hint`."""
    is_list = get_origin(hint) is Sequence
    # `int | None`: an int that may be missing.
    (kind,) = [kind for kind in get_args(hint) or (hint,) if kind is not type(None)]
    return OptionSpec(
        name=field.name,
        type=list if is_list else kind,
        default=field.default,
        nested=is_list and get_origin(kind) is Sequence,
        **field.metadata,
    )


def shown(value: Any) -> str:
    """A value for a message, as a sweep file has it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
