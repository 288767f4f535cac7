"""The loss of next-token prediction, by the plain way or the fast one."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from hlbgpt_core.fast_path.output_loss import output_loss
from hlbgpt_core.recipes.protocol import LanguageModel


@dataclass(frozen=True, kw_only=True, eq=False)
class TokenLoss:
    """Mean loss in nats a token, and mean accuracy where it was asked for; scalars on the device."""

    loss: Tensor
    accuracy: Tensor | None


def next_token_loss(model: LanguageModel, tokens: Tensor, *, with_accuracy: bool) -> TokenLoss:
    """Loss of predicting tokens[:, 1:] from tokens[:, :-1], for tokens (batch, length + 1).

    Taken in float32, or in float64 where the model is. A `fast` model's is taken without a copy of the logits.
    """
    if model.fast:
        states = model.hidden_states(tokens[:, :-1]).flatten(0, 1)
        loss, accuracy = output_loss(
            states,
            model.output_weight,
            tokens[:, 1:].flatten(),
            with_accuracy=with_accuracy,
            float8=model.float8_output,
        )
        return TokenLoss(loss=loss, accuracy=accuracy)
    logits = model(tokens[:, :-1]).flatten(0, 1)
    targets = tokens[:, 1:].flatten()
    accuracy = None
    if with_accuracy:
        accuracy = (logits.detach().argmax(dim=-1) == targets).mean(dtype=torch.float64)
    if logits.dtype != torch.float64:
        logits = logits.float()
    return TokenLoss(loss=F.cross_entropy(logits, targets), accuracy=accuracy)
