"""How hlbq reads its command line: options with several values, in any spelling that people use.

    --depth 4 8 --width=192 384 -cw

An option that takes a list goes on until the next option; a negative number is a value, not an option. In a
command with positional arguments it ends where a word does not fit its type (`--sweep 3 4 results.csv`); `--`
ends it anywhere. Dashes and underscores in long names are the same. An option with the metavar TOGETHER takes the
words of one occurrence as one value, a list: `--zip depth width` is `--zip=depth,width`. A flag may be given as
`--flag=true` or `--flag=false`, which counts as not given, even if a sweep file sets it.

There is no shorter way: typer's options take a fixed number of values, and argparse's nargs="+" refuses
`--sweep 3 4 results.csv`. typer declares the commands and prints their help; it reads none of their words, and so
never loads pydantic, a third of the time of `hlbq status`.
"""

import difflib
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, get_args

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from orchestrator.errors import UsageError
from orchestrator.sweep.option_spec import LARGEST_WHOLE_NUMBER

TOGETHER = "NAME NAME..."
TOGETHER_MARK = ","

# A value that an option with this metavar takes, for messages.
_EXAMPLES = MappingProxyType(
    {
        "INT...": "4 8",
        "NUMBER...": "0.5 1",
        "0|1...": "1",
        "NAME": "depth",
        "NAME...": "depth",
        "NAME=VALUE...": "depth=4",
        "ROWS COLUMNS": "depth width",
        TOGETHER: "depth width",
    }
)


def same_spelling(name: str) -> str:
    """An option's name with the dashes inside it turned into underscores; leading dashes stay."""
    body = name.lstrip("-")
    return name[: len(name) - len(body)] + body.replace("-", "_")


class VariadicCommand(TyperCommand):
    """A command whose list options take several values at once, as every command of hlbq is."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Read `args` into the context's parameters; none is left. Raises UsageError, with the nearest option for an
        unknown one."""
        if ctx.resilient_parsing:  # a shell completes what is typed so far
            return super().parse_args(ctx, args)
        line = self.read(args, self.get_params(ctx))
        if line.given.get("help"):
            print(ctx.get_help())
            ctx.exit()
        ctx.params.update(line.values())
        return []

    def read(self, args: Sequence[str], params: Sequence[Any]) -> "CommandLine":
        """What `args` give; a subclass may add to them."""
        return CommandLine.of(params).read(args)


