"""Your own metrics. Whatever `extra_metrics` returns is stored, exported, plotted and synced with each point."""

from dataclasses import dataclass

from torch import nn

from hlbgpt_core.points import Split
from hlbgpt_core.settings import Settings


@dataclass(frozen=True, kw_only=True, eq=False)
class Moment:
    """What you can measure when a point is due.

    At a train point the model's gradients are those of the step that just ended; `loss` is in nats per token.
    """

    split: Split
    step: int
    loss: float
    model: nn.Module
    settings: Settings


def extra_metrics(moment: Moment) -> dict[str, float]:
    """Extra metrics of a point, by name. Add a line here; a value must be a number.

    For instance: {"embedding_norm": float(moment.model.embedding.weight.norm())}.
    """
    return {}
