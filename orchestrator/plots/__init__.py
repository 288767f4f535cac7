"""`hlbq plot`: figures of curves and of last values, drawn by matplotlib's object API, without a display.

run_curves.py     one curve per run, from the database or an exported table; which runs may be drawn together
curve_sets.py     the runs of an arm on a common x: mean and band
curve_figures.py  a line per arm; small multiples; schedules
final_values.py   last values against a setting (scaling plots), and heat maps
power_law.py      the fit of a scaling plot
style.py          colours, styles, labels with units, ticks and legends
figures.py        from runs to a figure, and to its file
"""

from orchestrator.plots.curve_figures import Drawing
from orchestrator.plots.figures import Drawn, plot_curves, plot_final, plot_schedules, save
from orchestrator.plots.final_values import FinalDrawing, HeatMap

__all__ = ["Drawing", "Drawn", "FinalDrawing", "HeatMap", "plot_curves", "plot_final", "plot_schedules", "save"]
