"""`hlbq preset`: the sweep files that come with hlbq."""

from typing import Annotated

import typer

from orchestrator.cli.output import say
from orchestrator.sweep.sweep_presets import preset_names, preset_summary, preset_text


def preset(
    name: Annotated[str | None, typer.Argument(metavar="NAME", help="The preset to print (default: list all).")] = None,
) -> None:
    """List the presets of `hlbq submit --preset`, or print one as a sweep file.

    hlbq preset tiny-cpu > mine.toml

    hlbq submit mine.toml
    """
    if name is not None:
        say(preset_text(name), end="")
        return
    names = preset_names()
    for one in names:
        say(f"{one:{max(map(len, names))}}  {preset_summary(one)}")
