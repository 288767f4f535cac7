"""From runs to a figure in a file: read the curves, say what cannot be shown, draw, save."""

import dataclasses
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.comparison.cautions import code_warnings, device_warnings, seconds_warnings
from orchestrator.comparison.compared_runs import ComparedRun
from orchestrator.errors import ExportError
from orchestrator.export.metric_names import Axis
from orchestrator.files.replaced_file import checked_target, replaced_file
from orchestrator.plots.curve_figures import SCHEDULES, Drawing, draw_curves, draw_schedules
from orchestrator.plots.curve_sets import Averaged, averaged, grouped
from orchestrator.plots.final_values import (
    FinalDrawing,
    check_varies,
    draw_final,
    place_name,
    settings_followed,
)
from orchestrator.plots.heat_maps import HeatMap, draw_heat_map
from orchestrator.plots.run_curves import (
    WITHOUT_CLOCK,
    RunCurve,
    check_comparable,
    ended_early,
    read_curves,
    unfinished,
    with_flops,
)
from orchestrator.plots.style import Size, add_titles, lettering, plain_texts, setting_name
from orchestrator.queue.records import RunFilter
from orchestrator.store import Store
from orchestrator.sweep.arm_labels import differing_settings, settings_of
from orchestrator.sweep.baseline import baseline_of
from orchestrator.wording.numbers import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

ENDINGS = (".png", ".svg", ".pdf")
Choice = TypeVar("Choice", Drawing, FinalDrawing)


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """A figure, how many arms and runs it shows, and warnings about those it does not show."""

    figure: "Figure"
    arms: int
    runs: int
    warnings: Sequence[str] = ()


def plot_curves(
    source: Store | str | Path,
    drawing: Drawing | None = None,
    runs: RunFilter | None = None,
    *,
    allow_mixed_data: bool = False,
    allow_mixed_evaluation: bool = False,
) -> Drawn:
    """A metric's curves from `source` (a store, or a CSV that hlbq exported). From a store: `runs`, or the latest
    sweep.

    Raises ExportError for an unknown metric, and if there is nothing to draw or the runs cannot be compared;
    SettingsError for an unknown setting.
    """
    drawing = _with_baseline(_with_known_settings(drawing or Drawing()), source, runs)
    by = _grouping(drawing.by, drawing.facet, drawing.colour, drawing.style)
    read = _read(source, runs, drawing.metric, drawing.x, smooth=drawing.smooth)
    found, warnings = _with_values(read, drawing.metric)
    warnings += check_comparable(
        found, drawing.metric, allow_mixed_data=allow_mixed_data, allow_mixed_evaluation=allow_mixed_evaluation
    )
    warnings += _said_of_code(source, runs, found)
    warnings += _said_of_ends(found, drawing.metric)
    if drawing.log_y:
        warnings += _said_of_logarithms("--log_y", drawing.metric, [run.y.tolist() for run in found])
    if drawing.x in (Axis.SECONDS, Axis.WALL_CLOCK) or _counts_seconds(drawing.metric):
        warnings += _said_of_seconds(source, runs, found)
    return _drawn(found, by, drawing.size, lambda curves: draw_curves(curves, drawing), warnings)


