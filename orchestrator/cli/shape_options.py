"""The options of `hlbq submit` and `hlbq run` that give a sweep another shape than the product of its axes."""

from dataclasses import dataclass, field
from typing import Annotated

import typer

from orchestrator.cli.option_groups import OptionGroup
from orchestrator.cli.parsing import TOGETHER, TOGETHER_MARK
from orchestrator.sweep.shapes import Shape

SHAPE = "Sweep: shape"


@dataclass(frozen=True, kw_only=True)
class ShapeOptions(OptionGroup):
    """How the values of the axes are combined, and which combinations are left out."""

    zip: Annotated[
        list[str],
        typer.Option(
            "--zip",
            metavar=TOGETHER,
            help="Walk these settings together, first value with first; may be given again for others.",
            rich_help_panel=SHAPE,
        ),
    ] = field(default_factory=list)
    where: Annotated[
        list[str],
        typer.Option(
            "--where",
            metavar="EXPRESSION...",
            help="Keep only arms for which this is true, for instance 'width / num_heads >= 64'. (The --where "
            "NAME=VALUE of other commands chooses runs that are stored.)",
            rich_help_panel=SHAPE,
        ),
    ] = field(default_factory=list)
    one_at_a_time: Annotated[
        bool,
        typer.Option(
            "--one_at_a_time",
            help="A base arm of every setting's first value, and an arm for each other value of one setting.",
            rich_help_panel=SHAPE,
        ),
    ] = False
    random: Annotated[
        int | None,
        typer.Option(
            "--random",
            min=1,
            help="Draw so many combinations: from lists evenly, from a range such as 1e-4..1e-1 on a log scale.",
            rich_help_panel=SHAPE,
        ),
    ] = None
    random_seed: Annotated[
        int,
        typer.Option("--random_seed", min=0, help="The same one draws the same arms.", rich_help_panel=SHAPE),
    ] = 0

    def shape(self) -> Shape:
        """The shape that was asked for."""
        return Shape(
            zips=tuple(_names(text) for text in self.zip),
            where=tuple(self.where),
            one_at_a_time=self.one_at_a_time,
            random_draws=self.random,
            random_seed=self.random_seed if self.random is not None else 0,
        )


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip().replace("-", "_") for name in text.split(TOGETHER_MARK))
