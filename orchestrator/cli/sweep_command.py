"""Commands that take a sweep file or a preset: its options are added to those that were typed."""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from typing import Any

from hlbgpt_core.errors import HlbqError
from orchestrator.cli.parsing import TOGETHER_MARK, CommandLine, VariadicCommand
from orchestrator.errors import UsageError
from orchestrator.sweep.options import axes_of
from orchestrator.sweep.sweep_file import SweepFile, read_sweep_file
from orchestrator.sweep.sweep_presets import preset_path


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
