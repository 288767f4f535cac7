"""`hlbq plot`: curves and last values as figures."""

from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from orchestrator.cli.common import DatabaseOption, RunFilterOptions, counted, note, warn
from orchestrator.cli.compare import recorded
from orchestrator.cli.export import chosen_or_latest
from orchestrator.cli.option_groups import OptionGroup, grouped
from orchestrator.cli.parsing import VariadicCommand
from orchestrator.errors import UsageError
from orchestrator.queue.records import RunFilter

if TYPE_CHECKING:
    from orchestrator.plots import Drawn
    from orchestrator.plots.curve_figures import Drawing
    from orchestrator.plots.differences import DrawnDifferences
    from orchestrator.plots.style import Size
    from orchestrator.store import Store

KINDS = "Other figures"
# For each kind of figure, the options that only other kinds use.
_OF_CURVES = ("band", "smooth", "facet")
_WITHOUT_EFFECT = MappingProxyType(
    {
        "final": ("x", *_OF_CURVES, "past_shortest", "baseline"),
        "heatmap": ("x", *_OF_CURVES, "past_shortest", "log_x", "log_y", "colour", "style", "baseline", "by"),
        "schedules": (
            *("metric", *_OF_CURVES, "baseline", "log_x", "log_y"),
            *("allow_mixed_data", "allow_mixed_evaluation"),
        ),
        "difference": (*_OF_CURVES, "log_y", "colour", "style"),
        "effects": (*_OF_CURVES, "log_y", "colour", "style"),
    }
)
Choice = TypeVar("Choice")


@dataclass(frozen=True, kw_only=True)
class PlotOptions(OptionGroup):
    """What the figure shows."""

    metric: Annotated[str, typer.Option("--metric", help="What to draw: val_loss, train_acc, grad_norm, ...")] = (
        "val_loss"
    )
    x: Annotated[
        str,
        typer.Option(
            "--x", help="Over what (default: tokens).", metavar="steps|epochs|tokens|seconds|flops|wall_clock"
        ),
    ] = ""
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
            "--smooth",
            help="Weight of the past a hundredth of a run later, in a moving average; below 1.",
            min=0.0,
            max=0.9999,
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
    by: Annotated[
        list[str],
        typer.Option(
            "--by",
            help="Settings to group by (default: those that differ). Each seed is averaged over the others.",
            metavar="NAME...",
        ),
    ] = field(default_factory=list)
    title: Annotated[str, typer.Option("--title", help="A title above the figure.")] = ""
    size: Annotated[
        str,
        typer.Option("--size", help="For a paper's column or page, or in inches: 5x3.", metavar="column|page|WxH"),
    ] = ""
    csv: Annotated[
        Path | None, typer.Option("--csv", help="Read this table from hlbq export instead of a database.")
    ] = None


