"""The options of `hlbq submit` and `hlbq run`: settings, and the options of a sweep, typed or in a sweep file."""

import inspect
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

from hlbgpt_core.errors import HlbqError
from hlbgpt_core.settings import specs
from orchestrator.cli.option_groups import OptionGroup, spec_parameter
from orchestrator.cli.parsing import TOGETHER_MARK, CommandLine, VariadicCommand
from orchestrator.errors import UsageError
from orchestrator.sweep.option_spec import OptionSpec
from orchestrator.sweep.options import axes_of, option_help, panel_of
from orchestrator.sweep.sweep_file import SweepFile, preset_path, read_sweep_file
from orchestrator.sweep.sweep_options import GROWTH, SweepOptions

_KINDS: Mapping[type, str] = {int: "INT...", float: "NUMBER...", bool: "0|1...", str: "TEXT..."}


@dataclass(frozen=True, kw_only=True)
class GivenSettings(OptionGroup):
    """The settings that were typed, as text. Each takes one value or several."""

    texts: Mapping[str, Sequence[str]]

    @classmethod
    def option_parameters(cls, command: str) -> Sequence[inspect.Parameter]:
        """One option for each setting, in the order of the fields; each is a list of texts, empty if not given."""
        found = []
        for name, spec in specs().items():
            shown: dict[str, Any] = {"help": option_help(spec), "panel": panel_of(name), "metavar": _KINDS[spec.type]}
            found.append(spec_parameter(OptionSpec(name=name, type=tuple[str, ...], default=(), **shown)))
        return found

    @classmethod
    def from_options(cls, values: Mapping[str, Any], command: str) -> Self:
        """The settings among `values` that were given."""
        return cls(texts={name: tuple(texts) for name, texts in values.items() if texts})


@dataclass(frozen=True, kw_only=True)
class PolicyOptions(SweepOptions):
    """The options of `hlbq decide`: those of a sweep that say how it grows, and the baseline."""

    decide: bool = True

    @classmethod
    def options(cls) -> Sequence[OptionSpec]:
        """Every option, in the order of the fields."""
        known = SweepOptions.options()
        return [one for one in known if one.name == "baseline" or (one.panel == GROWTH and one.name != "decide")]


class SweepCommand(VariadicCommand):
    """A command whose positional argument is a sweep file, or whose --preset names one. Typed options replace the
    file's."""

    def read(self, args: Sequence[str], params: Sequence[Any]) -> CommandLine:
        """What the arguments give, and the sweep file. Raises UsageError, naming the file, for mistakes in it."""
        typed = CommandLine.of(params, file_ending=".toml").read(args)
        path = _file_of(typed)
        if path is None:
            return typed
        file = read_sweep_file(path)
        try:
            axes_of(file.settings)
            of_file = CommandLine.of(params).read(list(_as_typed(file, typed.given)))
        except HlbqError as error:
            raise UsageError(f"{path}: {error.message}", error.hint) from None
        return replace(typed, given=of_file.given | typed.given)


def _file_of(line: CommandLine) -> str | None:
    """The sweep file that was given, by path or as a preset."""
    preset, path = line.given.get("preset"), line.given.get("file")
    if preset and path:
        raise UsageError(
            f"--preset {preset} was given with the sweep file '{path}'",
            f"Use one of them, or print the preset and edit it: hlbq preset {preset} > mine.toml",
        )
    return str(preset_path(preset)) if preset else path


def _as_typed(file: SweepFile, typed: Collection[str]) -> Iterator[str]:
    for name, value in {**file.settings, **file.options}.items():
        if name not in typed:
            yield from (f"--{name}={_text(one)}" for one in (value if isinstance(value, list) else [value]))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return TOGETHER_MARK.join(value) if isinstance(value, list) else str(value)
