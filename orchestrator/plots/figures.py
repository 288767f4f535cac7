"""From runs to a figure in a file: read the curves, say what cannot be shown, draw, save."""

import dataclasses
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.errors import ExportError
from orchestrator.export.metric_names import Axis, Metric
from orchestrator.files.replaced_file import checked_target, replaced_file
from orchestrator.plots.cautions import (
    check_comparable,
    counts_seconds,
    one_a_seed,
    said_of_ends,
    said_of_logarithms,
    said_of_means,
    with_last_values,
    with_values,
)
from orchestrator.plots.curve_sets import Averaged, Band, averaged, do_meet, grouped, of_arms
from orchestrator.plots.drawing.curve_figures import SCHEDULES, Drawing, draw_curves, draw_schedules
from orchestrator.plots.drawing.final_values import FinalDrawing, check_varies, draw_final, settings_followed
from orchestrator.plots.drawing.heat_maps import HeatMap, draw_heat_map
from orchestrator.plots.drawing.style import Size, add_titles, lettering, plain_texts
from orchestrator.plots.reading import Source
from orchestrator.plots.run_curves import SIZES, RunCurve, newest_of_each_seed, of_x, with_flops
from orchestrator.queue.runs import RunFilter
from orchestrator.store import Store
from orchestrator.sweep.arm_labels import differing_settings
from orchestrator.sweep.baseline import baseline_text, restricted
from orchestrator.sweep.options import setting_name
from orchestrator.wording.numbers import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from orchestrator.comparison.results import Comparison

