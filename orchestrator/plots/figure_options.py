"""A figure by the options of `hlbq plot`, which are the arguments of `orchestrator.plot`."""

from collections.abc import Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from orchestrator.comparison.measuring.groups import check_name, read_baseline
from orchestrator.comparison.questions import Question
from orchestrator.errors import UsageError
from orchestrator.export.metric_names import Axis, Metric, parse_x
from orchestrator.plots.curve_sets import Band
from orchestrator.plots.differences import plot_differences
from orchestrator.plots.drawing.curve_figures import Drawing
from orchestrator.plots.drawing.difference_figures import DifferenceDrawing
from orchestrator.plots.drawing.final_values import FinalDrawing
from orchestrator.plots.drawing.heat_maps import HeatMap
from orchestrator.plots.drawing.options import CurveOptions, LineOptions, MetricOptions
from orchestrator.plots.drawing.style import Size, parse_size
from orchestrator.plots.figures import Drawn, plot_curves, plot_final, plot_schedules
from orchestrator.plots.reading import Source
from orchestrator.queue.runs import RunFilter
from orchestrator.store import Store
from orchestrator.sweep.option_spec import check_arguments, several_of
from orchestrator.sweep.options import setting_name


@dataclass(frozen=True, kw_only=True)
class FigureOptions(CurveOptions):
    """What to draw. At most one of `difference`, `effects`, `final`, `heatmap` and `schedules`; without them curves.

    A single name may be given to `by`, and a baseline in any form that `compare` takes.
    """

    metric: str = field(default="val_loss", kw_only=False)
    difference: bool = False
    effects: bool = False
    margin: float | None = None
    final: str = ""
    heatmap: Sequence[str] = ()
    schedules: bool = False
    x: str = ""
    band: str = "auto"
    size: str = ""

    def __post_init__(self) -> None:
        check_arguments(self)
        for name in ("by", "heatmap"):
            object.__setattr__(self, name, tuple(several_of(getattr(self, name))))
        # Groups may differ in facts too; the arms of a figure of curves differ in settings alone.
        known = check_name if self.difference or self.effects else setting_name
        object.__setattr__(self, "baseline", read_baseline(self.baseline, known))
        if not 0 <= self.smooth < 1:
            raise UsageError(f"smooth {self.smooth:g}: not a weight of the past", "Use a number from 0 to below 1.")

    @property
    def kind(self) -> str:
        """The option for other figures that was given; empty for curves. Raises UsageError for several, or a heat map
        of one setting."""
        kinds = ("difference", "effects", "final", "heatmap", "schedules")
        given = [name for name in kinds if getattr(self, name)]
        if len(given) > 1:
            raise UsageError(f"--{' and --'.join(given)} are different figures", "Draw one at a time.")
        if self.heatmap and len(self.heatmap) != 2:
            wrong = f"--heatmap takes two settings, not {len(self.heatmap)}"
            raise UsageError(wrong, "For instance: --heatmap depth width")
        return given[0] if given else ""

    def draw(self, source: Store | Path, runs: RunFilter | None) -> Drawn:
        """The figure, from a store or an exported table; one of differences only from a store and its `runs`.

        Raises UsageError, ExportError or SettingsError where nothing can be drawn.
        """
        if self.kind in ("difference", "effects"):
            if isinstance(source, Path) or runs is None:
                raise UsageError("differences are read from a database, and --csv is a table", "Leave --csv out.")
            return self._differences(source, runs)
        if self.kind == "heatmap":
            rows, columns = self.heatmap
            heat_map = HeatMap(rows=rows, columns=columns, size=self._size, **self._as(MetricOptions))
            return plot_final(source, heat_map, runs)
        if self.kind == "final":
            final = FinalDrawing(against=self.final, size=self._size, **self._as(LineOptions))
            return plot_final(source, final, runs)
        x = parse_x(self.x or "tokens", Source.of(source, runs).metric)
        if self.kind == "schedules":
            return plot_schedules(source, self._curves(x), runs)
        return plot_curves(source, self._curves(x), runs)

    def _differences(self, store: Store, runs: RunFilter) -> Drawn:
        by_seed = self.x == "seeds"
        along = None
        if self.x and not by_seed:
            if self.x not in list(Axis):
                hint = f"Use one of seeds, {', '.join(Axis)}."
                raise UsageError(f"--x {self.x}: differences are drawn along training, or over seeds", hint)
            along = replace(self._curves(Axis(self.x)), facet="", smooth=0.0, log_y=False)
        drawing = DifferenceDrawing(
            effects=self.effects, along=along, by_seed=by_seed, title=self.title, size=self._size
        )
        asked = ("metric", "by", "baseline", "margin", "allow_mixed_data", "allow_mixed_evaluation")
        question = Question(**{name: getattr(self, name) for name in asked})
        return plot_differences(store, question, drawing, runs)

    @property
    def _size(self) -> Size | None:
        return parse_size(self.size) if self.size else None

    def _as(self, kind: type[MetricOptions]) -> dict[str, Any]:
        return {one.name: getattr(self, one.name) for one in fields(kind)}

    def _curves(self, x: Axis | Metric) -> Drawing:
        if self.band not in list(Band):
            raise UsageError(f"--band {self.band}: no such choice", f"Use one of {', '.join(Band)}.")
        return Drawing(x=x, band=Band(self.band), size=self._size, **self._as(CurveOptions))
