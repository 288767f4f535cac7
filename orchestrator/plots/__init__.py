"""`hlbq plot`: figures of curves, last values and differences, drawn by matplotlib's object API, without a display.

figure_options.py  any figure by the options of the command
figures.py         from runs to a figure, and to its file; search_figures.py: of a search
differences.py     from a comparison to a figure
reading.py         the runs of a figure, from a store or an exported table
run_curves.py      one curve per run; smoothing
curve_sets.py      the runs of an arm on a common x: mean and band; runs averaged over other settings
cautions.py        what a figure does not show, and what it must not show together
drawing/           each kind of figure, and the styles, ticks and legends that they share
"""

from orchestrator.plots.figures import save

__all__ = ["save"]
