"""`hlbq plot`: curves and last values as figures."""

from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from orchestrator.cli.common import DatabaseOption, RunFilterOptions, counted, note, warn
from orchestrator.cli.compare import recorded
from orchestrator.cli.export import chosen_or_latest
from orchestrator.cli.option_groups import OptionGroup, option
from orchestrator.errors import UsageError
from orchestrator.queue.records import RunFilter

if TYPE_CHECKING:
    from orchestrator.plots import Drawn
    from orchestrator.plots.curve_figures import Drawing
    from orchestrator.plots.differences import DrawnDifferences
    from orchestrator.plots.style import Size
    from orchestrator.store import Store

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

    metric: str = option("val_loss", help="What to draw: val_loss, train_acc, grad_norm, ...")
    x: str = option("", help="Over what (default: tokens).", metavar="steps|epochs|tokens|seconds|flops")
    band: str = option(
        "auto",
        help="Around the mean over seeds. auto: the range below 5 seeds, else the 95 % t-interval.",
        metavar="auto|interval|range|seeds|none",
    )
    log_x: bool = option(False, help="Logarithmic x.")
    log_y: bool = option(False, help="Logarithmic y.")
    smooth: float = option(
        0.0, help="Weight of the past a hundredth of a run later, in a moving average; below 1.", min=0.0, max=0.9999
    )
    past_shortest: bool = option(False, help="Draw the mean beyond the end of the arm's shortest run.")
    allow_mixed_data: bool = option(False, help="Draw runs together even if their data differ.")
    allow_mixed_evaluation: bool = option(False, help="Draw losses of different evaluations together.")
    facet: str = option("", help="One panel per value of this setting.", metavar="NAME")
    colour: str = option("", "--colour", "--color", help="The setting that chooses the colour.", metavar="NAME")
    style: str = option("", help="The setting that chooses the line style.", metavar="NAME")
    baseline: list[str] = option(
        list, help="The arm to mark as the baseline (default: the sweep's).", metavar="NAME=VALUE..."
    )
    by: list[str] = option(
        list,
        help="Settings to group by (default: those that differ). Each seed is averaged over the others.",
        metavar="NAME...",
    )
    title: str = option("", help="A title above the figure.")
    size: str = option("", help="For a paper's column or page, or in inches: 5x3.", metavar="column|page|WxH")
    csv: Path | None = option(None, help="Read this table from hlbq export instead of a database.")


@dataclass(frozen=True, kw_only=True)
class KindOptions(OptionGroup):
    """Figures other than curves."""

    panel = "Other figures"
    difference: bool = option(
        False,
        help="Each arm's difference from the baseline with its interval and verdict; with --x, along training; "
        "with --x seeds, after each seed.",
    )
    effects: bool = option(False, help="The same for the main effects and interactions of a factorial sweep.")
    margin: float | None = option(None, help="The largest difference that does not matter, as in hlbq compare.")
    final: str = option(
        "",
        help="The runs' last values against this setting, num_params or flops, with a power-law fit.",
        metavar="NAME",
    )
    heatmap: list[str] = option(
        list, help="Mean last values over two settings: rows, then columns.", metavar="ROWS COLUMNS"
    )
    schedules: bool = option(False, help="Learning rate, weight decay, batch size and sequence length.")

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

    mixed = {"allow_mixed_data": how.allow_mixed_data, "allow_mixed_evaluation": how.allow_mixed_evaluation}
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
