"""How hlbq reads its command line: options with several values, in any spelling that people use.

`VariadicCommand` rewrites the arguments before typer sees them:

    --depth 4 8 --width=192 384 -cw    becomes    --depth=4 --depth=8 --width=192 --width=384 -c -w

An option that takes a list goes on until the next option; a negative number is a value, not an option. In a
command with positional arguments it ends where a word does not fit its type (`--sweep 3 4 results.csv`); `--`
ends it anywhere. Dashes and underscores in long names are the same. An option with the metavar TOGETHER takes the
words of one occurrence as one value: `--zip depth width` becomes `--zip=depth,width`. A flag may be given as
`--flag=true` or `--flag=false`, which counts as not given, even if a sweep file sets it.
"""

import difflib
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from typing import Any

from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from orchestrator.errors import UsageError

# There is no shorter way: typer's options take a fixed number of values, and argparse's nargs="+" refuses
# `--sweep 3 4 results.csv`. `app.command(cls=...)` is a public parameter; arguments are rewritten before typer parses.
TOGETHER = "NAME NAME..."
TOGETHER_MARK = ","


def same_spelling(name: str) -> str:
    """An option's name with the dashes inside it turned into underscores; leading dashes stay."""
    body = name.lstrip("-")
    return name[: len(name) - len(body)] + body.replace("-", "_")


class VariadicCommand(TyperCommand):
    """A command whose list options take several values at once. Use it as `@app.command(cls=VariadicCommand)`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Rewrite `args`, then parse as usual. Raises UsageError with the nearest option for an unknown one."""
        params = self.get_params(ctx)
        convert_lightly(params)
        if not ctx.resilient_parsing:
            args = self.rewritten(args, params)
        return super().parse_args(ctx, args)

    def rewritten(self, args: Sequence[str], params: Sequence[Any]) -> list[str]:
        """The arguments as typer takes them; a subclass may add to them."""
        return list(Rewriter.of(params).rewrite(args))


class LightGroup(TyperGroup):
    """A group of commands whose own options are converted lightly."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse as usual. Without arguments the help is shown, and the exit code is 2."""
        convert_lightly(self.get_params(ctx))
        if not args and self.no_args_is_help and not ctx.resilient_parsing:
            print(ctx.get_help())
            ctx.exit(2)
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
class _LightConversion:
    """Values of one plain type, from text that `_value_check` has passed."""

    element: Any

    def coerce(self, value: Any, param: Any, ctx: Any) -> Any:
        """The typed value, or list of them; the name and the arguments are typer's."""
        several = param.multiple or param.nargs == -1
        if value is None:
            return () if several else None
        return [self.element(one) for one in value] if several else self.element(value)


def convert_lightly(params: Sequence[Any]) -> None:
    """Convert text, numbers and choices here: typer would load pydantic, a third of the time of `hlbq status`.

    Left to typer: paths and other types, and values from the environment.
    """
    for param in params:
        element = _element_type(param)
        is_text = element in (str, bool)
        is_checked = element in (int, float) or _is_enum(element)
        if (is_text or is_checked) and not param.envvar:
            param.get_runtime_param = partial(_LightConversion, element=element)


def _is_enum(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Enum)