class SuggestingGroup(TyperGroup):
    """A group of commands that suggests the nearest for one that is not there."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as usual. Without arguments the help is shown, and the exit code is 2."""
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            print(ctx.get_help())
            ctx.exit(2)
        for flag in self.get_params(ctx):  # typer would load pydantic to read a flag that is None
            flag.default = flag.default or False
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The command that was typed. Raises UsageError with the nearest one if there is none of that name."""
        known = {same_spelling(name): name for name in self.commands}
        name = same_spelling(args[0])
        if name in known:
            return super().resolve_command(ctx, [known[name], *args[1:]])
        if not name.startswith("-") and not ctx.resilient_parsing:
            near = [known[found] for found in difflib.get_close_matches(name, known, n=1)]
            hint = f"Did you mean '{ctx.command_path} {near[0]}'?" if near else f"See all: {ctx.command_path} --help"
            raise UsageError(f"there is no command '{ctx.command_path} {args[0]}'", hint)
        return super().resolve_command(ctx, args)


@dataclass(frozen=True, kw_only=True)
class CommandLine:
    """One command line. `given` collects values by the parameter's name; a flag that is switched off is None."""

    options: Mapping[str, TyperOption]
    places: Sequence[TyperArgument]
    file_ending: str
    given: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, params: Sequence[Any], *, file_ending: str = "") -> "CommandLine":
        """For a command with these parameters. A word with `file_ending` ends any list: it names a file."""
        named = [param for param in params if not isinstance(param, TyperArgument)]
        return cls(
            options={same_spelling(name): param for param in named for name in (*param.opts, *param.secondary_opts)},
            places=[param for param in params if isinstance(param, TyperArgument)],
            file_ending=file_ending,
        )

    def read(self, args: Sequence[str]) -> "CommandLine":
        """This, with what the arguments give. Raises UsageError for what a command does not take, and for what it
        lacks."""
        left = list(reversed(args))
        while left:
            word = left.pop()
            if word == "--":
                while left:
                    self._argument(left.pop())
            elif word.startswith("--"):
                self._long(word, left)
            elif word.startswith("-") and len(word) > 1 and not self._is_a_negative_argument(word):
                self._bundle(word, left)
            else:
                self._argument(word)
        params = (*self.places, *self.options.values())
        missing = next((param for param in params if param.required and param.name not in self.given), None)
        if missing is not None and not self.given.get("help"):
            raise UsageError(f"{_name_of(missing)} is missing", str(getattr(missing, "help", "")))
        return self

    def values(self) -> dict[str, Any]:
        """The value of every parameter by its name: what was given, else its default."""
        params: list[Any] = [one for one in (*self.places, *self.options.values()) if one.expose_value]
        defaults = {one.name: list(one.default or ()) if _takes_several(one) else one.default for one in params}
        return defaults | {name: value for name, value in self.given.items() if value is not None}

    def _argument(self, word: str) -> None:
        place = self._place()
        if place is None:
            meant = [f"{name} {word}" for name in ("--sweep", "--run") if name in self.options and word.isdecimal()]
            hint = f"Did you mean {' or '.join(meant)}?" if meant else "Options begin with --; add --help to see all."
            raise UsageError(f"'{word}' is one argument too many", hint)
        self._give(place, [_value(place, _name_of(place), word)])

    def _place(self) -> TyperArgument | None:
        """The positional argument that the next word is."""
        return next((place for place in self.places if place.nargs < 0 or place.name not in self.given), None)

    def _give(self, param: Any, values: list[Any]) -> None:
        if _takes_several(param):
            self.given.setdefault(param.name, []).extend(values)
        else:
            [self.given[param.name]] = values

    def _is_a_negative_argument(self, word: str) -> bool:
        """Whether it is the next argument: `hlbq priority -3`, not the letter of an option."""
        place = self._place()
        is_option = word[:2] in self.options or place is None
        return not is_option and _is_number(word) and _element_type(place) in (int, float)

    def _long(self, word: str, left: list[str]) -> None:
        name, equals, value = word.partition("=")
        option = self._option(name)
        if not option.is_flag:
            self._valued(option, name, [value] if equals else [], left)
            return
        if equals and value not in ("true", "false"):
            raise UsageError(f"{name} takes no value, but got '{value}'", f"Write {name} alone.")
        is_on = same_spelling(name) in map(same_spelling, option.opts)
        self.given[str(option.name)] = None if value == "false" else is_on

    def _bundle(self, word: str, left: list[str]) -> None:
        """`-cw`: flags one after the other; what follows a letter that takes values is its first value."""
        for place, letter in enumerate(word[1:], start=2):
            option = self._option(f"-{letter}", typed=word)
            if not option.is_flag:
                attached = word[place:].removeprefix("=")
                self._valued(option, f"-{letter}", [attached] if attached else [], left)
                return
            self.given[str(option.name)] = True

    def _valued(self, option: TyperOption, name: str, words: list[str], left: list[str]) -> None:
        if not words and left and self._is_value(left[-1]):
            words.append(left.pop())
        if not words:
            if left and name.startswith("--") and self._is_no_option(left[-1]):
                hint = f"Write a value that begins with a dash so: {name}={shlex.quote(left[-1])}"
                raise UsageError(f"{name}: '{left[-1]}' begins with a dash, as options do", hint)
            raise UsageError(f"{name} needs a value", _for_instance(name, option))
        if option.multiple:
            while left and self._is_value(left[-1]) and self._fits(option, left[-1]):
                words.append(left.pop())
        elif option.name in self.given:
            raise UsageError(f"{name} was given twice, but takes one value", "Keep one of the two.")
        values = [_value(option, name, word) for word in words]
        if option.metavar == TOGETHER:
            values = [[one for value in values for one in value.split(TOGETHER_MARK)]]
        self._give(option, values)

    def _option(self, name: str, typed: str = "") -> TyperOption:
        option = self.options.get(same_spelling(name))
        if option is None:
            word = typed or name
            if " " in word and self.places:
                hint = f"Put -- before it: -- {shlex.quote(word)}"
                raise UsageError(f"'{word}' begins with a dash, as options do", hint)
            inside = f" (in '{typed}')" if typed not in ("", name) else ""
            raise UsageError(f"there is no option '{name}'{inside}", self._nearest(typed or name))
        return option

    def _nearest(self, name: str) -> str:
        # Without the dashes, which all have in common.
        long_names = sorted(option.lstrip("-") for option in self.options if option.startswith("--"))
        near = [f"--{one}" for one in difflib.get_close_matches(same_spelling(name).lstrip("-"), long_names, n=1)]
        if not near and not name.startswith("--"):
            near = [f"-{letter}" for letter in name[1:] if f"-{letter}" in self.options]
        return f"Did you mean {near[0]}?" if near else "Add --help to see all options."

    def _is_no_option(self, word: str) -> bool:
        """Whether a word that begins with a dash cannot be meant as an option: a text, or a range from below 0."""
        return " " in word or not (word.startswith("--") or word[:2] in self.options)

    def _is_value(self, word: str) -> bool:
        return not word.startswith("-") or word == "-" or _is_number(word)

    def _fits(self, option: TyperOption, word: str) -> bool:
        """Whether the next word belongs to the list, in a command that also takes positional arguments."""
        if self.file_ending:
            return not word.endswith(self.file_ending) or ":" in word
        if not self.places:
            return True
        choices = _choices(option)
        return _is_number(word) if _element_type(option) in (int, float) else not choices or word in choices


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _name_of(param: Any) -> str:
    """An option or a positional argument, as the help names it."""
    return str(param.opts[0]) if isinstance(param, TyperOption) else param.metavar or param.name.upper()


