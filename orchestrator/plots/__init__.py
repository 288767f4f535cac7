"""`hlbq plot`: figures of curves, last values and differences, drawn by matplotlib's object API, without a display.

reading.py             the runs of a figure, from a store or an exported table
run_curves.py          one curve per run; smoothing
curve_sets.py          the runs of an arm on a common x: mean and band; runs averaged over other settings
curve_figures.py       a line per arm; small multiples; schedules
cautions.py            what a figure does not show, and what it must not show together
final_values.py        last values against a setting (scaling plots)
heat_maps.py           last values over two settings
power_law.py           the fit of a scaling plot
search_figures.py      the best so far of a search, and what it tried
difference_figures.py  forest plots, and differences along training
style.py               sizes, colours, styles, labels with units
ticks.py               ticks that are plain numbers
legends.py             legends
figures.py             from runs to a figure, and to its file
differences.py         from a comparison to a figure
figure_options.py      any of these by the options of the command
"""

from orchestrator.plots.differences import plot_differences
from orchestrator.plots.drawing.curve_figures import Drawing
from orchestrator.plots.drawing.difference_figures import DifferenceDrawing
from orchestrator.plots.drawing.final_values import FinalDrawing
from orchestrator.plots.drawing.heat_maps import HeatMap
from orchestrator.plots.figures import Drawn, plot_curves, plot_final, plot_schedules, save

__all__ = [
    "DifferenceDrawing",
    "Drawing",
    "Drawn",
    "FinalDrawing",
    "HeatMap",
    "plot_curves",
    "plot_differences",
    "plot_final",
    "plot_schedules",
    "save",
]