@dataclass(frozen=True, kw_only=True)
class KindOptions(OptionGroup):
    """Figures other than curves."""

    difference: Annotated[
        bool,
        typer.Option(
            "--difference",
            help="Each arm's difference from the baseline with its interval and verdict; with --x, along training; "
            "with --x seeds, after each seed.",
            rich_help_panel=KINDS,
        ),
    ] = False
    effects: Annotated[
        bool,
        typer.Option(
            "--effects",
            help="The same for the main effects and interactions of a factorial sweep.",
            rich_help_panel=KINDS,
        ),
    ] = False
    margin: Annotated[
        float | None,
        typer.Option(
            "--margin", help="The largest difference that does not matter, as in hlbq compare.", rich_help_panel=KINDS
        ),
    ] = None
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
        kinds = ("difference", "effects", "final", "heatmap", "schedules")
        given = [name for name in kinds if getattr(self, name)]
        if len(given) > 1:
            raise UsageError(f"--{' and --'.join(given)} are different figures", "Draw one at a time.")
        if self.heatmap and len(self.heatmap) != 2:
            raise UsageError(
                f"--heatmap takes two settings, not {len(self.heatmap)}", "For instance: --heatmap depth width"
            )
        if self.margin is not None and not (self.difference or self.effects):
            raise UsageError("--margin is of differences", "Add --difference or --effects.")
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

    Without filters it draws the latest sweep. --difference, --effects, --final, --heatmap and --schedules draw other
    figures. Verdicts in a figure are a look, which is recorded as by hlbq compare.
    """
    from orchestrator.plots.figures import check_ending, save

    path = file or Path(f"{kind.name() or how.metric}.png")
    check_ending(path)
    if kind.difference or kind.effects:
        if how.csv is not None:
            raise UsageError("differences are read from a database, and --csv is a table", "Leave --csv out.")
        with database.read() as store:
            differences = _differences(how, kind, store, chosen_or_latest(runs, store))
        save(differences.figure, path)
        comparison = recorded(database, differences.comparison)
        for warning in (*_without_effect(how, kind.name()), *comparison.warnings):
            warn(warning)
        note(f"wrote {path} ({counted(differences.differences, 'difference')}, {counted(comparison.runs, 'run')})")
        return
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


def _differences(how: PlotOptions, kind: KindOptions, store: "Store", runs: RunFilter) -> "DrawnDifferences":
    from orchestrator import plots
    from orchestrator.comparison.groups import read_baseline
    from orchestrator.comparison.results import Question

    question = Question(
        metric=how.metric,
        by=tuple(how.by),
        baseline=read_baseline(how.baseline),
        margin=kind.margin,
        allow_mixed_data=how.allow_mixed_data,
        allow_mixed_evaluation=how.allow_mixed_evaluation,
    )
    by_seed = how.x == "seeds"
    along = replace(_curves(how), facet="", smooth=0.0, log_y=False) if how.x and not by_seed else None
    drawing = plots.DifferenceDrawing(
        effects=kind.effects, along=along, by_seed=by_seed, title=how.title, size=_size(how)
    )
    return plots.plot_differences(store, question, drawing, runs)


def _size(how: PlotOptions) -> "Size | None":
    from orchestrator.plots.style import parse_size

    return parse_size(how.size) if how.size else None


def _curves(how: PlotOptions) -> "Drawing":
    from orchestrator import plots
    from orchestrator.export.metric_names import Axis
    from orchestrator.plots.curve_sets import Band
    from orchestrator.sweep.baseline import parse_baseline

    return plots.Drawing(
        metric=how.metric,
        x=_choice("--x", how.x or "tokens", Axis),
        band=_choice("--band", how.band, Band),
        log_x=how.log_x,
        log_y=how.log_y,
        smooth=how.smooth,
        past_shortest=how.past_shortest,
        facet=how.facet,
        colour=how.colour,
        style=how.style,
        title=how.title,
        baseline=parse_baseline(how.baseline) or None,
        by=tuple(how.by),
        size=_size(how),
    )


def _drawn(how: PlotOptions, kind: KindOptions, source: "Store | Path", runs: RunFilter | None) -> "Drawn":
    from orchestrator import plots

    mixed = {
        "allow_mixed_data": how.allow_mixed_data,
        "allow_mixed_evaluation": how.allow_mixed_evaluation,
    }
    if kind.name() == "heatmap":
        rows, columns = kind.heatmap
        heat_map = plots.HeatMap(rows=rows, columns=columns, metric=how.metric, title=how.title, size=_size(how))
        return plots.plot_final(source, heat_map, runs, **mixed)
    if kind.name() == "final":
        names = ("metric", "log_x", "log_y", "colour", "style", "title")
        given: dict[str, Any] = {name: getattr(how, name) for name in names}
        final = plots.FinalDrawing(against=kind.final, by=tuple(how.by), size=_size(how), **given)
        return plots.plot_final(source, final, runs, **mixed)
    if kind.name() == "schedules":
        return plots.plot_schedules(source, _curves(how), runs)
    return plots.plot_curves(source, _curves(how), runs, **mixed)


def _choice(option: str, text: str, choices: type[Choice]) -> Choice:
    try:
        return choices(text)  # type: ignore[call-arg]  # an enum: called with a value
    except ValueError:
        known = ", ".join(str(choice) for choice in choices)  # type: ignore[attr-defined]
        raise UsageError(f"{option} {text}: no such choice", f"Use one of {known}.") from None
