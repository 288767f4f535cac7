"""Figures of curves: a line per arm with a band over its seeds; small multiples by a setting; schedules."""

import textwrap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.comparison.measuring.groups import sortable
from orchestrator.errors import ExportError
from orchestrator.export.metric_names import Axis, Metric
from orchestrator.plots.curve_sets import ArmCurve, Band, arm_curves, resolve_band
from orchestrator.plots.drawing.legends import MOST_IN_LEGEND, add_legend, add_scale, legend_outside
from orchestrator.plots.drawing.options import CurveOptions
from orchestrator.plots.drawing.style import (
    LINE_WIDTH,
    SIZE_INCHES,
    LineStyle,
    Size,
    add_titles,
    axis_label,
    dress,
    line_styles,
    metric_label,
    new_figure,
    points,
    tokenizers_of,
)
from orchestrator.plots.drawing.ticks import count_ticks, plain_logarithmic
from orchestrator.plots.run_curves import RunCurve
from orchestrator.sweep.arm_labels import arm_label, differing_settings
from orchestrator.sweep.baseline import restricted
from orchestrator.wording.numbers import counted, short_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

SCHEDULES = ("train_lr", "train_weight_decay", "train_batch_size", "train_seq_length")
_MOST_PANELS = 24
_LONGEST_PANEL_TITLE = 36
_LOGARITHMIC_SCHEDULE_FROM = 1_000
_PANEL_INCHES = 1.6  # at least, where the figure has a size
_BAND_OPACITY = 0.22
_MOST_FULL_BANDS = 4


@dataclass(frozen=True, kw_only=True)
class Drawing(CurveOptions):
    """A figure of curves: over what, with which band, and how large."""

    x: Axis | Metric = Axis.TOKENS
    band: Band = Band.AUTO
    size: Size | None = None

    @property
    def are_joined(self) -> bool:
        """Whether points are joined by lines: over a metric they are dots, since that may fall and rise."""
        return isinstance(self.x, Axis)


def draw_curves(runs: Sequence[RunCurve], drawing: Drawing) -> "Figure":
    """The figure of these runs' curves, none of them empty."""
    arms = arm_curves(runs, drawing.band, past_shortest=drawing.past_shortest)
    names = differing_settings(run.settings for run in runs)  # of arms without a curve too
    if drawing.facet:
        return _draw_panels(arms, [name for name in names if name != drawing.facet], drawing)
    figure = new_figure(size=drawing.size)
    axes = figure.add_subplot()
    styles = line_styles([arm.settings for arm in arms], names, colour=drawing.colour, style=drawing.style)
    draw_arms(axes, arms, styles, marked_labels(arms, names, drawing.baseline or {}), drawing)
    dress_curves(axes, arms, drawing)
    add_titles(figure, drawing.title, band_note(arms, drawing))
    values: list[Any] = [arm.settings.get(names[0]) for arm in arms] if len(names) == 1 else []
    if len(values) > MOST_IN_LEGEND and all(isinstance(value, int | float) for value in values):
        add_scale(figure, axes, names[0], values, styles)
    elif len(arms) > 1 or names:
        add_legend(figure, axes, title=_legend_title(arms), size=drawing.size)
    return figure


def _labels(arms: Sequence[ArmCurve], names: Sequence[str]) -> list[str]:
    """`depth 4, width 192 (3.1M)`: the settings `names` of each arm, and its size if sizes differ."""
    differ = len({arm.num_params for arm in arms}) > 1
    sizes = [f" ({short_count(arm.num_params)})" if differ and arm.num_params else "" for arm in arms]
    return [(arm_label(arm.settings, names) or "all runs") + size for arm, size in zip(arms, sizes, strict=True)]


def marked_labels(arms: Sequence[ArmCurve], names: Sequence[str], baseline: Mapping[str, Any]) -> list[str]:
    """The arms' labels, with a note at the baseline."""
    wanted = restricted(baseline, names)
    are_it = [bool(wanted) and restricted(arm.settings, wanted) == wanted for arm in arms]
    return [f"{label}, baseline" if is_it else label for label, is_it in zip(_labels(arms, names), are_it, strict=True)]


def _legend_title(arms: Sequence[ArmCurve]) -> str:
    return "setting (parameters)" if len({arm.num_params for arm in arms}) > 1 else ""