@dataclass(frozen=True, kw_only=True)
class Rewriter:
    """Rewrites one command line. `seen` collects options with their values, `arguments` the other words."""

    options: Mapping[str, TyperOption]
    places: Sequence[TyperArgument]
    file_ending: str
    seen: dict[str, Sequence[str]] = field(default_factory=dict)
    arguments: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, params: Sequence[Any], *, file_ending: str = "") -> "Rewriter":
        """For a command with these parameters. A word with `file_ending` ends any list: it names a file."""
        named = [param for param in params if not isinstance(param, TyperArgument)]
        return cls(
            options={same_spelling(name): param for param in named for name in (*param.opts, *param.secondary_opts)},
            places=[param for param in params if isinstance(param, TyperArgument)],
            file_ending=file_ending,
        )

    def rewrite(self, args: Sequence[str]) -> Iterator[str]:
        """The arguments as typer takes them: one option, one value; what is no option stands last.

        Raises UsageError for what a command does not take, and for what it lacks.
        """
        left = list(reversed(args))
        while left:
            word = left.pop()
            if word == "--":
                while left:
                    self._argument(left.pop())
            elif word.startswith("--"):
                yield from self._long(word, left)
            elif word.startswith("-") and len(word) > 1 and not self._is_a_negative_argument(word):
                yield from self._bundle(word, left)
            else:
                self._argument(word)
        if "help" not in self.seen:
            self._check_nothing_is_missing()
        yield from ("--", *self.arguments) if self.arguments else ()

    def _argument(self, word: str) -> None:
        place = self._place()
        if place is None:
            raise UsageError(f"'{word}' is one argument too many", "Options begin with --; add --help to see all.")
        _value_check(place, _name_of(place))(word)
        self.arguments.append(word)

    def _place(self) -> TyperArgument | None:
        """The positional argument that the next word is."""
        several = [place for place in self.places if place.nargs < 0]
        return next(iter([*self.places[len(self.arguments) :], *several]), None)

    def _is_a_negative_argument(self, word: str) -> bool:
        """Whether it is the next argument: `hlbq priority -3`, not the letter of an option."""
        place = self._place()
        return _is_number(word) and word[:2] not in self.options and _element_type(place) in (int, float)

    def _check_nothing_is_missing(self) -> None:
        needed: list[Any] = [place for place in self.places[len(self.arguments) :] if place.required]
        needed += [one for one in self.options.values() if one.required and one.name not in self.seen]
        if needed:
            raise UsageError(f"{_name_of(needed[0])} is missing", str(getattr(needed[0], "help", "")))

    def _long(self, word: str, left: list[str]) -> Iterator[str]:
        name, equals, value = word.partition("=")
        option = self._option(name)
        if _is_flag(option):
            self.seen[str(option.name)] = ()
            if equals and value not in ("true", "false"):
                raise UsageError(f"{name} takes no value, but got '{value}'", f"Write {name} alone.")
            if value != "false":
                yield same_spelling_of(option, name)
        else:
            yield from self._valued(option, name, [value] if equals else [], left)

    def _bundle(self, word: str, left: list[str]) -> Iterator[str]:
        """`-cw`: flags one after the other; what follows a letter that takes values is its first value."""
        for place, letter in enumerate(word[1:], start=2):
            option = self._option(f"-{letter}", typed=word)
            if not _is_flag(option):
                attached = word[place:].removeprefix("=")
                yield from self._valued(option, f"-{letter}", [attached] if attached else [], left)
                return
            self.seen[str(option.name)] = ()
            yield f"-{letter}"

    def _valued(self, option: TyperOption, name: str, values: list[str], left: list[str]) -> Iterator[str]:
        if not values and left and self._is_value(left[-1]):
            values.append(left.pop())
        if not values:
            raise UsageError(f"{name} needs a value", f"For instance: {name} {_example(option)}")
        if option.multiple:
            fits = self._fit(option)
            while left and self._is_value(left[-1]) and fits(left[-1]):
                values.append(left.pop())
        elif option.name in self.seen:
            raise UsageError(f"{name} was given twice, but takes one value", "Keep one of the two.")
        if option.metavar == TOGETHER:
            values = [TOGETHER_MARK.join(values)]
        self.seen[str(option.name)] = values
        spelled = same_spelling_of(option, name)
        check_value = _value_check(option, name)
        for value in values:
            check_value(value)
            yield from ([f"{spelled}={value}"] if spelled.startswith("--") else [spelled, value])

    def _option(self, name: str, typed: str = "") -> TyperOption:
        option = self.options.get(same_spelling(name))
        if option is None:
            inside = f" (in '{typed}')" if typed not in ("", name) else ""
            raise UsageError(f"there is no option '{name}'{inside}", self._nearest(typed or name))
        return option

    def _nearest(self, name: str) -> str:
        long_names = sorted(option for option in self.options if option.startswith("--"))
        near = difflib.get_close_matches(f"--{same_spelling(name).lstrip('-')}", long_names, n=1)
        return f"Did you mean {near[0]}?" if near else "Add --help to see all options."

    def _is_value(self, word: str) -> bool:
        return not word.startswith("-") or word == "-" or _is_number(word)

    def _fit(self, option: TyperOption) -> Callable[[str], bool]:
        """Whether the next word belongs to the list, in a command that also takes positional arguments."""
        kind, choices, ending = _element_type(option), _choices(option), self.file_ending
        if ending:
            return lambda word: not word.endswith(ending) or ":" in word
        if not self.places or (kind not in (int, float) and not choices):
            return lambda word: True
        return _is_number if kind in (int, float) else lambda word: word in choices


