"""Figures of differences from the baseline: a forest plot, and the difference along training beside the curves."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.comparison.contrasts import Contrast, Verdict
from orchestrator.comparison.results import Comparison
from orchestrator.comparison.statistics import Interval
from orchestrator.comparison.verdict_words import verdict_words
from orchestrator.plots.curve_figures import Drawing, band_opacity, draw_arms, dress_curves, marked_labels
from orchestrator.plots.curve_sets import ArmCurve
from orchestrator.plots.legends import legend_outside
from orchestrator.plots.style import (
    COLOURS,
    LINE_WIDTH,
    LineStyle,
    Size,
    add_titles,
    axis_label,
    count_ticks,
    dress,
    line_styles,
    new_figure,
    plain_logarithmic,
    points,
)
from orchestrator.sweep.arm_labels import differing_settings
from orchestrator.wording.numbers import counted, measured_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_COLOURS: Mapping[Verdict, str] = {
    Verdict.BETTER: COLOURS[0],
    Verdict.WORSE: COLOURS[1],
    Verdict.HIGHER: COLOURS[3],
    Verdict.LOWER: COLOURS[3],
    Verdict.NO_DIFFERENCE: COLOURS[2],
    Verdict.IDENTICAL: COLOURS[2],
    Verdict.UNDECIDED: "#666666",
}
_ROW_INCHES, _MARGIN_INCHES = 0.3, 0.9
_FULL_ROWS = 24  # more get less room each
_NARROW_INCHES = 5.0  # below it the verdict stands under the arm's name
_LONGEST_LINE, _LONGEST_LINE_NARROW = 34, 20
# How much of the room an interval may take on either side of what was measured.
_OUTSIDE = 0.6


@dataclass(frozen=True, kw_only=True)
class DifferenceDrawing:
    """How differences are shown: of arms, or of main effects and interactions (`effects`); as a forest plot of the
    number compared, or `along` training, on the x of that drawing."""

    effects: bool = False
    along: Drawing | None = None
    title: str = ""
    size: Size | None = None


@dataclass(frozen=True, kw_only=True)
class Moment:
    """The contrasts at a place of training."""

    x: float
    contrasts: Sequence[Contrast]


def draw_forest(comparison: Comparison, drawing: DifferenceDrawing) -> "Figure":
    """A row for each contrast: its paired differences as dots, their mean, the always-valid interval, the verdict."""
    families = {
        "main effects, averaged over the other settings": comparison.main_effects,
        "interactions": comparison.interactions,
        "arms": comparison.contrasts,
    }
    shown = {name: contrasts for name, contrasts in families.items() if contrasts}
    rows = sum(map(len, shown.values()))
    is_narrow = drawing.size is not None and drawing.size.width < _NARROW_INCHES
    row_inches = _ROW_INCHES * (1.4 if is_narrow else 1.0) * (min(1.0, max(0.62, _FULL_ROWS / rows)))
    figure = new_figure(
        (8.0, _MARGIN_INCHES + 0.35 * len(shown) + row_inches * max(rows, 3)), drawing.size, keeps_height=True
    )
    panels = figure.subplots(
        len(shown), 1, sharex=True, squeeze=False, height_ratios=[len(own) + 0.6 for own in shown.values()]
    )[:, 0]
    every = comparison.all_contrasts
    window = _window(every, comparison.margin)
    baselines = {contrast.baseline for contrast in every}
    for axes, (name, contrasts) in zip(panels, shown.items(), strict=True):
        for place, contrast in enumerate(contrasts):
            _draw_row(axes, -place, contrast, window)
        _name_rows(axes, contrasts, comparison.margin, are_alike=len(baselines) == 1, is_narrow=is_narrow)
        _zero(axes, comparison.margin, "x")
        axes.set_ylim(-len(contrasts) + 0.4, 0.6)
        dress(axes)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0, labelsize=points(9 if rows <= _FULL_ROWS else 7.5))
        if len(shown) > 1:
            axes.set_title(name, fontsize=points(9.5), loc="left")
    panels[-1].set_xlim(window.low, window.high)
    against = f" from {next(iter(baselines))}" if len(baselines) == 1 else ""
    panels[-1].set_xlabel(f"difference in {comparison.measure}{against}")
    add_titles(figure, drawing.title, _note(every, comparison.margin))
    return figure


def _window(contrasts: Sequence[Contrast], margin: float | None) -> Interval:
    """What the axis shows: all that was measured, zero, the margin, and of intervals no more than a part: with few
    pairs they are very wide."""
    values = [value for contrast in contrasts for value in contrast.pairs.differences.values()]
    values += [0.0] if margin is None else [-margin, margin]
    low, high = min(values, default=0.0), max(values, default=0.0)
    room = (high - low) or abs(high) or 1.0
    intervals = [one for contrast in contrasts if (one := contrast.finding.difference.always_valid_interval)]
    lowest = min((one.low for one in intervals), default=low)
    highest = max((one.high for one in intervals), default=high)
    return Interval(
        low=max(min(low, lowest), low - _OUTSIDE * room) - 0.04 * room,
        high=min(max(high, highest), high + _OUTSIDE * room) + 0.04 * room,
    )


def _draw_row(axes: "Axes", y: float, contrast: Contrast, window: Interval) -> None:
    difference, verdict = contrast.finding.difference, contrast.finding.verdict
    colour = _COLOURS[verdict]
    dots = list(contrast.pairs.differences.values())
    axes.plot(dots, [y] * len(dots), "o", color="#999999", markersize=3, alpha=0.6, markeredgewidth=0)
    interval = difference.always_valid_interval
    if interval is not None:
        low, high = max(interval.low, window.low), min(interval.high, window.high)
        axes.plot([low, high], [y, y], color=colour, linewidth=LINE_WIDTH, solid_capstyle="butt")
        for end, shown, arrow in ((interval.low, low, "<"), (interval.high, high, ">")):
            axes.plot([shown], [y], marker="|" if end == shown else arrow, color=colour, markersize=6, clip_on=False)
    if difference.summary.mean is not None:
        inside = "white" if verdict is Verdict.UNDECIDED else colour
        axes.plot([difference.summary.mean], [y], "D", color=colour, markerfacecolor=inside, markersize=5)


def _name_rows(
    axes: "Axes", contrasts: Sequence[Contrast], margin: float | None, *, are_alike: bool, is_narrow: bool
) -> None:
    """The contrasts' names on the left, and their verdicts on the right, or below the names in a narrow figure."""
    longest = _LONGEST_LINE_NARROW if is_narrow else _LONGEST_LINE
    names = []
    for place, contrast in enumerate(contrasts):
        name = contrast.label if are_alike else f"{contrast.label} against {contrast.baseline}"
        verdict = verdict_words(contrast, margin)
        mean = contrast.finding.difference.summary.mean
        size = "" if mean is None else f" {measured_text(mean, digits=3, signed=True)}"
        told = f"{verdict}{size} ({counted(len(contrast.pairs.differences), 'pair')})"
        names.append(textwrap.fill(name, longest) + (f"\n{verdict}" if is_narrow else ""))
        if not is_narrow:
            axes.text(
                1.015, -place, told, transform=axes.get_yaxis_transform(), va="center",
                fontsize=points(8.5 if len(contrasts) <= _FULL_ROWS else 7.5),
            )  # fmt: skip
    axes.set_yticks([-place for place in range(len(contrasts))], names)