def _draw_panels(arms: Sequence[ArmCurve], names: Sequence[str], drawing: Drawing) -> "Figure":
    """A panel for each value of the facet, on the same axes; the same line means the same arm in all panels."""
    values = sorted({arm.settings.get(drawing.facet) for arm in arms}, key=sortable)
    if len(values) > _MOST_PANELS:
        raise ExportError(
            f"--facet {drawing.facet} would make {len(values)} panels",
            f"Choose runs with filters: at most {_MOST_PANELS} panels.",
        )
    columns = min(len(values), 3 if drawing.size is None else int(drawing.size.width / _PANEL_INCHES))
    rows = -(-len(values) // columns)
    figure = new_figure((3.1 * columns + 0.3, 2.6 * rows + 0.6), drawing.size)
    grid = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False)
    panels = list(grid.flat)
    styles = line_styles([arm.settings for arm in arms], names, colour=drawing.colour, style=drawing.style)
    # Not the sizes: the facet may decide them.
    labels = [arm_label(arm.settings, names) or "all runs" for arm in arms]
    labelled: dict[str, Any] = {}
    for axes, value in zip(panels, values, strict=False):
        own = [place for place, arm in enumerate(arms) if arm.settings.get(drawing.facet) == value]
        inside = [arms[place] for place in own]
        draw_arms(axes, inside, [styles[place] for place in own], [labels[place] for place in own], drawing)
        dress_curves(axes, inside, drawing)
        title = arm_label({drawing.facet: value}, [drawing.facet]) or f"{drawing.facet} -"
        axes.set_title(textwrap.fill(title, _LONGEST_PANEL_TITLE), fontsize=points(9.5))
        axes.label_outer()
        labelled |= {str(line.get_label()): line for line in axes.get_lines() if line.get_label() in labels}
    for place in range(len(values), len(panels)):
        panels[place].set_visible(False)
        # The panel above has no panel under it to label its x.
        panels[place - columns].xaxis.set_tick_params(labelbottom=True)
        panels[place - columns].set_xlabel(axis_label(drawing.x, _tokenizers(arms)))
    add_titles(figure, drawing.title, band_note(arms, drawing))
    if names:
        legend_outside(figure, list(labelled.values()), list(labelled), size=drawing.size)
    return figure


def draw_arms(
    axes: "Axes", arms: Sequence[ArmCurve], styles: Sequence[LineStyle], labels: Sequence[str], drawing: Drawing
) -> None:
    """Draw each arm's band and line, labelled for a legend."""
    opacity = band_opacity(len(arms))
    for arm, line_style, label in zip(arms, styles, labels, strict=True):
        if drawing.band is Band.SEEDS:
            for run in arm.runs:
                x = run.x if run.over is None else run.over
                look: Mapping[str, Any] = {"linestyle": line_style.dashes, "linewidth": 0.7, "alpha": 0.45}
                if not drawing.are_joined:
                    look = {"linestyle": "none", "marker": ".", "markersize": 2, "alpha": 0.45}
                axes.plot(x, run.y, color=line_style.colour, **look)
        if arm.low is not None and arm.high is not None:
            axes.fill_between(arm.x, arm.low, arm.high, color=line_style.colour, alpha=opacity, linewidth=0)
            if len(arm.x) == 1:  # a band without width shows nothing
                axes.vlines(arm.x, arm.low, arm.high, color=line_style.colour, linewidth=1.2)
        mean_look = line_style.of(len(arm.x), are_joined=drawing.are_joined)
        axes.plot(arm.x, arm.mean, linewidth=LINE_WIDTH, label=label, **mean_look)


def band_opacity(bands: int) -> float:
    """Of each of so many bands: past four they thin out, so that lines stay seen."""
    return _BAND_OPACITY * min(1.0, _MOST_FULL_BANDS / max(1, bands))


def dress_curves(axes: "Axes", arms: Sequence[ArmCurve], drawing: Drawing) -> None:
    """Label and scale the axes of curves."""
    axes.set_ylabel(metric_label(drawing.metric, _tokenizers(arms)))
    if drawing.log_y:
        plain_logarithmic(axes, "y")
    dress_x(axes, drawing, max(float(arm.x[-1]) for arm in arms), _tokenizers(arms))
    dress(axes)


