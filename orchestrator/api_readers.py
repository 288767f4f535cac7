"""`orchestrator.compare`, `plot` and `curves`: what the commands read, as calls from Python. Workers may run meanwhile.

All choose runs in the same way. `sweep` is a number or several, `where` values of settings, seed or run_num (each one
value or a list), `runs` a RunFilter; `all` takes every run; without any of them it is the latest sweep. `db` is a path
or a URL (None: $HLBQ_DB, else hlbq.db here). What a command prints as a warning is a Python warning. Refusals are
HlbqErrors.
"""

import warnings
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from orchestrator.api import with_arguments_of
from orchestrator.comparison import results
from orchestrator.comparison.question_options import QuestionOptions
from orchestrator.comparison.results import Comparison
from orchestrator.export.metric_names import Axis, find_metric
from orchestrator.plots.figure_options import FigureOptions
from orchestrator.plots.figures import as_png
from orchestrator.queue.runs import RunFilter
from orchestrator.store import OpenMode, Store, open_store
from orchestrator.sweep.arm_labels import differing_settings
from orchestrator.sweep.chosen_runs import python_filter, readable_runs
from orchestrator.sweep.option_spec import typed_as

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure


@dataclass(frozen=True, kw_only=True)
class RunChoice:
    """Which runs, of which database."""

    db: str | None = None
    sweep: int | Iterable[int] | None = None
    where: Mapping[str, Any] | None = None
    runs: RunFilter | None = None
    all: bool = False

    def chosen(self, store: Store) -> RunFilter:
        """The filter for these runs. Raises UsageError or SettingsError for runs that are not there."""
        return readable_runs(store, python_filter(self.sweep, self.where, self.runs, everything=self.all))


@dataclass(frozen=True, kw_only=True)
class CompareArguments(RunChoice, QuestionOptions):
    """The arguments of `compare`."""

    no_record: bool = False


@dataclass(frozen=True, kw_only=True)
class PlotArguments(RunChoice, FigureOptions):
    """The arguments of `plot`."""


@with_arguments_of(CompareArguments)
def compare(**arguments: Any) -> Comparison:
    """Compare groups of runs as `hlbq compare` does; the arguments are its options, of the same names and meaning.

        found = orchestrator.compare(sweep=3, baseline={"depth": 8})
        found             # in a notebook: the tables and verdicts
        found.to_frame()  # the differences as a pandas data frame

    The look at the verdicts is recorded with the sweep, unless `no_record` is true.

    Raises UsageError, ExportError or SettingsError where nothing can be compared, DatabaseError without a database.
    """
    asked = CompareArguments(**arguments)
    question = asked.question()
    with open_store(asked.db, mode=OpenMode.READ) as store:
        found = results.compare(store, asked.chosen(store), question)
    for text in found.warnings:
        warnings.warn(text, stacklevel=2)
    return found if asked.no_record else _recorded(found, asked.db)


def _recorded(found: Comparison, db: str | None) -> Comparison:
    open_to_write = partial(open_store, db, mode=OpenMode.WRITE)
    return results.recorded(found, open_to_write, partial(warnings.warn, stacklevel=3))


@with_arguments_of(PlotArguments)
def plot(*metric: str, **arguments: Any) -> "Figure":
    """A figure as `hlbq plot` draws it; the arguments are its options. `orchestrator.plots.save` writes it to a file.

    Raises UsageError, ExportError or SettingsError where nothing can be drawn, DatabaseError without a database.
    """
    asked = PlotArguments(*metric, **arguments)
    with open_store(asked.db, mode=OpenMode.READ) as store:
        drawn = asked.draw(store, asked.chosen(store))
    for text in drawn.warnings:
        warnings.warn(text, stacklevel=2)
    if drawn.comparison is not None:
        _recorded(drawn.comparison, asked.db)
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
        chosen = RunChoice(sweep=sweep, where=where, runs=runs, all=all).chosen(store)
        parsed = find_metric(store, chosen, typed_as(str, "metric", metric) or "val_loss")
        columns = [*(axis.column for axis in Axis), parsed.column]
        found = list(store.runs_with_curves(chosen, parsed.split, columns))
    names = list(differing_settings(one.run.settings for one in found))
    frames = []
    for one in found:
        curve = one.curves.get(parsed.split)
        if curve is None or parsed.column not in curve:
            continue
        settings, began = one.run.settings, one.run.started_at
        places = {axis.value: axis.places(curve["step"], curve[axis.column], settings, began) for axis in Axis}
        fixed = {"run_id": one.run.id, "seed": one.run.seed, **{name: settings.get(name) for name in names}}
        frame = pandas.DataFrame({**places, parsed.name: curve[parsed.column]})
        frames.append(frame[[value is not None for value in curve[parsed.column]]].assign(**fixed))
    order = ["run_id", "seed", *names, *(axis.value for axis in Axis), parsed.name]
    return pandas.concat(frames, ignore_index=True)[order] if frames else pandas.DataFrame(columns=order)
