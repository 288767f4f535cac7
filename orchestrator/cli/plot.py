"""`hlbq plot`: curves and last values as figures."""

from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from orchestrator.cli.common import DatabaseOption, RunFilterOptions, counted, note, warn
from orchestrator.cli.export import chosen_or_latest
from orchestrator.cli.option_groups import OptionGroup, grouped
from orchestrator.cli.parsing import VariadicCommand
from orchestrator.errors import UsageError
from orchestrator.queue.records import RunFilter

if TYPE_CHECKING:
    from orchestrator.plots import Drawn
    from orchestrator.store import Store

KINDS = "Other figures"
# For each kind of figure, the options that only other kinds use.
_WITHOUT_EFFECT = MappingProxyType(
    {
        "final": ("x", "band", "smooth", "past_shortest", "facet", "baseline"),
        "heatmap": ("x", "band", "smooth", "past_shortest", "facet", "log_x", "log_y", "colour", "style", "baseline"),
        "schedules": (
            "metric",
            "band",
            "smooth",
            "facet",
            "baseline",
            "log_x",
            "log_y",
            "allow_mixed_data",
            "allow_mixed_evaluation",
        ),
    }
)
Choice = TypeVar("Choice")


@dataclass(frozen=True, kw_only=True)
class PlotOptions(OptionGroup):
    """What the figure shows."""

    metric: Annotated[str, typer.Option("--metric", help="What to draw: val_loss, train_acc, grad_norm, ...")] = (
        "val_loss"
    )
    x: Annotated[str, typer.Option("--x", help="Over what.", metavar="steps|epochs|tokens|seconds|flops")] = "tokens"
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
        typer.Option(
            "--smooth", help="Weight of the past in a moving average, from 0 to below 1.", min=0.0, max=0.9999
        ),
    ] = 0.0
    past_shortest: Annotated[
        bool, typer.Option("--past_shortest", help="Draw the mean beyond the end of the arm's shortest run.")
    ] = False
    allow_mixed_data: Annotated[
        bool, typer.Option("--allow_mixed_data", help="Draw runs together even if their data differ.")
    ] = False
    allow_mixed_evaluation: Annotated[
        bool, typer.Option("--allow_mixed_evaluation", help="Draw losses of different evaluations together.")
    ] = False
    facet: Annotated[str, typer.Option("--facet", help="One panel per value of this setting.", metavar="NAME")] = ""
    colour: Annotated[
        str, typer.Option("--colour", "--color", help="The setting that chooses the colour.", metavar="NAME")
    ] = ""
    style: Annotated[str, typer.Option("--style", help="The setting that chooses the line style.", metavar="NAME")] = ""
    baseline: Annotated[
        list[str],
        typer.Option(
            "--baseline", help="The arm to mark as the baseline (default: the sweep's).", metavar="NAME=VALUE..."
        ),
    ] = field(default_factory=list)
    title: Annotated[str, typer.Option("--title", help="A title above the figure.")] = ""
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Read this table from hlbq export instead of a database.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class KindOptions(OptionGroup):
    """Figures other than curves."""

    final: Annotated[
        str,
        typer.Option(
            "--final",
            help="The runs' last values against this setting, num_params or flops, with a power-law fit.",
            metavar="NAME",
            rich_help_panel=KINDS,
        ),
    ] = ""
    heatmap: Annotated[
        list[str],
        typer.Option(
            "--heatmap",
            help="Mean last values over two settings: rows, then columns.",
            metavar="ROWS COLUMNS",
            rich_help_panel=KINDS,
        ),
    ] = field(default_factory=list)
    schedules: Annotated[
        bool,
        typer.Option(
            "--schedules",
            help="Learning rate, weight decay, batch size and sequence length.",
            rich_help_panel=KINDS,
        ),
    ] = False

    def name(self) -> str:
        """The option that was given; empty for curves. Raises UsageError for several, or a heat map of one setting."""
        given = [name for name in ("final", "heatmap", "schedules") if getattr(self, name)]
        if len(given) > 1:
            raise UsageError(f"--{' and --'.join(given)} are different figures", "Draw one at a time.")
        if self.heatmap and len(self.heatmap) != 2:
            raise UsageError(
                f"--heatmap takes two settings, not {len(self.heatmap)}", "For instance: --heatmap depth width"
            )
        return given[0] if given else ""