def _zero(axes: "Axes", margin: float | None, which: str) -> None:
    line, span = (axes.axvline, axes.axvspan) if which == "x" else (axes.axhline, axes.axhspan)
    line(0, color="black", linewidth=0.8, zorder=1)
    if margin is not None:
        span(-margin, margin, color="#E4E4E4", linewidth=0, zorder=0)


def _note(contrasts: Sequence[Contrast], margin: float | None) -> str:
    told = ["dots: seeds; diamonds: means (filled: decided); bars: always-valid 95 % intervals"]
    if any(one.finding.difference.always_valid_interval is None for one in contrasts):
        told.append("no bar: too few pairs for an interval")
    if margin is not None:
        told.append(f"grey: no more than the margin of {margin:g}")
    return "; ".join(told)


def draw_difference_curves(
    comparison: Comparison, moments: Sequence[Moment], arms: Sequence[ArmCurve], drawing: Drawing
) -> "Figure":
    """Each contrast's mean difference along training, with its always-valid interval as a band; beside it the curves of
    the `arms`, if any, in the same colours and with the bands of `drawing`."""
    contrasts = comparison.all_contrasts
    names = differing_settings(arm.settings for arm in arms)
    styles = line_styles([arm.settings for arm in arms], names)
    own = _styles_of(contrasts, arms, styles)
    is_stacked = drawing.size is not None and drawing.size.width < _NARROW_INCHES
    shape = ((2, 1) if is_stacked else (1, 2)) if arms else (1, 1)
    inches = (5.2, 6.4) if is_stacked and arms else (9.6, 3.8) if arms else (6.4, 4.0)
    figure = new_figure(inches, drawing.size)
    panels = list(figure.subplots(*shape, squeeze=False).flat)
    handles: dict[str, Any] = {}
    if arms:
        draw_arms(panels[0], arms, styles, marked_labels(arms, names, comparison.baseline), drawing)
        dress_curves(panels[0], arms, drawing)
        handles = {str(line.get_label()): line for line in panels[0].get_lines()}
    axes = panels[-1]
    opacity = band_opacity(len(contrasts))
    for contrast, line_style in zip(contrasts, own, strict=True):
        lines = _course(contrast, moments)
        if not lines:
            continue
        x, means, lows, highs = (list(column) for column in zip(*lines, strict=True))
        axes.fill_between(x, lows, highs, color=line_style.colour, alpha=opacity, linewidth=0)
        label = contrast.label if arms else f"{contrast.label} against {contrast.baseline}"
        (line,) = axes.plot(x, means, linewidth=LINE_WIDTH, label=label, **line_style.of(len(x)))
        if not arms:
            handles[label] = line
    _zero(axes, comparison.margin, "y")
    axes.set_xlabel(axis_label(drawing.x))
    baselines = {contrast.baseline for contrast in contrasts}
    against = f" from {next(iter(baselines))}" if len(baselines) == 1 else ""
    axes.set_ylabel(f"difference in {drawing.metric}{against}")
    _scale_differences(axes, moments, comparison.margin)
    if drawing.log_x:
        plain_logarithmic(axes, "x")
    else:
        axes.set_xlim(left=0)
    count_ticks(axes, drawing.x, moments[-1].x)
    dress(axes)
    if len(contrasts) == 1:
        axes.set_title(f"{contrasts[0].label}: {verdict_words(contrasts[0], comparison.margin)}", fontsize=points(9.5))
    counts = sorted({len(one.pairs.differences) for moment in moments for one in moment.contrasts} - {0})
    pairs = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    add_titles(figure, drawing.title, f"difference: mean of {pairs} pairs, band: always-valid 95 % interval at each x")
    legend_outside(figure, list(handles.values()), list(handles), size=drawing.size)
    return figure


