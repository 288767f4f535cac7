"""Figures of differences from the baseline: a forest plot, and the difference along training beside the curves."""

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.comparison.judging.contrasts import Contrast, Verdict
from orchestrator.comparison.reporting.verdict_words import verdict_words
from orchestrator.comparison.results import Comparison
from orchestrator.comparison.statistics import Interval
from orchestrator.plots.curve_sets import ArmCurve
from orchestrator.plots.drawing.curve_figures import (
    Drawing,
    band_note,
    band_opacity,
    draw_arms,
    dress_curves,
    dress_x,
    marked_labels,
)
from orchestrator.plots.drawing.legends import add_legend
from orchestrator.plots.drawing.style import (
    COLOURS,
    LINE_WIDTH,
    LineStyle,
    Size,
    add_titles,
    dress,
    line_styles,
    new_figure,
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
_ROW_INCHES, _LINE_INCHES, _MARGIN_INCHES = 0.3, 0.13, 0.9
_FULL_ROWS = 24  # more get less room each
_NARROW_INCHES = 5.0  # below it the verdict stands under the arm's name
_LONGEST_LINE, _LONGEST_LINE_NARROW = 46, 22
_LONGEST_BASELINE, _LONGEST_BASELINE_NARROW, _LONGEST_BASELINE_UPRIGHT = 50, 30, 20
# How much of the room an interval may take on either side of what was measured.
_OUTSIDE = 0.6
_DOTS_ABOVE = 0.22  # of a row, so that no bar hides them


@dataclass(frozen=True, kw_only=True)
class DifferenceDrawing:
    """How differences are shown: of arms, or of main effects and interactions (`effects`); as a forest plot of the
    number compared, `along` training on the x of that drawing, or `by_seed`: after each seed."""

    effects: bool = False
    along: Drawing | None = None
    by_seed: bool = False
    title: str = ""
    size: Size | None = None


@dataclass(frozen=True, kw_only=True)
class ContrastsAt:
    """The contrasts at a place of training, or after so many pairs."""

    x: float
    contrasts: Sequence[Contrast]


def draw_forest(comparison: Comparison, drawing: DifferenceDrawing) -> "Figure":
    """A row for each contrast: its paired differences as dots, their mean, the always-valid interval, the verdict."""
    shown = {f"{name}s": contrasts for name, contrasts in comparison.families.items() if contrasts}
    rows = sum(map(len, shown.values()))
    is_narrow = drawing.size is not None and drawing.size.width < _NARROW_INCHES
    every = comparison.all_contrasts
    names = {id(contrast): _name(contrast, comparison, is_narrow=is_narrow) for contrast in every}
    lines = max(name.count("\n") + 1 for name in names.values())
    row_inches = max(_ROW_INCHES if rows <= _FULL_ROWS else 0.0, _LINE_INCHES * lines + 0.06)
    figure = new_figure(
        (8.0, _MARGIN_INCHES + 0.35 * len(shown) + row_inches * max(rows, 3)), drawing.size, keeps_height=True
    )
    panels = figure.subplots(
        len(shown), 1, sharex=True, squeeze=False, height_ratios=[len(own) + 0.6 for own in shown.values()]
    )[:, 0]
    most = _LONGEST_BASELINE_NARROW if is_narrow else _LONGEST_BASELINE
    panels[-1].set_xlabel(f"difference in {comparison.measure}{_against(comparison, most)}")
    window = _window(every, comparison.margin)
    for axes, (name, contrasts) in zip(panels, shown.items(), strict=True):
        for place, contrast in enumerate(contrasts):
            _draw_row(axes, -place, contrast, window)
        axes.set_yticks([-place for place in range(len(contrasts))], [names[id(contrast)] for contrast in contrasts])
        letters = points(9 if rows <= _FULL_ROWS else 7.5)
        for place, contrast in enumerate(() if is_narrow else contrasts):
            axes.text(
                1.015, -place, _verdict(contrast, comparison.margin), transform=axes.get_yaxis_transform(),
                va="center", fontsize=letters,
            )  # fmt: skip
        _zero(axes, comparison.margin, "x")
        axes.set_ylim(-len(contrasts) + 0.4, 0.6)
        dress(axes)
        axes.grid(visible=False, axis="y")
        axes.tick_params(axis="y", length=0, labelsize=letters)
        if len(shown) > 1:
            axes.set_title(name, fontsize=points(9.5), loc="left")
    panels[-1].set_xlim(window.low, window.high)
    add_titles(figure, drawing.title, _note(comparison))
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
    axes.plot(dots, [y + _DOTS_ABOVE] * len(dots), "o", color="#999999", markersize=3, alpha=0.6, markeredgewidth=0)
    interval = difference.always_valid_interval
    if interval is not None:
        low, high = max(interval.low, window.low), min(interval.high, window.high)
        axes.plot([low, high], [y, y], color=colour, linewidth=LINE_WIDTH, solid_capstyle="butt")
        for end, shown, arrow in ((interval.low, low, "<"), (interval.high, high, ">")):
            axes.plot([shown], [y], marker="|" if end == shown else arrow, color=colour, markersize=6, clip_on=False)
    if difference.summary.mean is not None:
        inside = "white" if verdict is Verdict.UNDECIDED else colour
        axes.plot([difference.summary.mean], [y], "D", color=colour, markerfacecolor=inside, markersize=5)


def _name(contrast: Contrast, comparison: Comparison, *, is_narrow: bool) -> str:
    """What a row is of; in a narrow figure with the verdict below."""
    name = contrast.label if _against(comparison) else f"{contrast.label} against {contrast.baseline}"
    if not is_narrow:
        return textwrap.fill(name, _LONGEST_LINE)
    return f"{textwrap.fill(name, _LONGEST_LINE_NARROW)}\n{verdict_words(contrast, comparison.margin)}"


def _against(comparison: Comparison, most: int = 0) -> str:
    """` from depth 2`, or ` from the baseline` if that has more letters than `most`; empty if there are several."""
    baselines = {contrast.baseline for contrast in comparison.all_contrasts}
    if len(baselines) != 1:
        return ""
    (label,) = baselines
    return f" from {label if len(label) <= most else 'the baseline'}"


def _verdict(contrast: Contrast, margin: float | None) -> str:
    """`better -0.0312 (12 pairs)`."""
    mean = contrast.finding.difference.summary.mean
    size = "" if mean is None else f" {measured_text(mean, digits=3, signed=True)}"
    return f"{verdict_words(contrast, margin)}{size} ({counted(len(contrast.pairs.differences), 'pair')})"


def _zero(axes: "Axes", margin: float | None, which: str) -> None:
    line, span = (axes.axvline, axes.axvspan) if which == "x" else (axes.axhline, axes.axhspan)
    line(0, color="black", linewidth=0.8, zorder=1)
    if margin is not None:
        span(-margin, margin, color="#E4E4E4", linewidth=0, zorder=0)


def _note(comparison: Comparison) -> str:
    told = ["dots: seeds; diamonds: means (filled: decided); bars: always-valid 95 % intervals"]
    if any(one.finding.difference.always_valid_interval is None for one in comparison.all_contrasts):
        told.append("no bar: too few pairs for an interval")
    if comparison.margin is not None:
        told.append(f"grey: no more than the margin of {comparison.margin:g}")
    if comparison.rule:
        told.append(f"verdicts and intervals by the sweep's policy: {comparison.rule}")
    return "; ".join(told)


def draw_difference_curves(
    comparison: Comparison, moments: Sequence[ContrastsAt], arms: Sequence[ArmCurve], drawing: Drawing
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
    if arms:
        draw_arms(panels[0], arms, styles, marked_labels(arms, names, comparison.baseline), drawing)
        dress_curves(panels[0], arms, drawing)
    axes = panels[-1]
    _draw_courses(axes, comparison, moments, own, is_named=bool(arms))
    axes.set_ylabel(f"difference in {drawing.metric}{_against(comparison, _LONGEST_BASELINE_UPRIGHT)}")
    dress_x(axes, drawing, moments[-1].x)
    dress(axes)
    if len(contrasts) == 1:
        axes.set_title(f"{contrasts[0].label}: {verdict_words(contrasts[0], comparison.margin)}", fontsize=points(9.5))
    counts = sorted({len(one.pairs.differences) for moment in moments for one in moment.contrasts} - {0})
    pairs = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    told = f"difference: mean of {pairs} pairs, band: always-valid 95 % interval at each x"
    add_titles(figure, drawing.title, f"curves: {band_note(arms, drawing)}; {told}" if arms else told)
    add_legend(figure, panels[0], size=drawing.size)
    return figure


def draw_by_seed(comparison: Comparison, moments: Sequence[ContrastsAt], drawing: DifferenceDrawing) -> "Figure":
    """Each contrast's mean difference after each pair, with the interval that it had then."""
    from matplotlib.ticker import MaxNLocator

    figure = new_figure((6.4, 4.0), drawing.size)
    axes = figure.subplots()
    styles = _styles_of(comparison.all_contrasts, (), ())
    _draw_courses(axes, comparison, moments, styles, is_named=False)
    for contrast, style in zip(comparison.all_contrasts, styles, strict=True):
        for x, _, low, high in _course(contrast, moments):  # a band of one place has no area
            axes.plot([x, x], [low, high], color=style.colour, linewidth=1.0, alpha=0.6)
    axes.set_xlabel("pairs of seeds")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel(f"difference in {comparison.measure}{_against(comparison, _LONGEST_BASELINE_UPRIGHT)}")
    dress(axes)
    by = f", by {comparison.rule}" if comparison.rule else ""
    add_titles(figure, drawing.title, f"lines: means; bands: always-valid 95 % intervals after so many pairs{by}")
    add_legend(figure, axes, size=drawing.size)
    return figure


def _draw_courses(
    axes: "Axes", comparison: Comparison, moments: Sequence[ContrastsAt], styles: Sequence[LineStyle], *, is_named: bool
) -> None:
    """A line and a band for each contrast; `is_named` says that the baseline is named elsewhere."""
    contrasts = comparison.all_contrasts
    opacity = band_opacity(len(contrasts))
    for contrast, line_style in zip(contrasts, styles, strict=True):
        lines = _course(contrast, moments)
        if not lines:
            continue
        x, means, lows, highs = (list(column) for column in zip(*lines, strict=True))
        axes.fill_between(x, lows, highs, color=line_style.colour, alpha=opacity, linewidth=0)
        label = contrast.label if is_named else f"{contrast.label} against {contrast.baseline}"
        axes.plot(x, means, linewidth=LINE_WIDTH, label=label, **line_style.of(len(x)))
    _zero(axes, comparison.margin, "y")
    # Show the differences after the first quarter of training, and of bands no more than a part: both begin wide.
    late = moments[len(moments) // 4 :]
    window = _window([one for moment in late for one in moment.contrasts], comparison.margin)
    axes.set_ylim(window.low, window.high)


def _styles_of(
    contrasts: Sequence[Contrast], arms: Sequence[ArmCurve], styles: Sequence[LineStyle]
) -> Sequence[LineStyle]:
    """Each contrast's line: that of its arm, if arms are drawn. Any will do for one without a curve: it has no pair."""
    if not arms:
        values = [contrast.values for contrast in contrasts]
        return line_styles(values, list(dict.fromkeys(name for one in values for name in one)))
    return [
        next(
            (
                style
                for arm, style in zip(arms, styles, strict=True)
                if all(arm.settings.get(name) == value for name, value in contrast.values.items())
            ),
            styles[0],
        )
        for contrast in contrasts
    ]


def _course(contrast: Contrast, moments: Sequence[ContrastsAt]) -> list[tuple[float, float, float, float]]:
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
