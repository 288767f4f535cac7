"""Figures of the runs' last values over two settings."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ExportError
from orchestrator.plots.curve_sets import sortable
from orchestrator.plots.final_values import (
    SIZES,
    grouped_by,
    left_out_note,
    place_of,
    settings_followed,
    without_middles,
)
from orchestrator.plots.run_curves import RunCurve
from orchestrator.plots.style import Size, add_titles, metric_label, new_figure, points
from orchestrator.sweep.arm_labels import differing_settings, settings_of
from orchestrator.sweep.options import value_text
from orchestrator.wording.numbers import measured_text, short_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LONGEST_COLUMN_NAME = 9  # upright
_LEAST_HEIGHT_INCHES = 3.2  # with the upright words beside the colour bar


@dataclass(frozen=True, kw_only=True)
class HeatMap:
    """The mean last value of a metric over two settings: one per row, one per column."""

    rows: str
    columns: str
    metric: str = "val_loss"
    title: str = ""
    size: Size | None = None


def draw_heat_map(runs: Sequence[RunCurve], drawing: HeatMap, left_out: Sequence[RunCurve] = ()) -> "Figure":
    """A cell per pair of values; its colour and number are the mean last value of its runs.

    A cell with runs `left_out` (no final value) says how many: the survivors alone may look too good.
    """
    import numpy

    rows, columns = place_of(drawing.rows), place_of(drawing.columns)
    row_values = sorted({rows(run) for run in (*runs, *left_out)}, key=sortable)
    column_values = sorted({columns(run) for run in (*runs, *left_out)}, key=sortable)
    if len(row_values) * len(column_values) > 1_600:
        raise ExportError(
            f"a heat map of {len(row_values)} x {len(column_values)} cells is unreadable", "Choose runs with filters."
        )
    cells = grouped_by(runs, [drawing.rows, drawing.columns])
    means = numpy.full((len(row_values), len(column_values)), math.nan)
    for (row, column), own in cells.items():
        means[row_values.index(row), column_values.index(column)] = statistics.fmean(run.y[-1] for run in own)
    height = max(_LEAST_HEIGHT_INCHES, 1.5 + 0.55 * len(row_values))
    figure = new_figure((max(4.6, 2.6 + 0.85 * len(column_values)), height), drawing.size, keeps_height=True)
    axes = figure.add_subplot()
    edges = [numpy.arange(count + 1) - 0.5 for count in (len(column_values), len(row_values))]
    mesh = axes.pcolormesh(*edges, means, cmap="viridis")
    axes.set_facecolor("#EEEEEE")
    names = [
        without_middles([_short(name, value) for value in values])
        for name, values in ((drawing.columns, column_values), (drawing.rows, row_values))
    ]
    axes.set_xticks(range(len(column_values)), names[0])
    axes.set_yticks(range(len(row_values)), names[1])
    if max(map(len, names[0])) > _LONGEST_COLUMN_NAME:
        axes.tick_params(axis="x", rotation=25)
    axes.set_xlabel(SIZES.get(drawing.columns, drawing.columns))
    axes.set_ylabel(SIZES.get(drawing.rows, drawing.rows))
    axes.spines[:].set_visible(False)
    axes.tick_params(labelsize=points(10))
    deviations = {cell: _deviation(own) for cell, own in cells.items()}
    if means.size <= 150:
        lost = numpy.zeros(means.shape, dtype=int)
        for (row, column), own in grouped_by(left_out, [drawing.rows, drawing.columns]).items():
            lost[row_values.index(row), column_values.index(column)] = len(own)
        came = numpy.zeros(means.shape, dtype=int)
        for (row, column), own in cells.items():
            came[row_values.index(row), column_values.index(column)] = len(own)
        spreads = numpy.full(means.shape, math.nan)
        for (row, column), deviation in deviations.items():
            spreads[row_values.index(row), column_values.index(column)] = deviation
        _write_numbers(axes, means, spreads, (came, lost))
    bar = figure.colorbar(mesh, ax=axes)
    if bar.solids is not None:
        bar.solids.set(rasterized=False, edgecolor="face")  # vector shapes, without seams
    bar.set_label(f"final {metric_label(drawing.metric, runs)}", fontsize=points(8.5))
    counts = sorted({len(own) for own in cells.values()})
    shown = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    others = [
        name
        for name in differing_settings(settings_of(runs))
        if name not in (drawing.rows, drawing.columns)
        and name not in settings_followed(drawing.rows) | settings_followed(drawing.columns)
    ]
    over = f", over {', '.join(others)} too" if others else ""
    spread = " ± standard deviation over seeds" if any(map(math.isfinite, deviations.values())) else ""
    note = "one run per cell" if counts == [1] else f"mean{spread} of {shown} runs per cell{over}"
    add_titles(figure, drawing.title, note + left_out_note(left_out))
    return figure


def _short(name: str, value: Any) -> str:
    return short_count(value) if name in SIZES else value_text(value)


def _deviation(runs: Sequence[RunCurve]) -> float:
    """The standard deviation over seeds, each the mean of its runs; nan for one seed."""
    seeds: dict[int, list[float]] = {}
    for run in runs:
        seeds.setdefault(run.seed, []).append(float(run.y[-1]))
    means = [statistics.fmean(own) for own in seeds.values()]
    return statistics.stdev(means) if len(means) > 1 else math.nan


def _write_numbers(axes: "Axes", means: Any, spreads: Any, counts: tuple[Any, Any]) -> None:
    """The cells' means with their deviations, and how many of their runs finished if some did not: `counts` are of
    those that did and did not."""
    import numpy

    came, lost = counts

    middle = (numpy.nanmin(means) + numpy.nanmax(means)) / 2
    for (row, column), value in numpy.ndenumerate(means):
        text = measured_text(value, digits=4) if math.isfinite(value) else "" if lost[row, column] else "no run"
        if math.isfinite(spreads[row, column]):
            text += f"\n± {measured_text(spreads[row, column], digits=2)}"
        if lost[row, column]:
            text += f"\n{came[row, column] or 'none'} of {came[row, column] + lost[row, column]} runs"
        colour = "white" if value <= middle else "black"
        axes.text(column, row, text, ha="center", va="center", fontsize=points(8), color=colour)
