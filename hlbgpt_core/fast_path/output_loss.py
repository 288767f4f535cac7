"""Output layer and cross-entropy in one, without a float32 copy of the logits: the fast path's loss.

The logits of a few thousand tokens at a time are made, their loss is taken, and they are overwritten with their own
gradient, which goes straight into those of the states and of the output layer. So the logits of a microbatch never
exist as a whole, and each is written and read a few times instead of a dozen.
"""

import functools
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from hlbgpt_core.fast_path.float8 import Float8Weight, product, rounded

# Logits at a time. Products of this many rows fill a GPU; the CPU's caches prefer smaller ones.
LOGITS_BYTES = {"cuda": 2 * 2**30, "cpu": 4 * 2**20}

# Losses (rows, float32 or float64) of logits (rows, vocabulary); the logits become softmax - one-hot, in place.
LossesAndGradient = Callable[[Tensor, Tensor], Tensor]


class OutputLoss(torch.autograd.Function):
    """The mean loss of states (N, width) for targets (N); gradients to states and weight (vocabulary, width)."""

    @staticmethod
    def forward(
        ctx: Any, states: Tensor, weight: Tensor, targets: Tensor, correct: Tensor | None, float8: Float8Weight | None
    ) -> Tensor:
        """The mean loss in nats. `correct`, a float64 scalar, is increased by the number of right guesses if given."""
        logits_of = output_layer(states, weight, float8=float8)
        losses_and_gradient = kernel_for(states)
        total = torch.zeros((), dtype=loss_dtype(states), device=states.device)
        states_gradient = torch.empty_like(states)
        weight_gradient: Tensor | None = None
        for rows in chunks(states, weight.shape[0]):
            logits = logits_of(rows)
            if correct is not None:
                correct += (logits.argmax(dim=-1) == targets[rows]).sum()
            total += losses_and_gradient(logits, targets[rows]).sum()
            torch.mm(logits, weight, out=states_gradient[rows])
            part = logits.t() @ states[rows]
            # Several parts are added up in float32: bfloat16 would lose bits at each.
            weight_gradient = part if weight_gradient is None else weight_gradient.to(total.dtype).add_(part)
            del logits  # before the next ones are made
        assert weight_gradient is not None  # there is at least one token
        ctx.save_for_backward(states_gradient, weight_gradient.to(weight.dtype))
        return total / len(targets)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor | None, ...]:
        """The gradients that `forward` made, times the loss's own."""
        states_gradient, weight_gradient = ctx.saved_tensors
        factor = gradients[0] / len(states_gradient)
        return states_gradient * factor, weight_gradient * factor, None, None, None


def output_loss(
    states: Tensor, weight: Tensor, targets: Tensor, *, with_accuracy: bool, float8: Float8Weight | None = None
) -> tuple[Tensor, Tensor | None]:
    """Mean loss (nats a token) and, if wanted, mean accuracy, of states (N, width) for targets (N)."""
    correct = torch.zeros((), dtype=torch.float64, device=states.device) if with_accuracy else None
    if torch.is_grad_enabled() and states.requires_grad:
        loss: Tensor = OutputLoss.apply(states, weight, targets, correct, float8)  # type: ignore[no-untyped-call]
    else:
        loss = loss_alone(states, weight, targets, correct, float8=float8)
    return loss, None if correct is None else correct / len(targets)


def output_layer(states: Tensor, weight: Tensor, *, float8: Float8Weight | None) -> Callable[[slice], Tensor]:
    """The function that makes the logits (rows, vocabulary) of some rows of states (N, width); see float8.py."""
    if float8 is None:
        return lambda rows: F.linear(states[rows], weight)
    weight8, states8 = float8.of(weight), rounded(states)
    return lambda rows: product(replace(states8, values=states8.values[rows]), weight8, states.dtype)


def loss_alone(
    states: Tensor, weight: Tensor, targets: Tensor, correct: Tensor | None, *, float8: Float8Weight | None
) -> Tensor:
    """The mean loss without gradients."""
    logits_of = output_layer(states, weight, float8=float8)
    total = torch.zeros((), dtype=loss_dtype(states), device=states.device)
    for rows in chunks(states, weight.shape[0]):
        logits = logits_of(rows)
        if correct is not None:
            correct += (logits.argmax(dim=-1) == targets[rows]).sum()
        log_probabilities = torch.log_softmax(logits, dim=-1, dtype=total.dtype)
        total += F.nll_loss(log_probabilities, targets[rows], reduction="sum")
    return total / len(targets)


def losses_and_gradient(logits: Tensor, targets: Tensor) -> Tensor:
    """See `LossesAndGradient`, by torch's own operations."""
    log_probabilities = torch.log_softmax(logits, dim=-1, dtype=loss_dtype(logits))
    rows = targets[:, None]
    losses = -log_probabilities.gather(1, rows).squeeze(1)
    gradient = log_probabilities.exp_()
    gradient.scatter_add_(1, rows, torch.full_like(rows, -1, dtype=gradient.dtype))
    logits.copy_(gradient)
    return losses


def kernel_for(states: Tensor) -> LossesAndGradient:
    """The fastest implementation for the device of `states`: our own kernel on a GPU that Triton supports."""
    if states.device.type == "cuda" and states.dtype != torch.float64 and triton_works(states.device):
        from hlbgpt_core.fast_path.output_loss_kernel import losses_and_gradient_by_triton

        return losses_and_gradient_by_triton
    return losses_and_gradient


@functools.cache
def triton_works(device: torch.device) -> bool:
    """Whether Triton is installed and can build a kernel: for that it needs a C compiler and Python's headers."""
    try:
        from hlbgpt_core.fast_path.output_loss_kernel import losses_and_gradient_by_triton

        losses_and_gradient_by_triton(torch.zeros(1, 8, device=device), torch.zeros(1, dtype=torch.long, device=device))
    # Whatever went wrong, the loss works without Triton.
    except Exception as error:
        reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
        print(f"warning: no Triton kernels, the output loss takes longer: {reason}", file=sys.stderr)
        return False
    return True


def chunks(states: Tensor, vocabulary: int) -> Iterator[slice]:
    """The rows of `states`, cut so that the logits of each cut fit into LOGITS_BYTES; even cuts."""
    rows_at_most = max(LOGITS_BYTES[states.device.type] // (vocabulary * states.element_size()), 1)
    count = -(-len(states) // rows_at_most)
    rows = -(-len(states) // count)
    for first in range(0, len(states), rows):
        yield slice(first, min(first + rows, len(states)))


def loss_dtype(states: Tensor) -> torch.dtype:
    """Losses are computed in float32, or in float64 if the model is float64."""
    return torch.float64 if states.dtype == torch.float64 else torch.float32
