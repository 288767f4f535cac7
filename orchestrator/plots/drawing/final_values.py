"""Figures of the runs' last values against a setting: scaling plots."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy

from orchestrator.comparison.measuring.groups import sortable
from orchestrator.errors import ExportError
from orchestrator.plots.curve_sets import grouped, half_width
from orchestrator.plots.drawing.legends import add_legend
from orchestrator.plots.drawing.options import LineOptions
from orchestrator.plots.drawing.power_law import PowerLaw, describes, fit_power_law
from orchestrator.plots.drawing.style import (
    LINE_WIDTH,
    LineStyle,
    Size,
    add_titles,
    dress,
    line_styles,
    metric_label,
    new_figure,
    tokenizers_of,
)
from orchestrator.plots.drawing.ticks import plain_logarithmic
from orchestrator.plots.run_curves import LARGEST_DRAWN, SIZES, RunCurve, place_of
from orchestrator.sweep.arm_labels import arm_label, differing_settings
from orchestrator.sweep.options import value_text
from orchestrator.wording.numbers import counted, short_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# A size follows from these settings, so lines are not distinguished by them.
_SETTINGS_OF_SIZE = frozenset({"model_scale", "depth", "width"})
_SETTINGS_OF_FLOPS = _SETTINGS_OF_SIZE | {"max_steps", "max_tokens", "max_epochs", "max_time_seconds"}
# Values further apart than this are shown on a logarithmic axis.
_LOGARITHMIC_FROM = 4.0
_SHIFT_POINTS, _MOST_ASIDE = 6.0, 0.25
_LONGEST_NAME = 28
_MOST_LETTERS_ABREAST = 60
_MOST_NAMED_INSIDE = 3


@dataclass(frozen=True, kw_only=True)
class FinalDrawing(LineOptions):
    """The last value of a metric against a setting, `num_params` or `flops`.

    Sizes and budgets tell lines apart only if they choose the colour or the style, where x follows from them.
    """

    against: str
    size: Size | None = None


def settings_followed(against: str) -> frozenset[str]:
    """The settings from which x follows."""
    if against not in SIZES:
        return frozenset()
    return _SETTINGS_OF_FLOPS if against == "flops" else _SETTINGS_OF_SIZE


def draw_final(runs: Sequence[RunCurve], drawing: FinalDrawing, left_out: Sequence[RunCurve]) -> "Figure":
    """A dot per run, a line through the means with their 95 % t-intervals, and a power law if one fits.

    `left_out` are runs without a final value: the small print counts them.
    """
    followed = settings_followed(drawing.against)
    names = [
        name
        for name in differing_settings(run.settings for run in runs)
        if name != drawing.against and (name not in followed or name in (drawing.colour, drawing.style))
    ]
    lines = grouped(runs, names)
    # Error bars are everywhere, and leave room for only a few names.
    beside = len(lines) > _MOST_NAMED_INSIDE
    figure = new_figure(size=drawing.size)
    axes = figure.add_subplot()
    known = sorted({place_of(run, drawing.against) for run in runs}, key=sortable)
    # An axis takes no number whose margins would not be floats.
    are_numbers = all(type(value) in (int, float) and abs(value) <= LARGEST_DRAWN for value in known)
    at = {value: float(value if are_numbers else number) for number, value in enumerate(known)}
    styles = line_styles([own[0].settings for own in lines.values()], names, colour=drawing.colour, style=drawing.style)
    # Lines stand aside of each other, but no further than a part of the way to the next value.
    room = _MOST_ASIDE * 72 * figure.get_figwidth() / len(known)
    shift = min(_SHIFT_POINTS, room / max(1, len(lines) - 1))
    axes.margins(x=0.05 + shift * (len(lines) - 1) / (72 * figure.get_figwidth()))
    for number, (own, line_style) in enumerate(zip(lines.values(), styles, strict=True)):
        _draw_line(
            axes,
            dots=[(at[place_of(run, drawing.against)], float(run.y[-1])) for run in own],
            look=line_style,
            label=arm_label(own[0].settings, names),
            shift_points=shift * (number - (len(lines) - 1) / 2),
            law_of=SIZES.get(drawing.against, drawing.against) if are_numbers else "",
        )
    _dress(axes, drawing, runs, known, are_numbers=are_numbers)
    seeds = {len(own) for own in grouped(runs, [*names, drawing.against]).values()}
    bars = "one seed per value: no interval" if seeds == {1} else "dots: seeds; bars: 95 % t-interval of the mean"
    add_titles(figure, drawing.title, bars + left_out_note(left_out))
    if axes.get_legend_handles_labels()[1]:
        add_legend(figure, axes, beside=beside, size=drawing.size)
    return figure


def left_out_note(left_out: Sequence[RunCurve]) -> str:
    """What the small print says of runs without a final value."""
    return f"; {counted(len(left_out), 'run')} without a final value left out" if left_out else ""


def _draw_line(
    axes: "Axes",
    *,
    dots: Sequence[tuple[float, float]],
    look: LineStyle,
    label: str,
    shift_points: float,
    law_of: str,
) -> None:
    """The runs of one line as (x, last value), shifted a little so that error bars do not overlap. `law_of` names x in
    the power law; empty: x is not a number, and there is no law."""
    from matplotlib.transforms import ScaledTranslation

    x, y = zip(*sorted(dots), strict=True)
    law = fit_power_law(x, y) if law_of else None
    aside = axes.transData + ScaledTranslation(shift_points / 72, 0, axes.figure.dpi_scale_trans)
    axes.plot(x, y, "o", color=look.colour, markersize=3.5, alpha=0.5, markeredgewidth=0, transform=aside)
    at: dict[float, list[float]] = {}
    for one, value in zip(x, y, strict=True):
        at.setdefault(one, []).append(value)
    places, values = [*at], [*at.values()]
    means = [statistics.fmean(own) for own in values]
    # Exact, where the square of a perplexity that ran away would overflow.
    deviations = [statistics.stdev(own) if len(own) > 1 else math.nan for own in values]
    halves = half_width(numpy.array([len(own) for own in values]), numpy.array(deviations))
    if law and not (law.is_sure and describes(law, places, means)):
        law = None
    # Use the unshifted points for the axes' limits.
    ends = [
        (one, mean + sign * half) for one, mean, half in zip(places, means, halves, strict=True) for sign in (-1, 1)
    ]
    axes.update_datalim([*dots, *(end for end in ends if math.isfinite(end[1]))])
    # If a law is fitted, it is the line: a second one through the means would only cover it.
    text = ", ".join(part for part in (label, law_text(law, law_of) if law else "") if part)
    axes.errorbar(
        places, means, yerr=halves, color=look.colour, marker=look.marker or "D", markersize=5,
        linestyle="none" if law else look.dashes, linewidth=LINE_WIDTH, capsize=3, elinewidth=1.2,
        transform=aside,
    )  # fmt: skip
    if text:
        # A line of its own for the legend, whose dashes no error bar covers.
        axes.plot(
            [], [], color=look.colour, linestyle=look.dashes, linewidth=LINE_WIDTH, label=text,
            marker=look.marker or "D", markersize=4,
        )  # fmt: skip
    if law:
        fine = numpy.geomspace(places[0], places[-1], 60)
        drawn = [law.at(float(one)) for one in fine]
        axes.plot(fine, drawn, color=look.colour, linestyle=look.dashes, linewidth=LINE_WIDTH)


def law_text(law: PowerLaw, name: str) -> str:
    """`∝ depth^(-0.076 ± 0.004)`: the exponent, rounded to its uncertainty."""
    digits = 3 if not law.half_width else max(2, min(4, 1 - math.floor(math.log10(law.half_width))))
    return f"∝ {name}^({law.exponent:.{digits}f} ± {law.half_width:.{digits}f})"


def _dress(
    axes: "Axes", drawing: FinalDrawing, runs: Sequence[RunCurve], known: Sequence[Any], *, are_numbers: bool
) -> None:
    axes.set_xlabel(SIZES.get(drawing.against, drawing.against))
    axes.set_ylabel(f"final {metric_label(drawing.metric, tokenizers_of(runs))}")
    spread = are_numbers and known[0] > 0 and known[-1] / known[0] >= _LOGARITHMIC_FROM
    if are_numbers and (drawing.log_x or spread):
        plain_logarithmic(axes, "x")
    if drawing.log_y:
        plain_logarithmic(axes, "y")
    if not are_numbers:
        _name_places(axes, [value_text(value) for value in known])
        axes.set_xlim(-0.5, len(known) - 0.5)
    elif len(known) <= 8 and not _crowded(known):
        from matplotlib.ticker import NullLocator

        is_size = drawing.against in SIZES
        axes.set_xticks(known, [short_count(value) if is_size else value_text(value) for value in known])
        axes.xaxis.set_minor_locator(NullLocator())
    dress(axes)


def _name_places(axes: "Axes", texts: Sequence[str]) -> None:
    """Ticks for words: long ones without their middle, slanted if they would overlap."""
    names = without_middles(texts)
    axes.set_xticks(range(len(names)), names)
    if sum(map(len, names)) > _MOST_LETTERS_ABREAST:
        for label in axes.get_xticklabels():
            label.set(rotation=25, ha="right", rotation_mode="anchor")


def without_middles(texts: Sequence[str]) -> Sequence[str]:
    """The texts, long ones cut in the middle, unless some of them would then be the same."""
    cut = [text if len(text) <= _LONGEST_NAME else f"{text[:9]}…{text[10 - _LONGEST_NAME :]}" for text in texts]
    return cut if len(set(cut)) == len(set(texts)) else texts


def _crowded(values: Sequence[float]) -> bool:
    """Whether labels at these values would overlap, on either kind of axis."""
    if len(values) < 2:
        return False
    is_logarithmic = values[0] > 0 and values[-1] / values[0] >= _LOGARITHMIC_FROM
    places = [math.log(value) for value in values] if is_logarithmic else list(values)
    return min(b - a for a, b in pairwise(places)) < (places[-1] - places[0]) / 12


def check_varies(runs: Sequence[RunCurve], names: Sequence[str], left_out: Sequence[RunCurve]) -> None:
    """Raise ExportError if one of the settings has only one value: there is nothing to draw against. The hint says
    whether runs `left_out`, which have no final value, have others."""
    for name in names:
        values = {place_of(run, name) for run in runs}
        if len(values) > 1:
            continue
        swept = list(differing_settings(run.settings for run in [*runs, *left_out]))
        hint = f"These differ: {', '.join(swept)}." if swept else "All runs have the same settings."
        others = {place_of(run, name) for run in left_out} - values
        if others:
            others_text = ", ".join(map(value_text, sorted(others, key=sortable)))
            hint = f"Only runs without a final value have another {name}: {others_text}."
        only = value_text(next(iter(values)))
        among = " with a final value" if left_out else ""
        whose = f"all {counted(len(runs), 'run')}{among} have" if len(runs) > 1 else f"the one run{among} has"
        raise ExportError(f"{whose} {name} {only}", hint)
