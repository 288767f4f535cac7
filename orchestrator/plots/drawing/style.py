"""How figures look: sizes, colours, line styles, and labels with units."""

import contextlib
import textwrap
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.errors import UsageError
from orchestrator.export.metric_names import Axis, Metric
from orchestrator.plots.drawing.ticks import LONGEST_PLAIN
from orchestrator.plots.run_curves import RunCurve

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Distinct with every common kind of colour blindness: Okabe and Ito, "Color Universal Design", 2008.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
LINE_STYLES: Sequence[Any] = ("-", (0, (5, 2)), (0, (1.2, 1.6)), (0, (6, 2, 1.2, 2)))
DOTS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*", "p", "h")
MARKERS = ("", *DOTS)
LINE_WIDTH = 1.7
SIZE_INCHES = (6.4, 4.0)
_ORDINARY_POINTS, _LEAST_POINTS = 10.0, 6.0  # of letters
_FLATTEST = 0.6  # height to width
_NARROW_INCHES = 5.0  # the names of axes get two lines
_DOTS_AN_INCH, _DOTS_AN_INCH_IN_PRINT = 160, 300
_LETTER_INCHES = 0.095  # of a title, on average

_METRIC_WORDS: Mapping[str, str] = {
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
_AXIS_WORDS: Mapping[str, str] = {
    Axis.STEPS: "optimizer steps",
    Axis.EPOCHS: "epochs",
    Axis.TOKENS: "training tokens",
    Axis.SECONDS: "training time (s)",
    Axis.FLOPS: "training FLOPs",
    Axis.WALL_CLOCK: "wall-clock time since the start (s)",
}


@dataclass(frozen=True, kw_only=True)
class LineStyle:
    """How an arm's line looks. No two arms have the same dashes and marker while those suffice: grey is enough.

    `dot` is the marker of points that are not joined.
    """

    colour: Any
    dashes: Any
    marker: str = ""
    dot: str = DOTS[0]

    def of(self, points: int, *, are_joined: bool = True) -> Mapping[str, Any]:
        """What matplotlib's `plot` is given for a line of so many points, with a marker at some of them."""
        if not are_joined:
            return {"color": self.colour, "linestyle": "none", "marker": self.dot, "markersize": 3.5, "alpha": 0.8}
        every = {"markevery": (0.03, 0.15)} if self.marker and points > 1 else {}
        marker = self.marker or ("o" if points == 1 else None)
        return {"color": self.colour, "linestyle": self.dashes, "marker": marker, "markersize": 4, **every}


@dataclass(frozen=True, kw_only=True)
class Size:
    """How large a figure is wanted, in inches; without a `height`, what is in it decides."""

    width: float
    height: float | None = None


# A column and a page of the usual templates of papers.
_SIZES: Mapping[str, Size] = {"column": Size(width=3.4), "page": Size(width=7.0)}


def parse_size(text: str) -> Size:
    """`column`, `page`, or inches such as `5x3`. Raises UsageError for anything else."""
    if text in _SIZES:
        return _SIZES[text]
    width, _, height = text.partition("x")
    with contextlib.suppress(ValueError):
        if 2 <= float(width) <= 60 and 1.5 <= float(height) <= 60:
            return Size(width=float(width), height=float(height))
    raise UsageError(f"--size {text}: no such size", "Use column, page, or inches from 2x1.5 to 60x60: --size 5x3")


def line_styles(
    settings: Sequence[Mapping[str, Any]], names: Sequence[str], *, colour: str = "", style: str = ""
) -> list[LineStyle]:
    """The line style of each arm.

    Of the settings `names`, `colour` chooses the colour (default: the one with the most values that is not `style`),
    and `style` the dashes (default: all others). Markers tell apart what dashes do not.

    More values than distinct colours get a scale from dark to light.
    """
    values = {name: list(dict.fromkeys(arm.get(name) for arm in settings)) for name in {*names, colour} - {""}}
    if not values:
        return [LineStyle(colour=COLOURS[0], dashes=LINE_STYLES[0]) for _ in settings]
    free = [name for name in names if name != style] or list(names)
    coloured = colour or max(free, key=lambda name: len(values[name]))
    others = [name for name in names if name != coloured]
    colours = _places(settings, [coloured])
    dashes = _places(settings, [style] if style else others)
    rests = _places(settings, [name for name in others if name != style] if style else [])
    if not any(dashes) and not any(rests):
        dashes = colours
    further = [(place // len(LINE_STYLES), rest) for place, rest in zip(dashes, rests, strict=True)]
    whole = list(zip(colours, further, strict=True)) if dashes is not colours else further
    palette = _palette(len(values[coloured]))
    markers = _markers(MARKERS, whole, further)
    dots = _markers(DOTS, list(zip(colours, dashes, rests, strict=True)), list(zip(dashes, rests, strict=True)))
    return [
        LineStyle(
            colour=palette[colours[at]],
            dashes=LINE_STYLES[dashes[at] % len(LINE_STYLES)],
            marker=markers[at],
            dot=dots[at],
        )
        for at in range(len(settings))
    ]


def _markers(markers: Sequence[str], looks: Sequence[Any], without_colours: Sequence[Any]) -> list[str]:
    """A marker for each look, colours included while there are enough of them."""
    marked = looks if len(set(looks)) <= len(markers) else without_colours
    known = {look: place for place, look in enumerate(dict.fromkeys(marked))}
    return [markers[known[look] % len(markers)] for look in marked]


def _places(settings: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[int]:
    """For each arm, the place of its values of `names` among those of all."""
    own = [tuple(arm.get(name) for name in names) for arm in settings]
    known = {values: place for place, values in enumerate(dict.fromkeys(own))}
    return [known[values] for values in own]


def _palette(count: int) -> Sequence[Any]:
    if count <= len(COLOURS):
        return COLOURS
    from matplotlib import colormaps

    scale = colormaps["viridis"]
    return [scale(0.92 * place / (count - 1)) for place in range(count)]


def axis_label(x: Axis | Metric, tokenizers: Iterable[Any] = ()) -> str:
    """The x axis in words, with units; of a metric as `metric_label`."""
    return _AXIS_WORDS[x] if isinstance(x, Axis) else metric_label(x.name, tokenizers)


def tokenizers_of(runs: Iterable[RunCurve]) -> set[Any]:
    """The tokenizers of these runs, which decide what a loss is in."""
    return {run.settings.get("tokenizer") for run in runs}


def metric_label(metric: str, tokenizers: Iterable[Any]) -> str:
    """The y axis in words, with units: `validation loss (nats per byte)`, for runs with these tokenizers."""
    metric = metric.replace("-", "_")
    split = {"val": "validation ", "train": "training ", "test": "test "}.get(metric.partition("_")[0], "")
    column = metric.partition("_")[2] if split else metric
    words = _METRIC_WORDS.get(column, column)
    if not words.startswith("training "):  # a counter of training, whichever split it was recorded with
        words = split + words
    if column != "loss":
        return words
    in_bytes = set(tokenizers) == {"bytes"}
    return f"{words} (nats per {'byte' if in_bytes else 'token'})"


def new_figure(
    inches: tuple[float, float] = SIZE_INCHES, size: Size | None = None, *, keeps_height: bool = False
) -> "Figure":
    """An empty figure that is drawn without a display, of `inches` unless a `size` is wanted.

    Where that has no height, it follows from the width, or is that of `inches` if the figure `keeps_height`.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    if size is not None:
        height = inches[1] if keeps_height else size.width * max(inches[1] / inches[0], _FLATTEST)
        inches = size.width, size.height or height
    dots = _DOTS_AN_INCH if size is None else _DOTS_AN_INCH_IN_PRINT
    figure = Figure(figsize=inches, layout="constrained", dpi=dots)
    FigureCanvasAgg(figure)
    return figure


@contextlib.contextmanager
def lettering(size: Size | None) -> Iterator[None]:
    """Draw a figure of that size within this block: a narrow one has smaller letters."""
    from matplotlib import rc_context

    share = 1.0 if size is None else min(1.0, 0.55 + 0.06 * size.width)
    with rc_context({"font.size": _ORDINARY_POINTS * share}):
        yield


def points(ordinary: float) -> float:
    """A size of letters, in points, that is `ordinary` in a figure of ordinary size."""
    from matplotlib import rcParams

    return max(_LEAST_POINTS, ordinary * float(rcParams["font.size"]) / _ORDINARY_POINTS)


def dress(axes: "Axes") -> None:
    """Put a light grid behind the lines, and no frame above and on the right; make room in a narrow figure."""
    from matplotlib.ticker import AutoLocator

    if axes.figure.get_figwidth() < _NARROW_INCHES:  # type: ignore[union-attr]  # of a figure, not of a part
        for axis in (axes.xaxis, axes.yaxis):
            label = axis.get_label()
            label.set_text(label.get_text().replace(" (", "\n(").replace(" from ", "\nfrom "))
        if isinstance(locator := axes.xaxis.get_major_locator(), AutoLocator):
            locator.set_params(nbins=5)
    axes.grid(True, which="major", color="#DDDDDD", linewidth=0.6)
    axes.set_axisbelow(True)
    if axes.get_yscale() == "linear" and 10_000 <= max(map(abs, axes.get_ylim())) < LONGEST_PLAIN:
        axes.yaxis.set_major_formatter("{x:,.0f}")
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=points(_ORDINARY_POINTS))


def add_titles(figure: "Figure", title: str, note: str) -> None:
    """Add the title, and under it in small letters what lines and bands mean."""
    if title:
        # Not by wrap=True, which always reads a dollar as the start of a formula.
        letters = int(figure.get_figwidth() / _LETTER_INCHES / points(11) * 11)
        lines = [line for part in title.splitlines() for line in textwrap.wrap(part, letters) or [""]]
        figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=points(11))
    if note:
        figure.supxlabel(note, x=0.99, ha="right", fontsize=points(7.5), color="#555555", wrap=True)


@contextlib.contextmanager
def plain_texts(figure: "Figure") -> Iterator[None]:
    """Save a figure within this block. Its texts are shown as they are: a dollar in a title or path starts no formula,
    and a letter that the font lacks is a box, without a warning. A PDF holds its fonts as TrueType."""
    from matplotlib import rc_context
    from matplotlib.text import Text

    for text in figure.findobj(Text):
        text.set_parse_math(False)
    # Tick labels are made when the figure is drawn.
    with rc_context({"text.parse_math": False, "pdf.fonttype": 42}), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        yield
