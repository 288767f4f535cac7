"""Figures of a search: the best so far over its arms, and what was tried in parallel coordinates.

An arm that was stopped early has no final value. It is marked at the edge of the first figure, and in the second its
line ends before the metric.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from orchestrator.growth.search import OPEN, WITHOUT_A_NUMBER, ArmOutcome, Result, SearchPolicy, improvements_of
from orchestrator.growth.search_space import Choices, Space, parameter
from orchestrator.growth.searching import SearchReading
from orchestrator.plots.drawing.style import COLOURS, LINE_WIDTH, add_titles, dress, metric_label, new_figure, points
from orchestrator.plots.figures import Drawn
from orchestrator.sweep.options import value_text
from orchestrator.sweep.shapes import Track
from orchestrator.wording.numbers import counted, measured_text

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Of more arms the newest are drawn.
MOST_LINES = 500
_MARKERS = {
    ArmOutcome.PRUNED: "x",
    ArmOutcome.DIVERGED: "^",
    ArmOutcome.FAILED: "s",
    ArmOutcome.OTHER_DATA: "D",
    ArmOutcome.MIXED_CODE: "v",
}
_FADED = "#999999"


@dataclass(frozen=True, kw_only=True)
class _Tried:
    """An arm of a search: its number from 1, its choices, and what became of it."""

    number: int
    choices: Choices
    result: Result


def search_drawings(search: SearchReading, tokenizers: Collection[str | None]) -> list[tuple[str, Callable[[], Drawn]]]:
    """The figures of a search by caption; none before two arms were measured. `tokenizers` are those of its arms."""
    policy, space = search.policy, search.space
    trials = [trial for trial in search.state.trials if trial.arm]
    tried = [
        _Tried(number=number, choices=trial.choices, result=search.results.get(trial.arm, OPEN))
        for number, trial in enumerate(trials, start=1)
    ]
    if sum(one.result.final is not None for one in tried) < 2:
        return []
    label = f"final {metric_label(policy.metric, tokenizers)}"

    def best_so_far() -> Drawn:
        return Drawn(figure=_draw_best(tried, policy, label), arms=len(tried), runs=len(tried))

    def coordinates() -> Drawn:
        shown = tried[-MOST_LINES:]
        warnings = [f"the newest {MOST_LINES} arms are drawn"] if len(shown) < len(tried) else []
        figure = _draw_coordinates(shown, space, policy, label)
        return Drawn(figure=figure, arms=len(shown), runs=len(shown), warnings=warnings)

    return [(f"best {policy.metric} so far", best_so_far), ("what the search tried", coordinates)]


def _draw_best(tried: Sequence[_Tried], policy: SearchPolicy, label: str) -> "Figure":
    """A dot for each arm that was measured, the best so far as a line, and the others at the edge."""
    figure = new_figure()
    axes = figure.add_subplot()
    better = dict(improvements_of(policy, [one.result for one in tried]))
    best: list[float] = []
    for one in tried:
        best.append(better.get(one.number, best[-1] if best else math.nan))
    measured = {one.number: one.result.final for one in tried if one.result.final is not None}
    axes.plot(list(measured), list(measured.values()), "o", color=_FADED, markersize=4, label="an arm")
    axes.plot(
        [one.number for one in tried],
        best,
        drawstyle="steps-post",
        color=COLOURS[0],
        linewidth=LINE_WIDTH,
        label="the luckiest so far",
    )
    for outcome, marker in _MARKERS.items():
        numbers = [one.number for one in tried if one.result.outcome is outcome]
        if numbers:
            axes.plot(
                numbers,
                [0.02] * len(numbers),
                marker,
                transform=axes.get_xaxis_transform(),
                color=COLOURS[1],
                markersize=4,
                label=f"{WITHOUT_A_NUMBER[outcome]} ({len(numbers)})",
            )
    axes.set_xlabel("arms, in the order in which they were proposed")
    axes.set_ylabel(label)
    axes.legend(fontsize=points(8), frameon=False)
    dress(axes)
    add_titles(figure, "", "one seed an arm: the best is partly luck" if policy.num_runs == 1 else "")
    return figure


def _draw_coordinates(tried: Sequence[_Tried], space: Space, policy: SearchPolicy, label: str) -> "Figure":
    """A line for each arm over what varies, ending at its value; dashed and short where it was stopped early."""
    from matplotlib import colormaps

    tracks = [track for track in space.tracks if track.count() > 1]
    values = [one.result.final for one in tried if one.result.final is not None]
    low, high = min(values, default=0.0), max(values, default=1.0)
    figure = new_figure((max(5.0, 2.0 + 1.6 * len(tracks)), 4.0))
    axes = figure.add_subplot()
    scale = colormaps["viridis"]
    # The best are drawn last, over the others.
    for one in sorted(tried, key=lambda one: _share_of_best(one, policy, low, high)):
        heights = [_height(track, one.choices.get(parameter(track), 0)) for track in tracks]
        if one.result.final is not None:
            heights.append(_share(one.result.final, low, high))
            colour: Any = scale(0.92 * (1 - _share_of_best(one, policy, low, high)))
            axes.plot(range(len(heights)), heights, color=colour, linewidth=1.0)
        elif one.result.outcome is not ArmOutcome.OPEN:
            axes.plot(range(len(heights)), heights, color=_FADED, linewidth=0.7, linestyle=(0, (3, 2)), alpha=0.7)
    for place, track in enumerate(tracks):
        _write_scale(axes, place, _ticks(track))
    _write_scale(axes, len(tracks), {0.0: measured_text(low, digits=4), 1.0: measured_text(high, digits=4)})
    axes.set_xticks(range(len(tracks) + 1), [*map(parameter, tracks), label.replace(" (", "\n(")])
    axes.set_yticks([])
    axes.set_xlim(-0.2, len(tracks) + 0.5)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0, labelsize=points(8.5))
    lost = sum(one.result.outcome in _MARKERS for one in tried)
    pruned = sum(one.result.outcome is ArmOutcome.PRUNED for one in tried)
    note = f"dashed: {counted(lost, 'arm')} without a final value, {pruned} of them stopped early" if lost else ""
    add_titles(figure, "", note)
    return figure


def _share_of_best(one: _Tried, policy: SearchPolicy, low: float, high: float) -> float:
    """From 0 (the worst) to 1 (the best); below 0 without a final value."""
    if one.result.final is None:
        return -1.0
    share = _share(one.result.final, low, high)
    return 1 - share if policy.is_better(low, high) else share


def _share(value: float, low: float, high: float) -> float:
    return (value - low) / (high - low) if high > low else 0.5


def _height(track: Track, chosen: Any) -> float:
    """Where a choice stands on its scale, from 0 to 1."""
    if (found := track.range) is None:
        return float(chosen) / max(1, len(track.choices) - 1)
    scaled = float if found.is_linear else math.log
    return (scaled(chosen) - scaled(found.low)) / (scaled(found.high) - scaled(found.low))


def _ticks(track: Track) -> Mapping[float, str]:
    """The ends of a range, or all values of a list, by their heights."""
    if (found := track.range) is not None:
        return {0.0: value_text(found.low), 1.0: value_text(found.high)}
    return {_height(track, at): ", ".join(map(value_text, values)) for at, values in enumerate(track.choices)}


def _write_scale(axes: "Axes", place: int, ticks: Mapping[float, str]) -> None:
    axes.plot([place, place], [0, 1], color="#333333", linewidth=0.8)
    for height, text in ticks.items():
        axes.text(place + 0.04, height, text, fontsize=points(7.5), va="center")
