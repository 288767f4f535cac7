"""`orchestrator.compare`, `plot` and `curves`: what the commands read, as calls from Python. Workers may run meanwhile.

All choose runs in the same way. `sweep` is a number or several, `where` values of settings, seed or run_num (each one
value or a list), `runs` a RunFilter; `all` takes every run; without any of them it is the latest sweep. `db` is a path
or a URL (None: $HLBQ_DB, else hlbq.db here). What a command prints as a warning is a Python warning. Refusals are
HlbqErrors.
"""

import warnings
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.comparison import results
from orchestrator.comparison.measures import Goal
from orchestrator.comparison.results import Comparison, Question, place_of
from orchestrator.errors import DatabaseError, UsageError
from orchestrator.export.metric_names import Axis, find_metric
from orchestrator.plots import (
    DifferenceDrawing,
    Drawing,
    Drawn,
    FinalDrawing,
    HeatMap,
    plot_curves,
    plot_differences,
    plot_final,
    plot_schedules,
)
from orchestrator.plots.curve_sets import Band
from orchestrator.plots.differences import DrawnDifferences
from orchestrator.plots.figures import as_png
from orchestrator.plots.style import parse_size
from orchestrator.queue.records import RunFilter
from orchestrator.store import OpenMode, open_store
from orchestrator.sweep.arm_labels import differing_settings
from orchestrator.sweep.chosen_runs import python_filter, readable_runs

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

Choice = TypeVar("Choice", bound=StrEnum)


def compare(
    *,
    db: str | None = None,
    sweep: int | Iterable[int] | None = None,
    where: Mapping[str, Any] | None = None,
    runs: RunFilter | None = None,
    all: bool = False,
    metric: str = "val_loss",
    best: bool = False,
    at_tokens: float | None = None,
    at_epoch: float | None = None,
    at_seconds: float | None = None,
    at_step: float | None = None,
    at_flops: float | None = None,
    goal: str | None = None,
    target: float | None = None,
    by: Sequence[str] = (),
    baseline: Mapping[str, Any] | None = None,
    arms: bool = False,
    effects: bool = False,
    tune: str = "",
    margin: float | None = None,
    robust: bool = False,
    allow_mixed_data: bool = False,
    allow_mixed_evaluation: bool = False,
    allow_mixed_code: bool = False,
    no_record: bool = False,
) -> Comparison:
    """Compare groups of runs as `hlbq compare` does; the arguments are its options, of the same names and meaning.

        found = orchestrator.compare(sweep=3, baseline={"depth": 8})
        found             # in a notebook: the tables and verdicts
        found.to_frame()  # the differences as a pandas data frame

    The look at the verdicts is recorded with the sweep, unless `no_record` is true.

    Raises UsageError, ExportError or SettingsError where nothing can be compared, DatabaseError without a database.
    """
    places = {
        Axis.TOKENS: at_tokens,
        Axis.EPOCHS: at_epoch,
        Axis.SECONDS: at_seconds,
        Axis.STEPS: at_step,
        Axis.FLOPS: at_flops,
    }
    question = Question(
        metric=metric,
        **place_of(best=best, places=places),
        goal=None if goal is None else _choice("goal", goal, Goal),
        by=tuple(by),
        baseline=baseline,
        target=target,
        allow_mixed_data=allow_mixed_data,
        allow_mixed_evaluation=allow_mixed_evaluation,
        allow_mixed_code=allow_mixed_code,
        arms=arms,
        effects=effects,
        tune=tune,
        margin=margin,
        robust=robust,
    )
    with open_store(db, mode=OpenMode.READ) as store:
        chosen = readable_runs(store, python_filter(sweep, where, runs, everything=all))
        found = results.compare(store, chosen, question)
    for text in found.warnings:
        warnings.warn(text, stacklevel=2)
    return found if no_record else _recorded(found, db)


def _recorded(found: Comparison, db: str | None) -> Comparison:
    """The comparison, with its verdicts written down as a look."""
    if not found.is_new_look:
        return found
    try:
        with open_store(db, mode=OpenMode.WRITE) as store:
            return results.record(store, found)
    except DatabaseError as error:
        warnings.warn(f"this look was not recorded: {error.message}", stacklevel=2)
        return found