def plot_final(
    source: Store | str | Path,
    drawing: FinalDrawing | HeatMap,
    runs: RunFilter | None = None,
    *,
    allow_mixed_data: bool = False,
    allow_mixed_evaluation: bool = False,
) -> Drawn:
    """The last values of the runs that have ended, against one setting or over two. Raises as `plot_curves`."""
    if isinstance(drawing, HeatMap):
        drawing = dataclasses.replace(drawing, rows=place_name(drawing.rows), columns=place_name(drawing.columns))
        names = [drawing.rows, drawing.columns]
        if drawing.rows == drawing.columns:
            raise ExportError(
                f"a heat map needs two different settings, not {drawing.rows} twice", "Name another setting."
            )
        if "flops" in names:
            raise ExportError("a heat map over flops would have a cell for each arm", "Draw them: --final flops")
    else:
        drawing = _with_known_settings(dataclasses.replace(drawing, against=place_name(drawing.against)))
        names = [drawing.against]
    # Over tokens where x does not matter, since tables of the original tool have no steps. FLOPs add up over points.
    axis = Axis.FLOPS if "flops" in names else Axis.TOKENS
    read = _read(source, runs, drawing.metric, axis, last=axis is Axis.TOKENS)
    found, warnings = _with_values(read, drawing.metric)
    open_runs = [run for run in found if unfinished(run)]
    diverged = [run for run in found if run.diverged and not unfinished(run)]
    early = [run for run in found if ended_early(run) and not run.diverged]
    if open_runs:
        warnings.append(f"{counted(len(open_runs), 'run')} left out: not finished")
    if diverged:
        warnings.append(f"{counted(len(diverged), 'run')} left out: the last {drawing.metric} is not finite")
    if early:
        warnings.append(f"{counted(len(early), 'run')} left out: failed, cancelled or stopped early")
    found = [run for run in found if not (run.diverged or unfinished(run) or ended_early(run))]
    kept = {id(run) for run in found}
    left_out = [run for run in read if id(run) not in kept]
    if not found:
        raise ExportError(
            f"no run has a final '{drawing.metric}' ({'; '.join(warnings)})", "See how far the runs are: hlbq status"
        )
    warnings += check_comparable(
        found, drawing.metric, allow_mixed_data=allow_mixed_data, allow_mixed_evaluation=allow_mixed_evaluation
    )
    if axis is Axis.FLOPS:
        found = with_flops(found)
    check_varies(found, names, left_out)
    warnings += _said_of_code(source, runs, found)
    if _counts_seconds(drawing.metric):
        warnings += _said_of_seconds(source, runs, found)
    if isinstance(drawing, HeatMap):
        heat_map = drawing
        return _drawn(found, (), drawing.size, lambda last: draw_heat_map(last, heat_map, left_out), warnings)
    if drawing.log_y:
        warnings += _said_of_logarithms("--log_y", drawing.metric, [[float(run.y[-1])] for run in found])
    final = drawing
    by = _grouping(drawing.by, *(settings_followed(drawing.against) or names), drawing.colour, drawing.style)
    return _drawn(found, by, drawing.size, lambda last: draw_final(last, final, left_out), warnings)


def plot_schedules(source: Store | str | Path, drawing: Drawing | None = None, runs: RunFilter | None = None) -> Drawn:
    """Learning rate, weight decay, batch size and sequence length over the run. Raises as `plot_curves`."""
    drawing = _with_known_settings(drawing or Drawing())
    found: dict[str, Sequence[RunCurve]] = {}
    for metric in SCHEDULES:
        read = [run for run in _read(source, runs, metric, drawing.x) if len(run.x)]
        if read:
            found[metric] = read
    first = _with_values(next(iter(found.values()), ()), SCHEDULES[0])[0]
    if by := _grouping(drawing.by, drawing.colour, drawing.style):
        found = {metric: averaged(own, by).curves for metric, own in found.items()}
    return _drawn(first, by, drawing.size, lambda curves: draw_schedules(found, drawing), [])


def _grouping(by: Sequence[str], *others: str) -> tuple[str, ...]:
    """The settings to group by: those asked for, and all that the figure tells apart besides; empty for the usual."""
    return tuple(dict.fromkeys(map(setting_name, filter(None, (*by, *others))))) if by else ()


def _drawn(
    runs: Sequence[RunCurve],
    by: Sequence[str],
    size: Size | None,
    draw: Callable[[Sequence[RunCurve]], "Figure"],
    warnings: list[str],
) -> Drawn:
    """The figure of the runs, averaged over other settings where they are grouped `by` some."""
    found = averaged(runs, by) if by else Averaged(curves=runs, over=(), left_out=0)
    others = ", ".join(found.over)
    if not found.curves:
        raise ExportError(
            f"the groups by {', '.join(by)} have no {others} in common", "Group by more: --by, or choose runs."
        )
    if found.left_out:
        warnings = [
            *warnings,
            f"{counted(found.left_out, 'run')} left out: not every group has their {others} at their seed",
        ]
    with lettering(size):
        figure = draw(found.curves)
        if found.over:
            add_titles(figure, "", f"{figure.get_supxlabel()}; each seed averaged over {others}")
    return Drawn(figure=figure, arms=_arms(found.curves), runs=len(runs) - found.left_out, warnings=warnings)


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