def _element_type(param: Any) -> Any:
    """The type of one value: int for `list[int]`."""
    annotation = param.type_descriptor.annotation
    return (*get_args(annotation), annotation)[0]


def _choices(option: Any) -> Sequence[str]:
    found = option.type_descriptor.choices if option.type_descriptor.is_choice else None
    return [str(getattr(choice, "value", choice)) for choice in found or ()]


def _takes_several(param: Any) -> bool:
    return bool(param.multiple or param.nargs < 0)


def _value(param: Any, name: str, word: str) -> Any:
    """One value of the parameter's type. Raises UsageError, with the word, for what that type can't read."""
    kind, choices, low, high = _element_type(param), _choices(param), param.min, param.max
    if "\0" in word:
        raise UsageError(f"{name}: {word!r} has a zero byte", "Leave it out.")
    if choices and word not in choices:
        near = difflib.get_close_matches(word, choices, n=1)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        raise UsageError(f"{name}: '{word}' is not one of the choices", f"{hint}Use one of: {', '.join(choices)}.")
    if kind is int and not re.fullmatch(r"[+-]?[0-9]+", word):
        raise UsageError(f"{name}: '{word}' is not a whole number", _for_instance(name, param))
    # By length first: Python refuses numbers of thousands of digits.
    if kind is int and (len(word) > 20 or abs(int(word)) >= LARGEST_WHOLE_NUMBER):
        raise UsageError(f"{name}: {word} is too large", "Use a value below 2**63.")
    if kind is float and not (_is_number(word) and math.isfinite(float(word))):
        raise UsageError(f"{name}: '{word}' is not a finite number", _for_instance(name, param))
    value = kind(word)
    if kind in (int, float) and low is not None and value < low:
        raise UsageError(f"{name}: {word} is too small", f"Use a value of at least {low}.")
    if kind in (int, float) and high is not None and value > high:
        raise UsageError(f"{name}: {word} is too large", f"Use a value of at most {high}.")
    return value


def _for_instance(name: str, param: Any) -> str:
    """How a value is given: an option by its name, an argument by its place alone."""
    return f"For instance: {name} {_example(param)}" if name.startswith("-") else f"For instance: {_example(param)}"


def _example(option: Any) -> str:
    """A value that the option takes, for a message."""
    choices = _choices(option)
    if choices:
        return choices[0]
    number = {int: "4", float: "0.5"}.get(_element_type(option))
    metavar = option.metavar or "VALUE"
    return number or _EXAMPLES.get(metavar) or metavar.removesuffix("...").partition("|")[0]
