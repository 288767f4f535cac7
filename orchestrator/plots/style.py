"""How figures look: colours, line styles, labels with units, ticks and legends."""

import contextlib
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hlbgpt_core.settings import specs, unknown_setting
from orchestrator.export.metric_names import Axis
from orchestrator.plots.run_curves import RunCurve
from orchestrator.sweep.arm_labels import arm_label
from orchestrator.sweep.options import value_text
from orchestrator.wording.numbers import short_count

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Distinct with every common kind of colour blindness: Okabe and Ito, "Color Universal Design", 2008.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE_STYLES: Sequence[Any] = ("-", (0, (5, 2)), (0, (1.2, 1.6)), (0, (6, 2, 1.2, 2)))
LINE_WIDTHS = (1.7, 3.0, 0.9)
SIZE_INCHES = (6.4, 4.0)
# More lines than this, or longer names, get a legend beside the axes, where it covers nothing.
MOST_IN_LEGEND = 8
_LONGEST_INSIDE = 40
_MOST_NAMED = 110
_MOST_LARGE = 22  # more names are written smaller
_LEGEND: Mapping[str, Any] = MappingProxyType({"frameon": False, "handlelength": 2.6, "alignment": "left"})
# A legend in units of its font size: a line, an average letter, and the space around a name.
_LINE_HEIGHT, _LETTER_WIDTH, _HANDLE_WIDTH = 1.7, 0.62, 6.0
_LETTER_INCHES = 0.095  # of a title, on average
_LONGEST_PLAIN = 1e9  # larger numbers on an axis are shown as powers of ten

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
        "microbatches": "microbatches per step",
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
        Axis.FLOPS: "training FLOPs",
    }
)


@dataclass(frozen=True, kw_only=True)
class LineStyle:
    """How an arm's line looks."""

    colour: Any
    dashes: Any
    width: float = LINE_WIDTHS[0]


def setting_name(name: str) -> str:
    """A setting's name as people type it, with dashes as underscores. Raises SettingsError for an unknown one."""
    wanted = name.strip().replace("-", "_")
    if wanted not in specs():
        raise unknown_setting(name)
    return wanted


