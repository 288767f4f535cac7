"""Commands that take a sweep file: its settings and options go onto the command line, behind what was typed."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, get_args, get_origin, get_type_hints

from hlbgpt_core.errors import HlbqError
from orchestrator.cli.parsing import TOGETHER_MARK, Rewriter, VariadicCommand
from orchestrator.cli.sweep_options import SweepOptions
from orchestrator.errors import UsageError
from orchestrator.sweep.options import axes_of
from orchestrator.sweep.sweep_file import SweepFile, read_sweep_file


class SweepCommand(VariadicCommand):
    """A command whose positional argument is a sweep file. An option that was typed replaces the file's."""

    def rewritten(self, args: Sequence[str], params: Sequence[Any]) -> list[str]:
        """The arguments, with those of the sweep file in front. Raises UsageError, naming the file, for its faults."""
        rewriter = Rewriter.of(params, file_ending=".toml")
        words = list(rewriter.rewrite(args))
        if len(rewriter.arguments) != 1:
            return words
        path = rewriter.arguments[0]
        file = read_sweep_file(path, option_types())
        try:
            axes_of(file.settings)
            return [*Rewriter.of(params).rewrite(list(_as_typed(file, rewriter.seen))), *words]
        except HlbqError as error:
            raise UsageError(f"{path}: {error.message}", error.hint) from None


def option_types() -> Mapping[str, type]:
    """The types of the keys of a sweep file's table [sweep]: those of SweepOptions, `list` for all lists."""
    hints = get_type_hints(SweepOptions)
    return {name: _plain_type(hint) for name, hint in hints.items() if name != "file"}


def _plain_type(hint: Any) -> type:
    if get_origin(hint) is list:
        return list
    kinds = [kind for kind in get_args(hint) if kind is not type(None)]
    found: type = kinds[0] if kinds else hint
    return found


def _as_typed(file: SweepFile, typed: set[str]) -> Iterator[str]:
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
