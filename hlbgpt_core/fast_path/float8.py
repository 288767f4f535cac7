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


class Float8Weight:
    """The output layer's weight as float8 products take it, kept until `changed` is called.

    So it is prepared once a step, however many microbatches a step has, and once for all batches of an evaluation.
    Whoever changes the weight must say so: torch does not count what its fused optimizers change.
    """

    def __init__(self) -> None:
        self._prepared: Rounded | Tensor | None = None

    def of(self, weight: Tensor) -> "Rounded | Tensor":
        """`weight` (vocabulary, width) rounded; as an ordinary tensor where its device has no float8 products."""
        if self._prepared is None:
            eight = rounded(weight)
            has_products = has_float8_products(weight.device) and weight.dtype == torch.bfloat16
            self._prepared = eight if has_products else widened(eight, weight.dtype)
        return self._prepared

    def changed(self) -> None:
        """The weight has other values now."""
        self._prepared = None


def product(states: Rounded, weight: Rounded | Tensor, dtype: torch.dtype) -> Tensor:
    """states (N, width) times weight (vocabulary, width; see Float8Weight) transposed: (N, vocabulary) in `dtype`."""
    if isinstance(weight, Tensor):
        return F.linear(widened(states, dtype), weight)
    return torch._scaled_mm(
        states.values, weight.values.t(), scale_a=states.scale, scale_b=weight.scale, out_dtype=dtype
    )


def widened(one: Rounded, dtype: torch.dtype) -> Tensor:
    """The rounded values in `dtype`."""
    return (one.values.float() * one.scale).to(dtype)


@functools.cache
def has_float8_products(device: torch.device) -> bool:
    """Whether `device` multiplies float8 matrices."""
    return device.type == "cuda" and torch.cuda.get_device_capability(device) >= LEAST_CAPABILITY


class Float8Linear(torch.autograd.Function):
    """states (N, width) and weight (vocabulary, width) to logits (N, vocabulary)."""

    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, float8: Float8Weight) -> Tensor:
        """The product of the rounded factors."""
        ctx.save_for_backward(states, weight)
        return product(rounded(states), float8.of(weight), states.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Tensor, Tensor, None]:
        """Gradients as without rounding."""
        states, weight = ctx.saved_tensors
        return gradients[0] @ weight, gradients[0].t() @ states, None


def imitation_warning(device: torch.device) -> str:
    """What to say of a GPU that can only imitate float8 products; empty for others, and for a CPU, which is slow."""
    if device.type != "cuda" or has_float8_products(device):
        return ""
    major, minor = torch.cuda.get_device_capability(device)
    return (
        f"output_precision float8: this GPU (compute capability {major}.{minor}) multiplies no float8, so it rounds, "
        "then multiplies as usual. The run learns the same, more slowly than with output_precision same. "
        f"GPUs from {LEAST_CAPABILITY[0]}.{LEAST_CAPABILITY[1]} on multiply float8."
    )
