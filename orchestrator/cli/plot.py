"""`hlbq plot`: curves and last values as figures."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.common import DatabaseOption, RunFilterOptions
from orchestrator.cli.export import chosen_or_latest
from orchestrator.cli.option_groups import OptionGroup, option
from orchestrator.cli.output import counted, note, warn
from orchestrator.errors import UsageError

if TYPE_CHECKING:
    from orchestrator.plots.figure_options import FigureOptions

# For each kind of figure, the options that only other kinds use.
_OF_CURVES = ("band", "smooth", "facet")
_WITHOUT_EFFECT: Mapping[str, Sequence[str]] = {
    "final": ("x", *_OF_CURVES, "past_shortest", "baseline"),
    "heatmap": ("x", *_OF_CURVES, "past_shortest", "log_x", "log_y", "colour", "style", "baseline", "by"),
    "schedules": (
        *("metric", *_OF_CURVES, "baseline", "log_x", "log_y"),
        *("allow_mixed_data", "allow_mixed_evaluation"),
    ),
    "difference": (*_OF_CURVES, "past_shortest", "log_x", "log_y", "colour", "style"),
    "effects": (*_OF_CURVES, "past_shortest", "log_x", "log_y", "colour", "style"),
}
# Those of them that differences along training use; of arms the curves are beside them.
_ALONG_TRAINING: Mapping[str, Sequence[str]] = {"difference": ("band", "past_shortest", "log_x"), "effects": ("log_x",)}


@dataclass(frozen=True, kw_only=True)
class PlotOptions(OptionGroup):
    """What the figure shows."""

    metric: str = option("val_loss", help="What to draw: val_loss, train_acc, grad_norm, ...")
    x: str = option(
        "",
        help="The x axis (default: tokens). A metric gives one dot per step.",
        metavar="steps|epochs|tokens|seconds|flops|wall_clock|METRIC",
    )
    band: str = option(
        "auto",
        help="What to draw around the mean over seeds. auto: the range below 5 seeds, else the 95 % t-interval.",
        metavar="auto|interval|range|seeds|none",
    )
    log_x: bool = option(False, help="Logarithmic x.")
    log_y: bool = option(False, help="Logarithmic y.")
    smooth: float = option(
        0.0,
        help="Draw a moving average: the weight that the past keeps over a hundredth of the run; below 1.",
        minimum=0.0,
        maximum=0.9999,
    )
    past_shortest: bool = option(False, help="Draw the mean beyond the end of the arm's shortest run.")
    allow_mixed_data: bool = option(False, help="Draw runs together even if their data differ.")
    allow_mixed_evaluation: bool = option(False, help="Draw losses of different evaluations together.")
    facet: str = option("", help="One panel per value of this setting.", metavar="NAME")
    colour: str = option("", "--colour", "--color", help="The setting that chooses the colour.", metavar="NAME")
    style: str = option("", help="The setting that chooses the line style.", metavar="NAME")
    baseline: tuple[str, ...] = option(
        (), help="The arm to mark as the baseline (default: the sweep's).", metavar="NAME=VALUE..."
    )
    by: tuple[str, ...] = option(
        (),
        help="Settings to group by (default: those that differ). Each seed is averaged over the others.",
        metavar="NAME...",
    )
    title: str = option("", help="A title above the figure.")
    size: str = option("", help="The size: a paper's column or page, or inches (5x3).", metavar="column|page|WxH")
    csv: Path | None = option(None, help="Read this table from hlbq export instead of a database.")


@dataclass(frozen=True, kw_only=True)
class KindOptions(OptionGroup):
    """Figures other than curves."""

    panel = "Other figures"
    difference: bool = option(
        False,
        help="Each arm's difference from the baseline, with its interval and verdict. With --x: along training. With "
        "--x seeds: after each seed.",
    )
    effects: bool = option(False, help="The same for the main effects and interactions of a factorial sweep.")
    margin: float | None = option(None, help="The largest difference that does not matter, as in hlbq compare.")
    final: str = option(
        "",
        help="The runs' last values against this setting, num_params or flops, with a power-law fit.",
        metavar="NAME",
    )
    heatmap: tuple[str, ...] = option(
        (), help="Mean last values over two settings: rows, then columns.", metavar="ROWS COLUMNS"
    )
    schedules: bool = option(False, help="Learning rate, weight decay, batch size and sequence length.")


def plot(
    how: PlotOptions,
    kind: KindOptions,
    runs: RunFilterOptions,
    database: DatabaseOption,
    file: Annotated[Path | None, typer.Argument(help="The figure: .png, .svg or .pdf (default: METRIC.png).")] = None,
) -> None:
    """Draw a metric's curves: one line per arm, with a band over its seeds.

    Without filters it draws the latest sweep. --difference, --effects, --final, --heatmap and --schedules draw other
    figures. Verdicts in a figure count as a look, and are recorded as hlbq compare does.
    """
    from orchestrator.comparison.results import recorded
    from orchestrator.plots.figures import check_ending, save

    if kind.margin is not None and not (kind.difference or kind.effects):
        raise UsageError("--margin needs a figure of differences", "Add --difference or --effects.")
    asked = _asked(how, kind)
    path = file or Path(f"{asked.kind or how.metric}.png")
    check_ending(path)
    if how.csv is None:
        with database.read() as store:
            drawn = asked.draw(store, chosen_or_latest(runs, store))
    elif runs.given() or database.db:
        raise UsageError("--csv reads a table, but filters and --db choose from a database", "Use one of them.")
    else:
        drawn = asked.draw(how.csv, None)
    save(drawn.figure, path)
    if drawn.comparison is not None:
        recorded(drawn.comparison, database.write, warn)
    warn(*_without_effect(how, asked.kind), *drawn.warnings)
    shown = counted(drawn.arms, "arm" if drawn.comparison is None else "difference")
    note(f"wrote {path} ({shown}, {counted(drawn.runs, 'run')})")


def _asked(how: PlotOptions, kind: KindOptions) -> "FigureOptions":
    from orchestrator.plots.figure_options import FigureOptions

    given = {**vars(how), **vars(kind)}
    del given["csv"]
    return FigureOptions(**given)


def _without_effect(how: PlotOptions, kind: str) -> list[str]:
    plain = PlotOptions()
    used = _ALONG_TRAINING.get(kind, ()) if how.x not in ("", "seeds") else ()
    names = [name for name in _WITHOUT_EFFECT.get(kind, ()) if name not in used]
    idle = [f"--{name}" for name in names if getattr(how, name) != getattr(plain, name)]
    if not idle:
        return []
    named = " and ".join(part for part in (", ".join(idle[:-1]), idle[-1]) if part)
    return [f"{named} {'has' if len(idle) == 1 else 'have'} no effect with --{kind}"]
