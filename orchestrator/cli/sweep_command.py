"""Commands that take a sweep file or a preset: its options are added to those that were typed."""

from collections.abc import Collection, Iterator, Sequence
from typing import Any

from hlbgpt_core.errors import HlbqError
from orchestrator.cli.parsing import TOGETHER_MARK, Rewriter, VariadicCommand
from orchestrator.errors import UsageError
from orchestrator.sweep.options import axes_of
from orchestrator.sweep.sweep_file import SweepFile, read_sweep_file
from orchestrator.sweep.sweep_presets import preset_path


class SweepCommand(VariadicCommand):
    """A command whose positional argument is a sweep file, or whose --preset names one. Typed options replace the
    file's."""

    def rewritten(self, args: Sequence[str], params: Sequence[Any]) -> list[str]:
        """The arguments, with those of the sweep file in front. Raises UsageError, naming the file, for mistakes in
        it."""
        rewriter = Rewriter.of(params, file_ending=".toml")
        words = list(rewriter.rewrite(args))
        path = _file_of(rewriter)
        if path is None:
            return words
        file = read_sweep_file(path)
        try:
            axes_of(file.settings)
            return [*Rewriter.of(params).rewrite(list(_as_typed(file, rewriter.seen))), *words]
        except HlbqError as error:
            raise UsageError(f"{path}: {error.message}", error.hint) from None


def _file_of(rewriter: Rewriter) -> str | None:
    """The sweep file that was given, by path or as a preset."""
    preset, paths = rewriter.seen.get("preset"), rewriter.arguments
    if preset and paths:
        raise UsageError(
            f"--preset {preset[0]} was given with the sweep file '{paths[0]}'",
            f"Use one of them, or print the preset and edit it: hlbq preset {preset[0]} > mine.toml",
        )
    if preset:
        return str(preset_path(preset[0]))
    return paths[0] if paths else None


def _as_typed(file: SweepFile, typed: Collection[str]) -> Iterator[str]:
    for name, values in file.settings.items():
        if name not in typed:
            yield from (f"--{name}={_text(value)}" for value in values)
    for name, value in file.options.items():
        if name in typed:
            continue
        if isinstance(value, list):
            yield from (f"--{name}={_text(one)}" for one in value)
        else:
            yield f"--{name}={_text(value)}"


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return TOGETHER_MARK.join(value) if isinstance(value, list) else str(value)
