"""`hlbq plot`: curves as a figure."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, TypeVar

import typer

from orchestrator.cli.common import DatabaseOption, RunFilterOptions, counted, note
from orchestrator.cli.export import chosen_or_latest
from orchestrator.cli.option_groups import OptionGroup, grouped
from orchestrator.cli.parsing import VariadicCommand
from orchestrator.errors import UsageError

Choice = TypeVar("Choice")


@dataclass(frozen=True, kw_only=True)
class PlotOptions(OptionGroup):
    """What the figure shows."""

    metric: Annotated[str, typer.Option("--metric", help="What to draw: val_loss, train_acc, grad_norm, ...")] = (
        "val_loss"
    )
    x: Annotated[str, typer.Option("--x", help="Over what.", metavar="steps|epochs|tokens|seconds")] = "tokens"
    band: Annotated[
        str,
        typer.Option(
            "--band",
            help="Around the mean over seeds. auto: the range below 5 seeds, else the 95 % t-interval.",
            metavar="auto|interval|range|seeds|none",
        ),
    ] = "auto"
    log_x: Annotated[bool, typer.Option("--log_x", help="Logarithmic x.")] = False
    log_y: Annotated[bool, typer.Option("--log_y", help="Logarithmic y.")] = False
    smooth: Annotated[
        float,
        typer.Option("--smooth", help="Weight of the past in a moving average, 0 to below 1.", min=0.0, max=0.9999),
    ] = 0.0
    past_shortest: Annotated[
        bool, typer.Option("--past_shortest", help="Go on with the mean after the arm's shortest run has ended.")
    ] = False
    allow_mixed_data: Annotated[
        bool, typer.Option("--allow_mixed_data", help="Draw runs of different versions of the data together.")
    ] = False
    title: Annotated[str, typer.Option("--title", help="A title above the figure.")] = ""
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Read this table, written by hlbq export, and no database.")
    ] = None


def register(app: typer.Typer) -> None:
    """Add `hlbq plot`."""
    app.command("plot", cls=VariadicCommand)(grouped(plot))


def plot(
    how: PlotOptions,
    runs: RunFilterOptions,
    database: DatabaseOption,
    file: Annotated[Path | None, typer.Argument(help="The figure: .png, .svg or .pdf (default: METRIC.png).")] = None,
) -> None:
    """Draw a metric's curves: a line an arm, a band over its seeds.

    Without filters it draws the latest sweep.
    """
    from orchestrator.curve_sets import Axis, Band
    from orchestrator.plots import Drawing, plot_metric

    drawing = Drawing(
        metric=how.metric,
        x=_choice("--x", how.x, Axis),
        band=_choice("--band", how.band, Band),
        log_x=how.log_x,
        log_y=how.log_y,
        smooth=how.smooth,
        past_shortest=how.past_shortest,
        allow_mixed_data=how.allow_mixed_data,
        title=how.title,
    )
    path = file or Path(f"{how.metric}.png")
    if how.csv is not None:
        if runs.given() or database.db:
            raise UsageError("--csv reads a table, and filters and --db choose from a database", "Use one of the two.")
        drawn = plot_metric(how.csv, path, drawing)
    else:
        with database.read() as store:
            drawn = plot_metric(store, path, drawing, chosen_or_latest(runs, store))
    note(f"wrote {path} ({counted(drawn.arms, 'arm')}, {counted(drawn.runs, 'run')})")


def _choice(option: str, text: str, choices: type[Choice]) -> Choice:
    try:
        return choices(text)  # type: ignore[call-arg]  # an enum: called with a value
    except ValueError:
        known = ", ".join(str(choice) for choice in choices)  # type: ignore[attr-defined]
        raise UsageError(f"{option} {text}: no such choice", f"Use one of {known}.") from None