def _styles_of(
    contrasts: Sequence[Contrast], arms: Sequence[ArmCurve], styles: Sequence[LineStyle]
) -> Sequence[LineStyle]:
    """Each contrast's line: that of its arm, if it is drawn."""
    if not arms:
        values = [contrast.values for contrast in contrasts]
        return line_styles(values, list(dict.fromkeys(name for one in values for name in one)))
    return [
        next(
            style
            for arm, style in zip(arms, styles, strict=True)
            if all(arm.settings.get(name) == value for name, value in contrast.values.items())
        )
        for contrast in contrasts
    ]


def _course(contrast: Contrast, moments: Sequence[Moment]) -> list[tuple[float, float, float, float]]:
    """(x, mean, low, high) of the contrast wherever it has a pair; nan for an interval that it does not have yet."""
    found = []
    for moment in moments:
        for one in moment.contrasts:
            mean = one.finding.difference.summary.mean
            if (one.label, one.baseline) == (contrast.label, contrast.baseline) and mean is not None:
                interval = one.finding.difference.always_valid_interval
                low, high = (interval.low, interval.high) if interval else (float("nan"), float("nan"))
                found.append((moment.x, mean, low, high))
    return found


def _scale_differences(axes: "Axes", moments: Sequence[Moment], margin: float | None) -> None:
    """Show the differences after the first quarter of training, and of bands no more than a part: both begin wide."""
    late = moments[len(moments) // 4 :]
    window = _window([one for moment in late for one in moment.contrasts], margin)
    axes.set_ylim(window.low, window.high)
