"""One option of a sweep or of a worker, as a dataclass field declares it."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin

from orchestrator.errors import UsageError

_WORDS: Mapping[type, str] = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    list: "a list",
}


@dataclass(frozen=True, kw_only=True)
class OptionSpec:
    """One option apart from its value.

    `type` is that of its field: of a tuple or a sequence for several values, of None too for one that may be missing.
    `short` is the option's letter on the command line, `example` a value for a message, as a sweep file has it.
    """

    name: str
    type: Any
    default: Any
    help: str
    panel: str | None = None
    short: str = ""
    minimum: float | None = None
    maximum: float | None = None
    metavar: str | None = None
    example: str = ""

    @property
    def several(self) -> bool:
        """Whether it takes several values."""
        return get_origin(self.type) in (tuple, Sequence)

    @property
    def value_type(self) -> Any:
        """The type of one value: int for `int | None` and for `tuple[int, ...]`."""
        kinds = [kind for kind in get_args(self.type) if kind not in (NoneType, ...)]
        return kinds[0] if kinds else self.type

    @property
    def nested(self) -> bool:
        """Whether each of its values is a list of texts."""
        return self.several and get_origin(self.value_type) is Sequence

    def check_type(self, value: Any) -> None:
        """Raise UsageError for a value of another type; a single text counts as a list of one."""
        kind = list if self.several else self.value_type
        wanted: Any = (int, float) if kind is float else (list, tuple, str) if kind is list else kind
        is_wrong_flag = isinstance(value, bool) and kind is not bool
        if is_wrong_flag or not isinstance(value, wanted):
            words = _WORDS[kind]
            raise UsageError(f"{self.name}: '{shown(value)}' is not {words}", f"Use {words}.")
        if self.several and not all(self._fits(one) for one in value):
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


Spec = TypeVar("Spec", bound=OptionSpec)


def option(default: Any, *, help: str, **known: Any) -> Any:
    """Declare an option as a field: its default, its help text, and what else its `OptionSpec` knows."""
    return dataclasses.field(default=default, metadata={"help": help, **known})


def specs_of(options: Any, kind: type[Spec]) -> list[Spec]:
    """The options that the fields of a dataclass declare, in their order."""
    return [
        kind(name=field.name, type=field.type, default=field.default, **field.metadata)
        for field in dataclasses.fields(options)
    ]


def shown(value: Any) -> str:
    """A value for a message, as a sweep file has it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
