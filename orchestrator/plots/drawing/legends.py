"""Legends: in the axes, beside them, above them, or a scale of colours."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from orchestrator.plots.drawing.style import LineStyle, Size, points
from orchestrator.sweep.options import value_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# More lines than these, or longer names, get a legend outside the axes, where it covers nothing.
_MOST_INSIDE, _LONGEST_INSIDE = 8, 40
_MOST_INSIDE_SMALL, _LONGEST_INSIDE_SMALL = 4, 24  # in a figure for a paper
# More numbers than this are a scale of colours.
MOST_IN_LEGEND = 16
_MOST_NAMED = 110
_MOST_LARGE = 22  # more names are written smaller
# Markers stand at both ends of a line: in its middle one would hide the gap between two dashes.
_LEGEND: Mapping[str, Any] = {"frameon": False, "handlelength": 3.6, "numpoints": 2, "alignment": "left"}
# A legend in units of its font size: a line, an average letter, and the space around a name.
_LINE_HEIGHT, _LETTER_WIDTH, _HANDLE_WIDTH = 1.7, 0.62, 7.0


def add_legend(
    figure: "Figure", axes: "Axes", *, title: str = "", beside: bool = False, size: Size | None = None
) -> None:
    """The legend of the labelled lines: in the axes, or outside if it is large or `beside` is set."""
    handles, labels = axes.get_legend_handles_labels()
    most, longest = (_MOST_INSIDE, _LONGEST_INSIDE) if size is None else (_MOST_INSIDE_SMALL, _LONGEST_INSIDE_SMALL)
    if beside or len(labels) > most or max(map(len, labels), default=0) > longest:
        legend_outside(figure, handles, labels, title=title, size=size)
    else:
        letters = points(8.5)
        axes.legend(
            handles, labels, fontsize=letters, title_fontsize=letters, loc="best", title=title or None, **_look(handles)
        )


def _look(handles: Sequence[Any]) -> Mapping[str, Any]:
    """What every legend is given: of dots that no line joins, one each."""
    are_dots = bool(handles) and all(handle.get_linestyle() == "None" for handle in handles)
    return {**_LEGEND, "numpoints": 1, "handlelength": 1.0} if are_dots else _LEGEND


def legend_outside(
    figure: "Figure", handles: Sequence[Any], labels: Sequence[str], *, title: str = "", size: Size | None = None
) -> None:
    """A legend outside the axes: on their right, and the figure gets wider, or above them if it has a `size`."""
    if len(labels) > _MOST_NAMED:
        title, handles, labels = f"{len(labels)} lines are too\nmany to name", [], []
    if size is None:
        _legend_beside(figure, handles, labels, title)
    else:
        _legend_above(figure, handles, labels, title, size)


def _legend_above(figure: "Figure", handles: Sequence[Any], labels: Sequence[str], title: str, size: Size) -> None:
    """Between the figure's title and its axes; without a fixed height the figure gets higher."""
    letters = points(8) if len(labels) <= _MOST_LARGE else points(6.5)
    widest = max(map(len, (*labels, title.replace("\n", " "))), default=0)
    columns = max(1, int(72 * size.width / (letters * (_LETTER_WIDTH * widest + _HANDLE_WIDTH))))
    height = ((-(-len(labels) // columns) + bool(title)) * _LINE_HEIGHT * letters + 6) / 72
    if size.height is not None and height > size.height / 2:
        title, handles, labels, height = f"{len(labels)} lines are too many to name", [], [], 3 * letters / 72
    if size.height is None:
        figure.set_figheight(figure.get_figheight() + height)
    whole = figure.get_figheight()
    heading = figure.get_suptitle()
    below = points(11) * 1.25 / 72 * (heading.count("\n") + 1) / whole if heading else 0.0
    figure.get_layout_engine().set(rect=(0, 0, 1, 1 - height / whole))  # type: ignore[union-attr,call-arg]
    figure.legend(
        handles, labels, loc="upper left", bbox_to_anchor=(0, 1 - below), ncols=columns, fontsize=letters,
        title_fontsize=letters, title=title.replace("\n", " ") or None, **_look(handles),
    )  # fmt: skip


def _legend_beside(figure: "Figure", handles: Sequence[Any], labels: Sequence[str], title: str) -> None:
    """In as many columns as it needs."""
    letters = 8 if len(labels) <= _MOST_LARGE else 7
    in_column = max(1, int((figure.get_figheight() - 0.5) * 72 / (_LINE_HEIGHT * letters)))
    columns = max(1, -(-len(labels) // in_column))
    widest = max(map(len, (*labels, *title.splitlines())), default=0)
    column_inches = (_LETTER_WIDTH * widest + _HANDLE_WIDTH) * letters / 72
    figure.set_figwidth(figure.get_figwidth() + columns * column_inches)
    figure.legend(
        handles, labels, loc="outside right upper", ncols=columns, fontsize=letters, title_fontsize=8,
        title=title or None, **_look(handles),
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
    bar.ax.tick_params(length=2, labelsize=points(8))
    bar.minorticks_off()
    bar.set_label(name, fontsize=points(8.5))
