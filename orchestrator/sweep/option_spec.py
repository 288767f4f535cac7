"""One option of a command, a sweep or a worker, as a dataclass field declares it."""

import dataclasses
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin

from orchestrator.errors import UsageError

LARGEST_WHOLE_NUMBER = 2**63  # the limit of both databases
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
    `flags` are its spellings on the command line if not `--name`, `example` a value for a message, as a sweep file has
    it. With `or_number` its text may be given as a number. A `hidden` one is in no help. `commands` are those that take
    it (None: all that take its dataclass; none: only our own processes pass it on).
    """

    name: str
    type: Any
    default: Any
    help: str
    flags: tuple[str, ...] = ()
    panel: str | None = None
    minimum: float | None = None
    maximum: float | None = None
    metavar: str | None = None
    example: str = ""
    or_number: bool = False
    hidden: bool = False
    commands: tuple[str, ...] | None = None

    @property
    def spellings(self) -> Sequence[str]:
        """How it is written on a command line; `--on/--off` for a flag with two sides."""
        return self.flags or (f"--{self.name}",)

    @property
    def several(self) -> bool:
        """Whether it takes several values."""
        return get_origin(self._first_type) in (tuple, Sequence)

    @property
    def value_type(self) -> Any:
        """The type of one value: int for `int | None` and for `tuple[int, ...]`."""
        return get_args(self._first_type)[0] if self.several else self._first_type

    @property
    def _first_type(self) -> Any:
        """Its type, or the first of a union: what the command line gives."""
        return get_args(self.type)[0] if isinstance(self.type, UnionType) else self.type

    @property
    def nested(self) -> bool:
        """Whether each of its values is a list of texts."""
        return self.several and get_origin(self.value_type) is Sequence

    def typed(self, value: Any) -> Any:
        """The value in Python's own types. Raises UsageError for one of another type; a single text counts as a list of
        one."""
        kind = list if self.several else self.value_type
        value = several_of(value) if self.several and not isinstance(value, str) else plain(value)
        if self.or_number and isinstance(value, int | float) and not isinstance(value, bool):
            value = str(value)
        wanted: Any = (int, float) if kind is float else (list, tuple, str) if kind is list else kind
        is_wrong_flag = isinstance(value, bool) and kind is not bool
        if is_wrong_flag or not isinstance(value, wanted):
            words = _WORDS[kind]
            raise UsageError(f"{self.name}: '{shown(value)}' is not {words}", f"Use {words}.")
        if self.several and not all(self._fits(one) for one in value):
            hint = f"Write {self.example}." if self.example else "Use a list of names."
            raise UsageError(f"{self.name}: '{shown(value)}' is not a list of the right form", hint)
        return value

    def check_range(self, value: Any) -> None:
        """Raise UsageError for a number below the minimum or above the maximum, and for one that no command takes."""
        if isinstance(value, float) and not math.isfinite(value):
            raise UsageError(f"{self.name}: '{value}' is not a finite number", "Use a finite number.")
        if isinstance(value, int) and abs(value) >= LARGEST_WHOLE_NUMBER:
            raise UsageError(f"{self.name}: {value} is too large", "Use a value below 2**63.")
        if self.minimum is not None and not value >= self.minimum:
            raise UsageError(f"{self.name}: {value} is too small", f"Use a value of at least {self.minimum}.")
        if self.maximum is not None and not value <= self.maximum:
            raise UsageError(f"{self.name}: {value} is too large", f"Use a value of at most {self.maximum}.")

    def _fits(self, one: Any) -> bool:
        if not self.nested:
            return isinstance(one, str) and bool(one)
        return isinstance(one, list | tuple) and all(isinstance(name, str) and name for name in one)


Spec = TypeVar("Spec", bound=OptionSpec)


def option(default: Any, *flags: str, help: str, **known: Any) -> Any:
    """Declare an option as a field: its default, its spellings if not `--name`, its help text, and what else its
    `OptionSpec` knows."""
    return dataclasses.field(default=default, metadata={"flags": flags, "help": help, **known})


def specs_of(options: Any, kind: type[Spec]) -> list[Spec]:
    """The options that the fields of a dataclass declare, in their order."""
    return [
        kind(name=field.name, type=field.type, default=field.default, **field.metadata)
        for field in dataclasses.fields(options)
    ]


def plain(value: Any) -> Any:
    """A number of numpy's (or of an array without dimensions) as Python's own, and a path as text; else the value."""
    if getattr(value, "ndim", None) == 0:
        return value.item()
    return os.fspath(value) if isinstance(value, os.PathLike) else value


def several_of(value: Any) -> list[Any]:
    """The values that were given, as `plain` has them: those of any list, array or range, or the one alone."""
    value = plain(value)
    is_one = isinstance(value, str | bytes | Mapping) or not isinstance(value, Iterable)
    return [value] if is_one else [plain(one) for one in value]


def underscored(values: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The values with the dashes of names as underscores. Raises UsageError, which says `where`, for a name in both
    spellings."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        spelt = str(name).replace("-", "_")
        if spelt in found:
            raise UsageError(f"{where} has {spelt} twice, with dashes and without", "Keep one of the two.")
        found[spelt] = value
    return found


def typed_as(kind: Any, name: str, value: Any) -> Any:
    """The argument `name` of a call as a field of type `kind` would have it; None stays. Raises UsageError as `typed`
    does."""
    return None if value is None else OptionSpec(name=name, type=kind, default=None, help="").typed(value)


def check_arguments(arguments: Any) -> None:
    """For the `__post_init__` of a frozen dataclass of a call's arguments: its texts, numbers, flags and lists of them
    become Python's own, and None the default. Raises UsageError for a value of another type."""
    for field in dataclasses.fields(arguments):
        kinds = [kind for kind in get_args(field.type) or (field.type,) if kind is not NoneType]
        if len(kinds) == 1 and kinds[0] in _WORDS:
            value = typed_as(field.type, field.name, getattr(arguments, field.name))
            object.__setattr__(arguments, field.name, field.default if value is None else value)


def shown(value: Any) -> str:
    """A value for a message, as a sweep file has it."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