ENDINGS = (".png", ".svg", ".pdf")
Choice = TypeVar("Choice", Drawing, FinalDrawing)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure, how many arms and runs it shows, and warnings about those it does not show.

    One of differences is of a `comparison`, whose look is still to be recorded; its arms are those differences.
    """

    figure: "Figure"
    arms: int
    runs: int
    warnings: Sequence[str] = ()
    comparison: "Comparison | None" = None


def plot_curves(source: Store | str | Path, drawing: Drawing | None = None, runs: RunFilter | None = None) -> Drawn:
    """A metric's curves from `source` (a store, or a CSV that hlbq exported). From a store: `runs`, or the latest
    sweep.

    Raises ExportError for an unknown metric, and if there is nothing to draw or the runs cannot be compared;
    SettingsError for an unknown setting.
    """
    drawing, chosen = _with_known_settings(drawing or Drawing()), Source.of(source, runs)
    named = drawing.baseline or {}
    if drawing.baseline is None:
        drawing = dataclasses.replace(drawing, baseline=chosen.baseline())
    by = _grouping(drawing.by, drawing.facet, drawing.colour, drawing.style)
    every = chosen.curves(drawing.metric, drawing.x, smooth=drawing.smooth)
    read, repeated = one_a_seed(every)
    found, warnings = with_values(read, drawing.metric, drawing.x)
    if named and not any(restricted(run.settings, named) == named for run in read):
        what = f"--baseline {baseline_text(named)}: no run here has that"
        raise ExportError(what, chosen.hint_of_values(read, list(named)))
    drawable = [run for run in every if len(run.x)]
    warnings += [*repeated, *check_comparable(drawable, drawing.metric, drawing, of_table=chosen.is_table)]
    if isinstance(drawing.x, Metric):
        said = check_comparable(of_x(drawable), drawing.x.name, drawing, option="--x", of_table=chosen.is_table)
        warnings += [text for text in said if text not in warnings]
        if drawing.band in (Band.INTERVAL, Band.RANGE):
            warnings.append(f"--band {drawing.band} has no effect where x is a metric: both vary")
    warnings += chosen.cautions(found, timed=counts_seconds(drawing.x) or counts_seconds(drawing.metric))
    warnings += said_of_ends(found, drawing.metric)
    if drawing.log_y:
        warnings += said_of_logarithms("--log_y", drawing.metric, [run.y.tolist() for run in found])
    if drawing.log_x and isinstance(drawing.x, Metric):
        warnings += said_of_logarithms("--log_x", drawing.x.name, [run.y.tolist() for run in of_x(found)])
    return _drawn(found, by, drawing.size, lambda curves: draw_curves(curves, drawing), warnings, drawing.x)


def plot_final(source: Store | str | Path, drawing: FinalDrawing | HeatMap, runs: RunFilter | None = None) -> Drawn:
    """The last values of the runs that have ended, against one setting or over two. Raises as `plot_curves`."""
    drawing, names = _with_known_places(drawing)
    chosen = Source.of(source, runs)
    # Over tokens where x does not matter, since tables of the original tool have no steps. FLOPs add up over points.
    axis = Axis.FLOPS if "flops" in names else Axis.TOKENS
    chosen.check_columns(names)
    every = chosen.curves(drawing.metric, axis, last=axis is Axis.TOKENS)
    read, repeated = one_a_seed(every)
    found, warnings = with_values(read, drawing.metric)
    found, warnings = with_last_values(found, drawing.metric, warnings)
    kept = {id(run) for run in found}
    left_out = [run for run in read if id(run) not in kept]
    drawable = [run for run in every if len(run.x)]
    warnings += [*repeated, *check_comparable(drawable, drawing.metric, drawing, of_table=chosen.is_table)]
    if axis is Axis.FLOPS:
        found = with_flops(found)
    found = [dataclasses.replace(run, x=run.x[-1:], y=run.y[-1:]) for run in found]
    check_varies(found, names, left_out)
    warnings += chosen.cautions(found, timed=counts_seconds(drawing.metric))
    if isinstance(drawing, HeatMap):
        draw_map = partial(draw_heat_map, drawing=drawing, left_out=left_out)
        return _drawn(found, (), drawing.size, draw_map, warnings)
    if drawing.log_y:
        warnings += said_of_logarithms("--log_y", drawing.metric, [[float(run.y[-1])] for run in found])
    by = _grouping(drawing.by, *(settings_followed(drawing.against) or names), drawing.colour, drawing.style)
    return _drawn(found, by, drawing.size, partial(draw_final, drawing=drawing, left_out=left_out), warnings)


def plot_schedules(source: Store | str | Path, drawing: Drawing | None = None, runs: RunFilter | None = None) -> Drawn:
    """Learning rate, weight decay, batch size and sequence length over the run. Raises as `plot_curves`."""
    drawing = dataclasses.replace(_with_known_settings(drawing or Drawing()), log_x=False)
    chosen = Source.of(source, runs)
    read = {metric: newest_of_each_seed(chosen.curves(metric, drawing.x)) for metric in SCHEDULES}
    drawn = {metric: [run for run in own if len(run.x)] for metric, own in read.items()}
    found: dict[str, Sequence[RunCurve]] = {metric: own for metric, own in drawn.items() if own}
    first = with_values(next(iter(found.values()), ()), SCHEDULES[0], drawing.x)[0]
    if by := _grouping(drawing.by, drawing.colour, drawing.style):
        found = {metric: averaged(own, by).curves for metric, own in found.items()}
    found = {metric: own for metric, own in found.items() if any(map(do_meet, of_arms(own)))}
    return _drawn(first, by, drawing.size, lambda curves: draw_schedules(found, drawing), [], drawing.x)


def _with_known_places(drawing: FinalDrawing | HeatMap) -> tuple[FinalDrawing | HeatMap, list[str]]:
    """The drawing with names as stored, and those of its places. Raises SettingsError for an unknown one, ExportError
    for a heat map that would be none."""
    if isinstance(drawing, FinalDrawing):
        drawing = _with_known_settings(dataclasses.replace(drawing, against=setting_name(drawing.against, SIZES)))
        return drawing, [drawing.against]
    names = [setting_name(drawing.rows, SIZES), setting_name(drawing.columns, SIZES)]
    if len(set(names)) == 1:
        raise ExportError(f"a heat map needs two different settings, not {names[0]} twice", "Name another setting.")
    if "flops" in names:
        raise ExportError("a heat map over flops would have a cell for each arm", "Draw them: --final flops")
    return dataclasses.replace(drawing, rows=names[0], columns=names[1]), names


def _grouping(by: Sequence[str], *others: str) -> tuple[str, ...]:
    """The settings to group by: those asked for, and all that the figure tells apart besides; empty for the usual."""
    return tuple(dict.fromkeys(map(setting_name, filter(None, (*by, *others))))) if by else ()


def _drawn(
    runs: Sequence[RunCurve],
    by: Sequence[str],
    size: Size | None,
    draw: Callable[[Sequence[RunCurve]], "Figure"],
    warnings: list[str],
    x: Axis | Metric | None = None,
) -> Drawn:
    """The figure of the runs, averaged over other settings where they are grouped `by` some. Of curves `x` is what they
    are over: means of seeds that share none are left out."""
    found = averaged(runs, by) if by else Averaged(curves=runs, over=(), left_out=0)
    others = ", ".join(found.over)
    if not (found.curves or found.apart):
        raise ExportError(
            f"the groups by {', '.join(by)} have no {others} in common", "Group by more: --by, or choose runs."
        )
    if found.left_out:
        warnings = [
            *warnings,
            f"{counted(found.left_out, 'run')} left out: not every group has their {others} at their seed",
        ]
    curves = found.curves
    if x is not None:
        warnings = [*warnings, *said_of_means(found, x)]
        curves = [run for own in of_arms(curves) if do_meet(own) for run in own]
    arms = len(grouped(curves, differing_settings(run.settings for run in curves)))
    with lettering(size):
        figure = draw(found.curves)
        if found.over:
            add_titles(figure, "", f"{figure.get_supxlabel()}; each seed averaged over {others}")
    # Each curve is of the same number of runs.
    shown = (len(runs) - found.left_out - found.apart) * len(curves) // len(found.curves)
    return Drawn(figure=figure, arms=arms, runs=shown, warnings=warnings)


def save(figure: "Figure", path: str | Path) -> None:
    """Write the figure as a png, svg or pdf file. Raises ExportError for another ending, and if it cannot be
    written."""
    path = Path(path)
    ending = check_ending(path)
    with replaced_file(path) as stream:
        # No date inside: the same runs give the same file.
        metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(ending)
        with plain_texts(figure):
            figure.savefig(stream, format=ending[1:], metadata=metadata)


def as_png(figure: "Figure") -> bytes:
    """The figure as a notebook shows it."""
    stream = io.BytesIO()
    with plain_texts(figure):
        figure.savefig(stream, format="png", dpi=100)
    return stream.getvalue()


def check_ending(path: Path) -> str:
    """The file's ending. Raises ExportError if it is not a figure format."""
    ending = path.suffix.lower()
    checked_target(path, "val_loss.png")
    if ending not in ENDINGS:
        raise ExportError(f"'{path}': the ending '{path.suffix}' is not a figure format", f"Use {', '.join(ENDINGS)}.")
    return ending


def _with_known_settings(drawing: Choice) -> Choice:
    """The drawing with the names of settings as stored. Raises SettingsError for an unknown one."""
    given = {name: getattr(drawing, name, "") for name in ("facet", "colour", "style")}
    named: dict[str, Any] = {name: setting_name(value) for name, value in given.items() if value}
    return dataclasses.replace(drawing, **named)