def same_spelling_of(option: TyperOption, name: str) -> str:
    """The name as the option declares it, whichever way `name` was typed."""
    wanted = same_spelling(name)
    return next(known for known in (*option.opts, *option.secondary_opts) if same_spelling(known) == wanted)


def _is_flag(option: TyperOption) -> bool:
    return bool(getattr(option, "is_flag", False) or getattr(option, "count", False))


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True


def _name_of(param: Any) -> str:
    """An option or a positional argument, as the help names it."""
    return str(param.opts[0]) if isinstance(param, TyperOption) else param.metavar or param.name.upper()


def _element_type(option: Any) -> Any:
    """The type of one value: int for `list[int]` and for `int | None`."""
    annotation = option.type_descriptor.annotation
    kinds = [kind for kind in getattr(annotation, "__args__", ()) if kind is not type(None)]
    return kinds[0] if kinds else annotation


# The limit of both databases.
LARGEST_WHOLE_NUMBER = 2**63


def _choices(option: Any) -> Sequence[str]:
    found = option.type_descriptor.choices if option.type_descriptor.is_choice else None
    return [str(getattr(choice, "value", choice)) for choice in found or ()]


def _value_check(option: Any, name: str) -> Callable[[str], None]:
    """A function that raises UsageError, with the value, for what the option's type can't read."""
    kind, choices, low, high = _element_type(option), _choices(option), option.min, option.max

    def check(value: str) -> None:
        if "\0" in value:
            raise UsageError(f"{name}: {value!r} has a zero byte", "Leave it out.")
        if choices and value not in choices:
            near = difflib.get_close_matches(value, choices, n=1)
            hint = f"Did you mean '{near[0]}'? " if near else ""
            raise UsageError(f"{name}: '{value}' is not one of the choices", f"{hint}Use one of: {', '.join(choices)}.")
        if kind is int and not re.fullmatch(r"[+-]?[0-9]+", value):
            raise UsageError(f"{name}: '{value}' is not a whole number", f"For instance: {name} {_example(option)}")
        # By length first: Python refuses numbers of thousands of digits.
        if kind is int and (len(value) > 20 or abs(int(value)) >= LARGEST_WHOLE_NUMBER):
            raise UsageError(f"{name}: {value} is too large", "Use a value below 2**63.")
        if kind is float and not (_is_number(value) and math.isfinite(float(value))):
            raise UsageError(f"{name}: '{value}' is not a finite number", f"For instance: {name} {_example(option)}")
        if kind in (int, float) and low is not None and float(value) < low:
            raise UsageError(f"{name}: {value} is too small", f"Use a value of at least {low}.")
        if kind in (int, float) and high is not None and float(value) > high:
            raise UsageError(f"{name}: {value} is too large", f"Use a value of at most {high}.")

    return check


def _example(option: Any) -> str:
    """A value that the option takes, for a message."""
    choices = _choices(option)
    if choices:
        return choices[0]
    wanted = {int: "4", float: "0.5"}.get(_element_type(option))
    return wanted or {"INT...": "4 8", "NUMBER...": "0.5 1", "0|1...": "1"}.get(option.metavar or "", "VALUE")