def plot(
    metric: str = "val_loss",
    *,
    db: str | None = None,
    sweep: int | Iterable[int] | None = None,
    where: Mapping[str, Any] | None = None,
    runs: RunFilter | None = None,
    all: bool = False,
    difference: bool = False,
    effects: bool = False,
    margin: float | None = None,
    final: str = "",
    heatmap: tuple[str, str] | None = None,
    schedules: bool = False,
    x: str = "",
    band: str = "auto",
    log_x: bool = False,
    log_y: bool = False,
    smooth: float = 0.0,
    past_shortest: bool = False,
    facet: str = "",
    colour: str = "",
    style: str = "",
    baseline: Mapping[str, Any] | None = None,
    by: Sequence[str] = (),
    title: str = "",
    size: str = "",
    allow_mixed_data: bool = False,
    allow_mixed_evaluation: bool = False,
) -> "Figure":
    """A figure as `hlbq plot` draws it; the arguments are its options. `orchestrator.plots.save` writes it to a file.

    Raises UsageError, ExportError or SettingsError where nothing can be drawn, DatabaseError without a database.
    """
    if bool(final) + bool(heatmap) + schedules + difference + effects > 1:
        raise UsageError(
            "difference, effects, final, heatmap and schedules are different figures", "Draw one at a time."
        )
    mixed: dict[str, Any] = {"allow_mixed_data": allow_mixed_data, "allow_mixed_evaluation": allow_mixed_evaluation}
    inches = parse_size(size) if size else None
    given: dict[str, Any] = {"log_x": log_x, "log_y": log_y, "colour": colour, "style": style, "title": title}
    given |= {"by": tuple(by), "size": inches}
    drawing = Drawing(
        metric=metric,
        x=_choice("x", x or "tokens", Axis),
        band=_choice("band", band, Band),
        smooth=smooth,
        past_shortest=past_shortest,
        facet=facet,
        baseline=baseline,
        **given,
    )
    with open_store(db, mode=OpenMode.READ) as store:
        chosen = readable_runs(store, python_filter(sweep, where, runs, everything=all))
        if difference or effects:
            question = Question(metric=metric, by=tuple(by), baseline=baseline, margin=margin, **mixed)
            wanted = DifferenceDrawing(effects=effects, along=drawing if x else None, title=title, size=inches)
            drawn: Drawn | DrawnDifferences = plot_differences(store, question, wanted, chosen)
        elif heatmap:
            rows, columns = heatmap
            drawn = plot_final(
                store, HeatMap(rows=rows, columns=columns, metric=metric, title=title, size=inches), chosen, **mixed
            )
        elif final:
            drawn = plot_final(store, FinalDrawing(against=final, metric=metric, **given), chosen, **mixed)
        elif schedules:
            drawn = plot_schedules(store, drawing, chosen)
        else:
            drawn = plot_curves(store, drawing, chosen, **mixed)
    for text in drawn.warnings:
        warnings.warn(text, stacklevel=2)
    if isinstance(drawn, DrawnDifferences):
        _recorded(drawn.comparison, db)
    # A notebook asks for this method. Without pyplot and its global figures, matplotlib offers it none.
    drawn.figure._repr_png_ = partial(as_png, drawn.figure)  # type: ignore[attr-defined]
    return drawn.figure


def curves(
    metric: str = "val_loss",
    *,
    db: str | None = None,
    sweep: int | Iterable[int] | None = None,
    where: Mapping[str, Any] | None = None,
    runs: RunFilter | None = None,
    all: bool = False,
) -> "pandas.DataFrame":
    """The points of a metric as a data frame, a row a point: `run_id`, `seed`, the settings that differ, every x
    (`steps`, `epochs`, `tokens`, `seconds`, `flops`, `wall_clock`), and the metric under its name, such as `val_loss`.

        seaborn.lineplot(orchestrator.curves("val_loss"), x="tokens", y="val_loss", hue="depth")

    Points without the metric are left out. Raises ExportError for an unknown metric, and as `plot`.
    """
    import pandas

    with open_store(db, mode=OpenMode.READ) as store:
        chosen = readable_runs(store, python_filter(sweep, where, runs, everything=all))
        parsed = find_metric(store, chosen, metric)
        columns = [*(axis.column for axis in Axis), parsed.column]
        found = list(store.runs_with_curves(chosen, parsed.split, columns))
    names = list(differing_settings(one.run.settings for one in found))
    frames = []
    for one in found:
        curve = one.curves.get(parsed.split)
        if curve is None or (parsed.column not in curve.columns and parsed.column not in curve.extra):
            continue
        settings, began = one.run.settings, one.run.started_at
        places = {axis.value: axis.places(curve["step"], curve[axis.column], settings, began) for axis in Axis}
        fixed = {"run_id": one.run.id, "seed": one.run.seed, **{name: settings.get(name) for name in names}}
        frame = pandas.DataFrame({**places, parsed.name: curve[parsed.column]})
        frames.append(frame[[value is not None for value in curve[parsed.column]]].assign(**fixed))
    order = ["run_id", "seed", *names, *(axis.value for axis in Axis), parsed.name]
    return pandas.concat(frames, ignore_index=True)[order] if frames else pandas.DataFrame(columns=order)


def _choice(argument: str, value: str, choices: type[Choice]) -> Choice:
    if value not in list(choices):
        raise UsageError(f"{argument} '{value}': no such choice", f"Use one of {', '.join(choices)}.")
    return choices(value)
