"""Figures of curves: a line an arm, a band over its seeds. Drawn without a display, by matplotlib's object API."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from orchestrator.arms import arm_label, differing_settings
from orchestrator.curve_sets import (
    ArmCurve,
    Axis,
    Band,
    RunCurve,
    arm_curves,
    check_comparable,
    curves_from_csv,
    curves_from_store,
    resolve_band,
)
from orchestrator.errors import ExportError
from orchestrator.file_writing import replaced_file
from orchestrator.records import RunFilter
from orchestrator.store import Store
from orchestrator.wording import short_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

ENDINGS = (".png", ".svg", ".pdf")
# Told apart with every common kind of colour blindness: Okabe and Ito, "Color Universal Design", 2008.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE_STYLES: Sequence[Any] = ("-", (0, (5, 2)), (0, (1.2, 1.6)), (0, (6, 2, 1.2, 2)))
LINE_WIDTHS = (1.7, 3.0, 0.9)
_SIZE_INCHES = (6.4, 4.0)
_WIDE_INCHES = (10.0, 4.6)
_MOST_IN_LEGEND = 16

_METRIC_WORDS = MappingProxyType(
    {
        "loss": "loss",
        "acc": "accuracy",
        "pplx": "perplexity",
        "grad_norm": "gradient norm",
        "bits_per_byte": "bits per byte",
        "lr": "learning rate",
        "weight_decay": "weight decay",
        "batch_size": "batch size (sequences)",
        "seq_length": "sequence length (tokens)",
        "microbatches": "microbatches a step",
        "cumulative_time": "training time (s)",
        "tokens_seen": "training tokens",
        "epoch": "epochs",
    }
)
_AXIS_WORDS = MappingProxyType(
    {
        Axis.STEPS: "optimizer steps",
        Axis.EPOCHS: "epochs",
        Axis.TOKENS: "training tokens",
        Axis.SECONDS: "training time (s)",
    }
)


@dataclass(frozen=True, kw_only=True)
class Drawing:
    """What a figure shows. `smooth` is the weight of the past in a moving average, 0 to below 1."""

    metric: str = "val_loss"
    x: Axis = Axis.TOKENS
    band: Band = Band.AUTO
    log_x: bool = False
    log_y: bool = False
    smooth: float = 0.0
    past_shortest: bool = False
    allow_mixed_data: bool = False
    title: str = ""


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What came of it."""

    arms: int
    runs: int


@dataclass(frozen=True, kw_only=True)
class LineLook:
    """How an arm's line looks."""

    colour: Any
    style: Any
    width: float = LINE_WIDTHS[0]


def plot_metric(
    source: Store | str | Path, path: str | Path, drawing: Drawing | None = None, runs: RunFilter | None = None
) -> Drawn:
    """Draw a metric's curves of `source` (a store, or a CSV that hlbq exported) to a png, svg or pdf file.

    Of a store, `runs` are drawn, or the latest sweep. Raises ExportError for a metric that does not exist, where
    there is nothing to draw or it can't be compared, and for a file that can't be written.
    """
    drawing = drawing or Drawing()
    path = Path(path)
    if path.suffix.lower() not in ENDINGS:
        raise ExportError(f"'{path}': the ending '{path.suffix}' names no figure format", f"Use {', '.join(ENDINGS)}.")
    if isinstance(source, Store):
        found = curves_from_store(source, runs or _latest(source), drawing.metric, drawing.x, smooth=drawing.smooth)
    else:
        found = curves_from_csv(Path(source), drawing.metric, drawing.x, smooth=drawing.smooth)
    if not found:
        raise ExportError(f"no run has points of '{drawing.metric}' yet", "hlbq status shows how far the runs are.")
    check_comparable(found, drawing.metric, allow_mixed_data=drawing.allow_mixed_data)
    arms = arm_curves(found, drawing.band, past_shortest=drawing.past_shortest)
    figure = draw(arms, drawing)
    with replaced_file(path) as stream:
        # No date inside: the same runs give the same file.
        metadata = {".svg": {"Date": None}, ".pdf": {"CreationDate": None}}.get(path.suffix.lower())
        figure.savefig(stream, format=path.suffix.lower()[1:], dpi=200, metadata=metadata)
    return Drawn(arms=len(arms), runs=len(found))


def _latest(store: Store) -> RunFilter:
    latest = store.latest_sweep()
    return RunFilter(sweep_ids=(latest.id,) if latest else ())


