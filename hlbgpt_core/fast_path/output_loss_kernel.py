"""A Triton kernel: losses of logits, which it overwrites with their gradient. Imported only if Triton is installed.

One program per row passes over it twice: once for the maximum and the sum of exponentials, kept up together as in
Milakov and Gimelshein, "Online normalizer calculation for softmax" (2018); once to write softmax - one-hot.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

BLOCK = 4096  # columns at a time


# No annotations: Triton compiles them too, and knows only its own names in them.
@triton.jit  # type: ignore[untyped-decorator]
def _losses_and_gradient(logits_pointer, row_stride, targets_pointer, losses_pointer, columns, BLOCK: tl.constexpr):  # type: ignore[no-untyped-def]
    row = tl.program_id(0).to(tl.int64)
    start = logits_pointer + row * row_stride
    target = tl.load(targets_pointer + row)
    # Read before the row is overwritten: the reductions of the first pass are in between.
    picked = tl.load(start + target).to(tl.float32)
    offsets = tl.arange(0, BLOCK)
    largest = tl.full((), float("-inf"), tl.float32)
    total = tl.full((), 0.0, tl.float32)
    for first in range(0, columns, BLOCK):
        column = first + offsets
        values = tl.load(start + column, mask=column < columns, other=float("-inf")).to(tl.float32)
        before = largest
        largest = tl.maximum(before, tl.max(values, axis=0))
        total = total * tl.exp(before - largest) + tl.sum(tl.exp(values - largest), axis=0)
    log_total = largest + tl.log(total)
    tl.store(losses_pointer + row, log_total - picked)
    for first in range(0, columns, BLOCK):
        column = first + offsets
        values = tl.load(start + column, mask=column < columns, other=float("-inf")).to(tl.float32)
        gradient = tl.exp(values - log_total) - tl.where(column == target, 1.0, 0.0)
        tl.store(start + column, gradient.to(logits_pointer.dtype.element_ty), mask=column < columns)


def losses_and_gradient_by_triton(logits: Tensor, targets: Tensor) -> Tensor:
    """See `output_loss.LossesAndGradient`; logits in bfloat16 or float32, their rows anywhere, columns in order."""
    losses = torch.empty(len(logits), dtype=torch.float32, device=logits.device)
    # Triton launches on the current device, wherever the tensors are.
    with torch.cuda.device_of(logits):  # type: ignore[no-untyped-call]
        _losses_and_gradient[(len(logits),)](
            logits, logits.stride(0), targets, losses, logits.shape[1], BLOCK=BLOCK, num_warps=8
        )
    return losses
