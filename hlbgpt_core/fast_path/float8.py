"""The output layer's product in float8: rounded to 8 bits on the way in, added up in float32.

Both factors are scaled so that their largest value is the largest of the format (e4m3: 448). The gradients are those of
the product as it would be without rounding. A GPU with float8 products (compute capability 8.9 and up) uses one.
Elsewhere an ordinary product follows the same rounding, so runs learn alike.
"""

import functools
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

FORMAT = torch.float8_e4m3fn
LARGEST = torch.finfo(FORMAT).max
LEAST_CAPABILITY = (8, 9)


@dataclass(frozen=True, kw_only=True, eq=False)
class Rounded:
    """A tensor as `values` of 8 bits times `scale`, a float32 scalar on its device."""

    values: Tensor
    scale: Tensor


def rounded(tensor: Tensor) -> Rounded:
    """`tensor` in float8. Does not synchronise the device."""
    scale = tensor.detach().abs().amax().float().clamp(min=1e-12) / LARGEST
    # A value that is not finite becomes NaN, the only such value of the format.
    return Rounded(values=(tensor.detach().float() / scale).to(FORMAT), scale=scale)


def product(states: Rounded, weight: Rounded, dtype: torch.dtype) -> Tensor:
    """states (N, width) times weight (vocabulary, width) transposed: (N, vocabulary) in `dtype`."""
    if has_float8_products(states.values.device) and dtype == torch.bfloat16:
        return torch._scaled_mm(
            states.values, weight.values.t(), scale_a=states.scale, scale_b=weight.scale, out_dtype=dtype
        )
    return F.linear(*((one.values.float() * one.scale).to(dtype) for one in (states, weight)))


@functools.cache
def has_float8_products(device: torch.device) -> bool:
    """Whether `device` multiplies float8 matrices."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= LEAST_CAPABILITY


class Float8Linear(torch.autograd.Function):
    """states (N, width) and weight (vocabulary, width) to logits (N, vocabulary)."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor) -> Tensor:
        """The product of the rounded factors."""
        ctx.save_for_backward(states, weight)
        return product(rounded(states), rounded(weight), states.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, Tensor]:
        """Gradients as without rounding."""
        states, weight = ctx.saved_tensors
        return gradients[0] @ weight, gradients[0].t() @ states