def _with_baseline(drawing: Drawing, source: Store | str | Path, runs: RunFilter | None) -> Drawing:
    """The drawing with the baseline of the one sweep that it shows, unless it has one."""
    if drawing.baseline is not None or not isinstance(source, Store):
        return drawing
    sweeps = (runs or _latest(source)).sweep_ids
    sweep = source.sweep(sweeps[0]) if len(sweeps) == 1 else None
    return dataclasses.replace(drawing, baseline=baseline_of(sweep.definition)) if sweep else drawing


def _read(
    source: Store | str | Path,
    runs: RunFilter | None,
    metric: str,
    axis: Axis,
    *,
    smooth: float = 0.0,
    last: bool = False,
) -> list[RunCurve]:
    if isinstance(source, Store):
        return read_curves(source, runs or _latest(source), metric, axis, smooth=smooth, last=last)
    return read_curves(Path(source), RunFilter(), metric, axis, smooth=smooth)


def _latest(store: Store) -> RunFilter:
    latest = store.latest_sweep()
    return RunFilter(sweep_ids=(latest.id,) if latest else (), with_members=True)


def _with_values(read: Sequence[RunCurve], metric: str) -> tuple[list[RunCurve], list[str]]:
    """The runs that have anything to draw, and a warning of the others."""
    placed = [run for run in read if not run.unplaced]
    found = [run for run in placed if len(run.x)]
    recorded = sum(run.recorded for run in placed)
    if not recorded:
        raise ExportError(f"no run has points of '{metric}' yet", "See how far the runs are: hlbq status")
    if not found:
        raise ExportError(
            f"'{metric}' is nan or infinite at every point of {counted(recorded, 'run')}",
            "See the points: hlbq export --layout points. See how a run ended: hlbq show RUN",
        )
    warnings = []
    if recorded > len(found):
        warnings.append(f"{counted(recorded - len(found), 'run')} left out: no finite {metric}")
    if len(placed) > recorded:
        warnings.append(f"{counted(len(placed) - recorded, 'run')} left out: ended without any {metric}")
    if len(read) > len(placed):
        warnings.append(f"{counted(len(read) - len(placed), 'run')} left out: {WITHOUT_CLOCK}")
    return found, warnings


def _said_of_ends(runs: Sequence[RunCurve], metric: str) -> list[str]:
    diverged = sum(run.diverged for run in runs)
    early = sum(ended_early(run) and not run.diverged for run in runs)
    found = [f"{counted(diverged, 'run')} diverged: the line ends at the last finite {metric}"] if diverged else []
    if early:
        found.append(
            f"{counted(early, 'run')} failed, was cancelled or stopped early. An arm's line ends with its first run "
            "(--past_shortest draws on)"
        )
    return found


def _counts_seconds(metric: str) -> bool:
    return metric.replace("-", "_").endswith("cumulative_time")


def _said_of_seconds(source: Store | str | Path, runs: RunFilter | None, found: Sequence[RunCurve]) -> list[str]:
    """Warns if seconds are not comparable; a table does not record slots."""
    if isinstance(source, Store):
        return seconds_warnings(source, _claimed(source, runs))
    return device_warnings(run.device_name for run in found)


def _said_of_code(source: Store | str | Path, runs: RunFilter | None, found: Sequence[RunCurve]) -> list[str]:
    """Warns if the runs come from several codes; a table records only digests."""
    codes = sorted({run.code for run in found} - {""})
    if len(codes) < 2 and " " not in "".join(codes):
        return []
    if isinstance(source, Store):
        return code_warnings(source, _claimed(source, runs))
    return [f"these runs come from different codes: {', '.join(codes)}"]


def _claimed(store: Store, runs: RunFilter | None) -> list[ComparedRun]:
    return [ComparedRun.of(run) for run in store.runs(runs or _latest(store)) if run.fence]


def _said_of_logarithms(option: str, metric: str, values: Sequence[Sequence[float]]) -> list[str]:
    """Which runs a logarithmic axis shows only in part. Raises ExportError if it would show nothing."""
    if not any(value > 0 for own in values for value in own):
        raise ExportError(
            f"no value of '{metric}' is above 0, so a logarithmic axis would be empty", f"Leave out {option}."
        )
    cut = sum(any(value <= 0 for value in own) for own in values)
    verb = "has" if cut == 1 else "have"
    told = (
        f"{counted(cut, 'run')} {verb} values of {metric} that are not above 0: a logarithmic axis does not show them"
    )
    return [told] if cut else []


def _arms(runs: Sequence[RunCurve]) -> int:
    return len(grouped(runs, differing_settings(settings_of(runs))))