def register(app: typer.Typer) -> None:
    """Add `hlbq plot`."""
    app.command("plot", cls=VariadicCommand)(grouped(plot))


def plot(
    how: PlotOptions,
    kind: KindOptions,
    runs: RunFilterOptions,
    database: DatabaseOption,
    file: Annotated[Path | None, typer.Argument(help="The figure: .png, .svg or .pdf (default: METRIC.png).")] = None,
) -> None:
    """Draw a metric's curves: one line per arm, with a band over its seeds.

    Without filters it draws the latest sweep. --final, --heatmap and --schedules draw other figures.
    """
    from orchestrator.plots.figures import check_ending, save

    path = file or Path(f"{kind.name() or how.metric}.png")
    check_ending(path)
    if how.csv is not None:
        if runs.given() or database.db:
            raise UsageError("--csv reads a table, but filters and --db choose from a database", "Use one of them.")
        drawn = _drawn(how, kind, how.csv, None)
    else:
        with database.read() as store:
            drawn = _drawn(how, kind, store, chosen_or_latest(runs, store))
    save(drawn.figure, path)
    for warning in (*_without_effect(how, kind.name()), *drawn.warnings):
        warn(warning)
    note(f"wrote {path} ({counted(drawn.arms, 'arm')}, {counted(drawn.runs, 'run')})")


def _without_effect(how: PlotOptions, kind: str) -> list[str]:
    plain = PlotOptions()
    idle = [f"--{name}" for name in _WITHOUT_EFFECT.get(kind, ()) if getattr(how, name) != getattr(plain, name)]
    if not idle:
        return []
    named = " and ".join(part for part in (", ".join(idle[:-1]), idle[-1]) if part)
    return [f"{named} {'has' if len(idle) == 1 else 'have'} no effect with --{kind}"]


def _drawn(how: PlotOptions, kind: KindOptions, source: "Store | Path", runs: RunFilter | None) -> "Drawn":
    from orchestrator import plots
    from orchestrator.export.metric_names import Axis
    from orchestrator.plots.curve_sets import Band
    from orchestrator.sweep.baseline import parse_baseline

    mixed = {
        "allow_mixed_data": how.allow_mixed_data,
        "allow_mixed_evaluation": how.allow_mixed_evaluation,
    }
    if kind.name() == "heatmap":
        rows, columns = kind.heatmap
        heat_map = plots.HeatMap(rows=rows, columns=columns, metric=how.metric, title=how.title)
        return plots.plot_final(source, heat_map, runs, **mixed)
    given: dict[str, Any] = {
        "log_x": how.log_x,
        "log_y": how.log_y,
        "colour": how.colour,
        "style": how.style,
        "title": how.title,
    }
    if kind.name() == "final":
        final = plots.FinalDrawing(against=kind.final, metric=how.metric, **given)
        return plots.plot_final(source, final, runs, **mixed)
    drawing = plots.Drawing(
        metric=how.metric,
        x=_choice("--x", how.x, Axis),
        band=_choice("--band", how.band, Band),
        smooth=how.smooth,
        past_shortest=how.past_shortest,
        facet=how.facet,
        baseline=parse_baseline(how.baseline) or None,
        **given,
    )
    if kind.name() == "schedules":
        return plots.plot_schedules(source, drawing, runs)
    return plots.plot_curves(source, drawing, runs, **mixed)


def _choice(option: str, text: str, choices: type[Choice]) -> Choice:
    try:
        return choices(text)  # type: ignore[call-arg]  # an enum: called with a value
    except ValueError:
        known = ", ".join(str(choice) for choice in choices)  # type: ignore[attr-defined]
        raise UsageError(f"{option} {text}: no such choice", f"Use one of {known}.") from None
