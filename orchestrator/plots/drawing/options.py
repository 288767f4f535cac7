"""What `hlbq plot` can be asked of every figure, of one with lines, and of one with curves."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class MetricOptions:
    """What is drawn, under which title, and which runs may stand together in it all the same."""

    metric: str = "val_loss"
    title: str = ""
    allow_mixed_data: bool = False
    allow_mixed_evaluation: bool = False


@dataclass(frozen=True, kw_only=True)
class LineOptions(MetricOptions):
    """How a figure shows its lines. `colour` and `style` are settings that choose the lines' colours and styles (empty:
    chosen for you). Runs are grouped `by` settings (empty: those that differ)."""

    log_x: bool = False
    log_y: bool = False
    colour: str = ""
    style: str = ""
    by: Sequence[str] = ()


@dataclass(frozen=True, kw_only=True)
class CurveOptions(LineOptions):
    """How a figure shows its curves. `smooth` is the weight that the past keeps over a hundredth of a run in a moving
    average, 0 to below 1; `facet` is a setting with a panel for each value."""

    smooth: float = 0.0
    past_shortest: bool = False
    facet: str = ""
    baseline: Mapping[str, Any] | None = None