def line_styles(
    settings: Sequence[Mapping[str, Any]], names: Sequence[str], *, colour: str = "", style: str = ""
) -> list[LineStyle]:
    """The line style of each arm.

    Of the settings `names`, `colour` chooses the colour (default: the one with the most values that is not `style`).
    The others choose the dashes and, when those run out, the width.

    More values than distinct colours get a scale from dark to light.
    """
    values = {name: list(dict.fromkeys(arm.get(name) for arm in settings)) for name in {*names, colour} - {""}}
    if not values:
        return [LineStyle(colour=COLOURS[0], dashes=LINE_STYLES[0]) for _ in settings]
    free = [name for name in names if name != style] or list(names)
    coloured = colour or max(free, key=lambda name: len(values[name]))
    palette = _palette(len(values[coloured]))
    others = [style] if style else [name for name in names if name != coloured]
    combinations = list(dict.fromkeys(tuple(arm.get(name) for name in others) for arm in settings))
    styles = []
    for arm in settings:
        place = combinations.index(tuple(arm.get(name) for name in others))
        width = LINE_WIDTHS[place // len(LINE_STYLES) % len(LINE_WIDTHS)]
        chosen = palette[values[coloured].index(arm.get(coloured))]
        styles.append(LineStyle(colour=chosen, dashes=LINE_STYLES[place % len(LINE_STYLES)], width=width))
    return styles


def _palette(count: int) -> Sequence[Any]:
    if count <= len(COLOURS):
        return COLOURS
    from matplotlib import colormaps

    scale = colormaps["viridis"]
    return [scale(0.92 * place / (count - 1)) for place in range(count)]


def arm_labels(arms: Sequence[Mapping[str, Any]], names: Sequence[str], num_params: Sequence[int]) -> list[str]:
    """`depth 4, width 192 (3.1M)`: the settings `names` of each arm, and its size if sizes differ."""
    sizes = [f" ({short_count(size)})" if size and len(set(num_params)) > 1 else "" for size in num_params]
    return [(arm_label(arm, names) or "all runs") + size for arm, size in zip(arms, sizes, strict=True)]


def axis_label(axis: Axis) -> str:
    """The x axis in words, with units."""
    return _AXIS_WORDS[axis]


def metric_label(metric: str, runs: Iterable[RunCurve]) -> str:
    """The y axis in words, with units: `validation loss (nats per byte)`."""
    metric = metric.replace("-", "_")
    split = {"val": "validation ", "train": "training ", "test": "test "}.get(metric.partition("_")[0], "")
    column = metric.partition("_")[2] if split else metric
    words = split + _METRIC_WORDS.get(column, column)
    if column != "loss":
        return words
    in_bytes = {run.settings.get("tokenizer") for run in runs} == {"bytes"}
    return f"{words} (nats per {'byte' if in_bytes else 'token'})"


def new_figure(*, size: tuple[float, float] = SIZE_INCHES) -> "Figure":
    """An empty figure that is drawn without a display. A legend beside its axes makes it wider."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def dress(axes: "Axes") -> None:
    """Put a light grid behind the lines, and no frame above and on the right."""
    axes.grid(True, which="major", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    if axes.get_yscale() == "linear" and 10_000 <= max(map(abs, axes.get_ylim())) < _LONGEST_PLAIN:
        axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)


def add_titles(figure: "Figure", title: str, note: str) -> None:
    """Add the title, and under it in small letters what lines and bands mean."""
    if title:
        # Not by wrap=True, which always reads a dollar as the start of a formula.
        letters = int(figure.get_figwidth() / _LETTER_INCHES)
        lines = [line for part in title.splitlines() for line in textwrap.wrap(part, letters) or [""]]
        figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=11)
    if note:
        figure.supxlabel(note, x=0.99, ha="right", fontsize=7.5, color="#555555", wrap=True)


@contextlib.contextmanager
def plain_texts(figure: "Figure") -> Iterator[None]:
    """Save a figure within this block. Its texts are shown as they are: a dollar in a title or path starts no formula,
    and a letter that the font lacks is a box, without a warning."""
    from matplotlib import rc_context
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
    # Tick labels are made when the figure is drawn.
    with rc_context({"text.parse_math": False}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield


def add_legend(figure: "Figure", axes: "Axes", *, title: str = "", beside: bool = False) -> None:
    """The legend of the labelled lines: in the axes, or beside them if it is large or `beside` is set."""
    handles, labels = axes.get_legend_handles_labels()
    if beside or len(labels) > MOST_IN_LEGEND or max(map(len, labels), default=0) > _LONGEST_INSIDE:
        legend_beside(figure, handles, labels, title=title)
    else:
        axes.legend(handles, labels, fontsize=8.5, title_fontsize=8.5, loc="best", title=title or None, **_LEGEND)


def legend_beside(figure: "Figure", handles: Sequence[Any], labels: Sequence[str], *, title: str = "") -> None:
    """A legend on the right of the axes, in as many columns as it needs; the figure gets wider."""
    if len(labels) > _MOST_NAMED:
        title, handles, labels = f"{len(labels)} lines are too\nmany to name", [], []
    points = 8 if len(labels) <= _MOST_LARGE else 7
    in_column = max(1, int((figure.get_figheight() - 0.5) * 72 / (_LINE_HEIGHT * points)))
    columns = max(1, -(-len(labels) // in_column))
    letters = max(map(len, (*labels, *title.splitlines())), default=0)
    column_inches = (_LETTER_WIDTH * letters + _HANDLE_WIDTH) * points / 72
    figure.set_figwidth(figure.get_figwidth() + columns * column_inches)
    figure.legend(
        handles, labels, loc="outside right upper", ncols=columns, fontsize=points, title_fontsize=8,
        title=title or None, **_LEGEND,
    )  # fmt: skip


def add_scale(figure: "Figure", axes: "Axes", name: str, values: Sequence[float], styles: Sequence[LineStyle]) -> None:
    """A colour bar instead of a legend, for many lines that differ in one number."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    count = len(values)
    norm = BoundaryNorm([place - 0.5 for place in range(count + 1)], count)
    mappable = ScalarMappable(norm, ListedColormap([line_style.colour for line_style in styles]))
    shown = range(0, count, -(-count // 10))
    bar = figure.colorbar(mappable, ax=axes, ticks=list(shown), drawedges=False)
    if bar.solids is not None:
        # Vector shapes, since a report may show no images. Without edges in their colour, seams appear.
        bar.solids.set(rasterized=False, edgecolor="face")
    bar.ax.set_yticklabels([value_text(values[place]) for place in shown])
    bar.ax.tick_params(length=2, labelsize=8)
    bar.minorticks_off()
    bar.set_label(name, fontsize=8.5)


def plain_logarithmic(axes: "Axes", which: str) -> None:
    """Make x or y logarithmic, with ticks such as 2, 3, 0.001 and 1M instead of powers of ten."""
    from matplotlib.ticker import LogFormatter, MaxNLocator, NullLocator, ScalarFormatter

    class Plain(LogFormatter):
        """Labels the same ticks as LogFormatter."""

        def __call__(self, x: float, pos: int | None = None) -> str:
            return plain_number(x) if super().__call__(x, pos) else ""

    axis = axes.xaxis if which == "x" else axes.yaxis
    (axes.set_xscale if which == "x" else axes.set_yscale)("log")
    low, high = axes.get_xlim() if which == "x" else axes.get_ylim()
    if low > 0 and high / low < 5:  # too small a part of a decade for minor ticks
        axis.set_major_locator(MaxNLocator(6))
        axis.set_minor_locator(NullLocator())
        axis.set_major_formatter(ScalarFormatter(useOffset=False))
        return
    axis.set_major_formatter(Plain())
    axis.set_minor_formatter(Plain(minor_thresholds=(1.5, 0.5)))


def plain_number(number: float) -> str:
    """A tick's number: `0.001`, `20`, `10k`, `2M`, `1e+12`."""
    for size, letter in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= 10_000 and size <= number < 1000 * size:
            return f"{number / size:g}{letter}"
    return f"{number:.10f}".rstrip("0").rstrip(".") if 1e-5 < number < 10_000 else f"{number:g}"


def count_ticks(axes: "Axes", axis: Axis, largest: float) -> None:
    """`10M` instead of 10000000 if x counts tokens, operations, or many steps."""
    from matplotlib.ticker import EngFormatter

    if axis in (Axis.TOKENS, Axis.FLOPS) or (axis is Axis.STEPS and largest >= 10_000):
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