def dress_x(axes: "Axes", drawing: Drawing, largest: float, tokenizers: Collection[Any] = ()) -> None:
    """Label and scale the x of a drawing, which goes to `largest`."""
    axes.set_xlabel(axis_label(drawing.x, tokenizers))
    if drawing.log_x:
        plain_logarithmic(axes, "x")
    elif isinstance(drawing.x, Axis):
        axes.set_xlim(left=0)
    count_ticks(axes, drawing.x, largest)


def _tokenizers(arms: Sequence[ArmCurve]) -> Collection[Any]:
    return tokenizers_of(run for arm in arms for run in arm.runs)


def band_note(arms: Sequence[ArmCurve], drawing: Drawing) -> str:
    """What the line and band mean, in words."""
    counts = sorted({len(arm.runs) for arm in arms})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    bands = {resolve_band(drawing.band, count) for count in counts if drawing.are_joined} - {Band.NONE}
    if counts == [1]:
        words = "one seed per arm: no interval" if drawing.are_joined else "one seed per arm"
    elif bands == {Band.RANGE}:
        words = f"mean of {seeds} seeds, band: lowest to highest"
    elif bands == {Band.INTERVAL}:
        words = f"mean of {seeds} seeds, band: 95 % t-interval of the mean"
    elif bands == {Band.RANGE, Band.INTERVAL}:
        words = f"mean of {seeds} seeds, band: 95 % t-interval (5 or more seeds), else lowest to highest"
    elif drawing.band is Band.SEEDS:
        words = f"mean of {seeds} seeds, thin: every seed"
    else:
        words = f"mean of {seeds} seeds"
    if not drawing.are_joined:
        words = f"a dot: a step, {words}"
    diverged = sum(run.diverged for arm in arms for run in arm.runs)
    words += f"; {counted(diverged, 'run')} diverged" if diverged else ""
    return words + (f"; moving average, weight {drawing.smooth:g}" if drawing.smooth else "")


def draw_schedules(schedules: Mapping[str, Sequence[RunCurve]], drawing: Drawing) -> "Figure":
    """A panel for each scheduled quantity, by metric, with a line per arm: the mean over its seeds."""
    arms = {
        metric: arm_curves(runs, Band.NONE, past_shortest=drawing.past_shortest) for metric, runs in schedules.items()
    }
    every = [arm for own in arms.values() for arm in own]
    names = differing_settings(arm.settings for arm in every)
    rows = -(-len(arms) // 2)
    figure = new_figure((SIZE_INCHES[0] + 1.6, 2.4 * rows + 0.5), drawing.size)
    panels = list(figure.subplots(rows, min(len(arms), 2), sharex=True, squeeze=False).flat)
    for axes, (metric, own) in zip(panels, arms.items(), strict=False):
        styles = line_styles([arm.settings for arm in own], names, colour=drawing.colour, style=drawing.style)
        for arm, line_style, label in zip(own, styles, _labels(own, names), strict=True):
            axes.plot(
                arm.x, arm.mean, linewidth=LINE_WIDTH, label=label,
                **line_style.of(len(arm.x), are_joined=drawing.are_joined),
                drawstyle="default" if metric in ("train_lr", "train_weight_decay") else "steps-post",
            )  # fmt: skip
        axes.set_ylabel(metric_label(metric, ()).removeprefix("training "))
        _scale_schedule(axes, own)
        dress_x(axes, drawing, max(float(arm.x[-1]) for arm in own), _tokenizers(own))
        dress(axes)
    for axes in panels[len(arms) :]:
        axes.set_visible(False)
    for axes in panels[: max(0, len(arms) - 2)]:
        axes.set_xlabel("")
    add_titles(figure, drawing.title, "mean over seeds")
    if names:
        add_legend(figure, panels[0], title=_legend_title(every), beside=True, size=drawing.size)
    return figure


def _scale_schedule(axes: "Axes", arms: Sequence[ArmCurve]) -> None:
    """From zero, or logarithmic if a schedule spans decades and most of it would hug the axis."""
    values = [float(value) for arm in arms for value in arm.mean]
    if min(values) > 0 and max(values) / min(values) > _LOGARITHMIC_SCHEDULE_FROM:
        plain_logarithmic(axes, "y")
    else:
        axes.set_ylim(bottom=0)