def draw(arms: Sequence[ArmCurve], drawing: Drawing) -> "Figure":
    """The figure of these arms."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_INCHES if len(arms) <= _MOST_IN_LEGEND else _WIDE_INCHES, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    names = differing_settings(arm.settings for arm in arms)
    looks = line_looks([arm.settings for arm in arms], names)
    labels = _labels(arms, names)
    for arm, look, label in zip(arms, looks, labels, strict=True):
        _draw_arm(axes, arm, look, label, drawing)
    _dress(axes, arms, drawing)
    if len(arms) > 1 or names:
        _add_legend(figure, axes, arms)
    return figure


def _draw_arm(axes: "Axes", arm: ArmCurve, look: LineLook, label: str, drawing: Drawing) -> None:
    if drawing.band is Band.SEEDS:
        for run in arm.runs:
            axes.plot(run.x, run.y, color=look.colour, linestyle=look.style, linewidth=0.7, alpha=0.45)
    if arm.low is not None and arm.high is not None:
        axes.fill_between(arm.x, arm.low, arm.high, color=look.colour, alpha=0.22, linewidth=0)
    marker = "o" if len(arm.x) == 1 else None
    axes.plot(
        arm.x,
        arm.mean,
        color=look.colour,
        linestyle=look.style,
        linewidth=look.width,
        label=label,
        marker=marker,
        markersize=4,
    )


def line_looks(settings: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[LineLook]:
    """A look for each arm: the setting with the most values chooses the colour, the others the line's style
    and, where those run out, its width.

    More values than colours that can be told apart are a scale from dark to light.
    """
    if not names:
        return [LineLook(colour=COLOURS[0], style=LINE_STYLES[0]) for _ in settings]
    values = {name: list(dict.fromkeys(arm.get(name) for arm in settings)) for name in names}
    coloured = max(names, key=lambda name: len(values[name]))
    palette = _palette(len(values[coloured]))
    others = [name for name in names if name != coloured]
    combinations = list(dict.fromkeys(tuple(arm.get(name) for name in others) for arm in settings))
    looks = []
    for arm in settings:
        place = combinations.index(tuple(arm.get(name) for name in others))
        colour = palette[values[coloured].index(arm.get(coloured))]
        width = LINE_WIDTHS[place // len(LINE_STYLES) % len(LINE_WIDTHS)]
        looks.append(LineLook(colour=colour, style=LINE_STYLES[place % len(LINE_STYLES)], width=width))
    return looks


def _palette(count: int) -> Sequence[Any]:
    if count <= len(COLOURS):
        return COLOURS
    from matplotlib import colormaps

    scale = colormaps["viridis"]
    return [scale(0.92 * place / (count - 1)) for place in range(count)]


def _labels(arms: Sequence[ArmCurve], names: Sequence[str]) -> list[str]:
    sizes = {arm.num_params for arm in arms}
    labels = []
    for arm in arms:
        size = f" ({short_count(arm.num_params)})" if len(sizes) > 1 and arm.num_params else ""
        labels.append((arm_label(arm.settings, names) or "all runs") + size)
    return labels


def _dress(axes: "Axes", arms: Sequence[ArmCurve], drawing: Drawing) -> None:
    from matplotlib.ticker import EngFormatter

    axes.set_xlabel(_AXIS_WORDS[drawing.x])
    axes.set_ylabel(metric_label(drawing.metric, list(itertools.chain.from_iterable(arm.runs for arm in arms))))
    if drawing.log_x:
        axes.set_xscale("log")
        _plain_logarithmic(axes.xaxis)
    else:
        axes.set_xlim(left=0)
    if drawing.log_y:
        axes.set_yscale("log")
        _plain_logarithmic(axes.yaxis)
    if drawing.x is Axis.TOKENS or (drawing.x is Axis.STEPS and max(arm.x[-1] for arm in arms) >= 10_000):
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.grid(True, which="major", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    if drawing.title:
        axes.set_title(drawing.title, loc="left", fontsize=11)
    note = band_note(arms, drawing)
    axes.annotate(
        note,
        (1, 1),
        xycoords="axes fraction",
        xytext=(0, 4),
        textcoords="offset points",
        ha="right",
        fontsize=7.5,
        color="#555555",
    )


def metric_label(metric: str, runs: Sequence[RunCurve]) -> str:
    """The y axis in words, with units: `validation loss (nats per byte)`."""
    split = {"val": "validation ", "train": "training "}.get(metric.partition("_")[0], "")
    column = metric.partition("_")[2] if split else metric
    words = split + _METRIC_WORDS.get(column, column)
    if column != "loss":
        return words
    in_bytes = {run.settings.get("tokenizer") for run in runs} == {"bytes"}
    return f"{words} (nats per {'byte' if in_bytes else 'token'})"


def band_note(arms: Sequence[ArmCurve], drawing: Drawing) -> str:
    """What line and band are, in words."""
    counts = sorted({len(arm.runs) for arm in arms})
    seeds = f"{counts[0]}" if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    bands = {resolve_band(drawing.band, count) for count in counts} - {Band.NONE}
    if counts == [1]:
        words = "one seed an arm"
    elif bands == {Band.RANGE}:
        words = f"mean of {seeds} seeds, band: lowest to highest"
    elif bands == {Band.INTERVAL}:
        words = f"mean of {seeds} seeds, band: 95 % t-interval of the mean"
    elif bands == {Band.RANGE, Band.INTERVAL}:
        words = f"mean of {seeds} seeds, band: 95 % t-interval (5 seeds and more), else lowest to highest"
    elif drawing.band is Band.SEEDS:
        words = f"mean of {seeds} seeds, thin: every seed"
    else:
        words = f"mean of {seeds} seeds"
    return words + (f"; moving average, weight {drawing.smooth:g}" if drawing.smooth else "")


def _add_legend(figure: "Figure", axes: "Axes", arms: Sequence[ArmCurve]) -> None:
    look: dict[str, Any] = {"frameon": False, "handlelength": 2.6, "alignment": "left"}
    if len({arm.num_params for arm in arms}) > 1:
        look["title"] = "setting (parameters)"
    if len(arms) <= _MOST_IN_LEGEND:
        axes.legend(fontsize=8.5, title_fontsize=8.5, loc="best", **look)
    else:
        figure.legend(fontsize=7, title_fontsize=7, loc="outside right upper", ncols=1 + len(arms) // 40, **look)


def _plain_logarithmic(axis: Any) -> None:
    """Ticks such as 2, 3, 4 and 0.001 in place of powers of ten."""
    from matplotlib.ticker import LogFormatter

    axis.set_major_formatter(LogFormatter())
    axis.set_minor_formatter(LogFormatter(minor_thresholds=(1.5, 0.5)))
