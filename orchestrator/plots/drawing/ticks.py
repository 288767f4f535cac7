"""Ticks of axes: plain numbers, also on logarithmic ones."""

from typing import TYPE_CHECKING

from orchestrator.export.metric_names import Axis, Metric

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LONGEST_PLAIN = 1e9  # larger numbers on an axis are shown as powers of ten


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
    if low > 0 and high < 5 * low:  # too small a part of a decade for minor ticks
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


def count_ticks(axes: "Axes", x: Axis | Metric, largest: float) -> None:
    """`10M` instead of 10000000 if x counts tokens, operations, or many steps, or is a metric as large."""
    from matplotlib.ticker import EngFormatter

    is_large = isinstance(x, Metric) and axes.get_xscale() == "linear" and 10_000 <= largest < LONGEST_PLAIN
    if x in (Axis.TOKENS, Axis.FLOPS) or (x is Axis.STEPS and largest >= 10_000) or is_large:
        axes.xaxis.set_major_formatter(EngFormatter(sep=""))
