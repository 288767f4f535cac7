"""Figures of the runs' last values over two settings."""

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy

from orchestrator.comparison.measuring.groups import sortable
from orchestrator.errors import ExportError
from orchestrator.plots.curve_sets import grouped
from orchestrator.plots.drawing.final_values import left_out_note, settings_followed, without_middles
from orchestrator.plots.drawing.options import MetricOptions
from orchestrator.plots.drawing.style import Size, add_titles, metric_label, new_figure, points, tokenizers_of
from orchestrator.plots.run_curves import SIZES, RunCurve, place_of
from orchestrator.sweep.arm_labels import differing_settings
from orchestrator.sweep.options import value_text
from orchestrator.wording.numbers import measured_text, short_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_MOST_CELLS, _MOST_WRITTEN = 1_600, 150  # with a colour; with numbers too
_LONGEST_COLUMN_NAME = 9  # upright
_LEAST_HEIGHT_INCHES = 3.2  # with the upright words beside the colour bar


@dataclass(frozen=True, kw_only=True)
class HeatMap(MetricOptions):
    """The mean last value of a metric over two settings: one per row, one per column."""

    rows: str
    columns: str
    size: Size | None = None


@dataclass(frozen=True, kw_only=True)
class _Cell:
    """What a cell shows: the mean over its runs, the deviation over seeds (nan: none), and how many runs came to their
    end and how many were lost."""

    mean: float
    deviation: float
    came: int
    lost: int

    @classmethod
    def of(cls, runs: Sequence[RunCurve], lost: int) -> "_Cell":
        """The cell of these runs."""
        seeds: dict[int, list[float]] = {}
        for run in runs:
            seeds.setdefault(run.seed, []).append(float(run.y[-1]))
        means = [statistics.fmean(own) for own in seeds.values()]
        return cls(
            mean=statistics.fmean(run.y[-1] for run in runs) if runs else math.nan,
            deviation=statistics.stdev(means) if len(means) > 1 else math.nan,
            came=len(runs),
            lost=lost,
        )

    @property
    def text(self) -> str:
        """Its numbers, and how many of its runs finished if some did not."""
        text = measured_text(self.mean, digits=4) if self.came else "" if self.lost else "no run"
        if math.isfinite(self.deviation):
            text += f"\n± {measured_text(self.deviation, digits=2)}"
        return text + (f"\n{self.came or 'none'} of {self.came + self.lost} runs" if self.lost else "")


def draw_heat_map(runs: Sequence[RunCurve], drawing: HeatMap, left_out: Sequence[RunCurve]) -> "Figure":
    """A cell per pair of values; its colour and number are the mean last value of its runs.

    A cell with runs `left_out` (no final value) says how many: the survivors alone may look too good.
    """
    both = (drawing.rows, drawing.columns)
    rows, columns = (sorted({place_of(run, name) for run in (*runs, *left_out)}, key=sortable) for name in both)
    if len(rows) * len(columns) > _MOST_CELLS:
        raise ExportError(
            f"a heat map of {len(rows)} x {len(columns)} cells is unreadable", "Choose runs with filters."
        )
    came, lost = grouped(runs, both), grouped(left_out, both)
    cells = [
        [_Cell.of(came.get((row, column), ()), len(lost.get((row, column), ()))) for column in columns] for row in rows
    ]
    height = max(_LEAST_HEIGHT_INCHES, 1.5 + 0.55 * len(rows))
    figure = new_figure((max(4.6, 2.6 + 0.85 * len(columns)), height), drawing.size, keeps_height=True)
    axes = figure.add_subplot()
    edges = [numpy.arange(len(values) + 1) - 0.5 for values in (columns, rows)]
    mesh = axes.pcolormesh(*edges, numpy.array([[cell.mean for cell in row] for row in cells]), cmap="viridis")
    axes.set_facecolor("#EEEEEE")
    _name_sides(axes, drawing, rows, columns)
    if len(rows) * len(columns) <= _MOST_WRITTEN:
        _write_numbers(axes, cells)
    bar = figure.colorbar(mesh, ax=axes)
    if bar.solids is not None:
        bar.solids.set(rasterized=False, edgecolor="face")  # vector shapes, without seams
    bar.set_label(f"final {metric_label(drawing.metric, tokenizers_of(runs))}", fontsize=points(8.5))
    known = settings_followed(drawing.rows) | settings_followed(drawing.columns) | {*both}
    others = [name for name in differing_settings(run.settings for run in runs) if name not in known]
    add_titles(figure, drawing.title, _note([cell for row in cells for cell in row], others) + left_out_note(left_out))
    return figure


def _name_sides(axes: "Axes", drawing: HeatMap, rows: Sequence[Any], columns: Sequence[Any]) -> None:
    column_names, row_names = (
        without_middles([short_count(value) if name in SIZES else value_text(value) for value in values])
        for name, values in ((drawing.columns, columns), (drawing.rows, rows))
    )
    axes.set_xticks(range(len(columns)), column_names)
    axes.set_yticks(range(len(rows)), row_names)
    if max(map(len, column_names)) > _LONGEST_COLUMN_NAME:
        axes.tick_params(axis="x", rotation=25)
    axes.set_xlabel(SIZES.get(drawing.columns, drawing.columns))
    axes.set_ylabel(SIZES.get(drawing.rows, drawing.rows))
    axes.spines[:].set_visible(False)
    axes.tick_params(labelsize=points(10))


def _write_numbers(axes: "Axes", cells: Sequence[Sequence[_Cell]]) -> None:
    means = [cell.mean for row in cells for cell in row if cell.came]
    middle = (min(means) + max(means)) / 2
    for y, row in enumerate(cells):
        for x, cell in enumerate(row):
            colour = "white" if cell.mean <= middle else "black"
            axes.text(x, y, cell.text, ha="center", va="center", fontsize=points(8), color=colour)


def _note(cells: Sequence[_Cell], others: Sequence[str]) -> str:
    """What a cell's numbers mean; `others` are the settings that they are means over too."""
    counts = sorted({cell.came for cell in cells if cell.came})
    if counts == [1]:
        return "one run per cell"
    shown = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    spread = " ± standard deviation over seeds" if any(math.isfinite(cell.deviation) for cell in cells) else ""
    over = f", over {', '.join(others)} too" if others else ""
    return f"mean{spread} of {shown} runs per cell{over}"
