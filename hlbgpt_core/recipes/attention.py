"""Causal attention with a linear position bias, shared by the recipes.

A model asks the `Positions` of its sequences what each block needs of its slope, and the block calls their `attend`
with that. There are two: `CausalDistances` adds a dense bias to the scores, as the recipes are written;
`PositionFeatures` (folded_attention.py) computes the same without one, for the fast path.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional as F


class Positions(Protocol):
    """Where the tokens of a sequence stand, and attention among them."""

    def of_blocks(self, slopes: Tensor) -> Sequence[Tensor]:
        """What `attend` needs of each block's slope (blocks): in a few kernels for all of them."""

    def attend(self, query: Tensor, key: Tensor, value: Tensor, own: Tensor) -> Tensor:
        """softmax(query keyᵀ / sqrt(channels) + slope (r(j) - r(i)) for j <= i) value.

        All are (batch, heads, length, channels); the value may have its own number of channels. `own` is the block's
        of `of_blocks`.
        """


def rounded_positions(length: int, max_length: int, *, released: bool, device: torch.device) -> Tensor:
    """r(i) = i - (max_length - 1) of the first `length` positions: float32, or bfloat16 where `released`."""
    position = torch.arange(length, dtype=torch.float32, device=device) - (max_length - 1)
    return position.to(torch.bfloat16) if released else position


@dataclass(frozen=True, kw_only=True, eq=False)
class CausalDistances:
    """Two tables (length, length) over query i and key j.

    `distance` is r(j) - r(i) for j <= i and 0 above; `mask` is 0 for j <= i and -inf above. They are kept
    apart because the bias scalar's gradient is a sum over `distance`, where an infinity would give NaN.
    """

    distance: Tensor
    mask: Tensor

    def of_blocks(self, slopes: Tensor) -> Sequence[Tensor]:
        """The slopes themselves: a bias for each block at once would hold a table for each in memory."""
        return slopes.to(self.distance.dtype).unbind()

    def bias(self, slope: Tensor) -> Tensor:
        """What is added to the scores (length, length), for a scalar `slope` that may need a gradient."""
        return torch.addcmul(self.mask, slope, self.distance)

    def attend(self, query: Tensor, key: Tensor, value: Tensor, own: Tensor) -> Tensor:
        """See `Positions`."""
        return attention(query, key, value, self.bias(own))


@lru_cache(maxsize=4)
def causal_distances(
    length: int, max_length: int, *, released: bool, dtype: torch.dtype, device: torch.device
) -> CausalDistances:
    """Tables for sequences of `length` tokens; r(i) = i - (max_length - 1), in shorter sequences too.

    With `released`, r and the differences are rounded to bfloat16, as hlb-gpt computed them: integers past
    256 then lose their last bits. Otherwise they are exact (in float32, where `dtype` has fewer bits).
    """
    position = rounded_positions(length, max_length, released=released, device=device)
    distance = (position[None, :] - position[:, None]).tril()
    if not released and dtype == torch.bfloat16:
        dtype = torch.float32
    mask = torch.full((length, length), float("-inf"), dtype=dtype, device=device).triu(1)
    return CausalDistances(distance=distance.to(dtype), mask=mask)


def attention(query: Tensor, key: Tensor, value: Tensor, bias: Tensor) -> Tensor:
    """softmax(query keyᵀ / sqrt(channels) + bias) value, for (batch, heads, length, channels) each.

    `bias` (length, length) is shared by batch and heads. The value may have its own number of channels.
    """
    bias = bias.to(query.dtype)
    if query.device.type != "cpu":
        return F.scaled_dot_product_attention(query, key, value, attn_mask=bias)
    # On a CPU a bias that learns sends torch's own attention to a path that costs 1.4 times these three calls.
    batch, heads, length, channels = query.shape
    scores = torch.baddbmm(
        bias.expand(batch * heads, length, length),
        query.reshape(batch * heads, length, channels),
        key.reshape(batch * heads, length, channels).transpose(1, 2),
        alpha=channels**-0.5,
    )
    mixed = torch.bmm(scores.softmax(dim=-1), value.reshape(batch * heads, length, -1))
    return mixed.view(batch, heads, length, -1)


def split_heads(states: Tensor, heads: int) -> Tensor:
    """(batch, length, heads * channels) to (batch, heads, length, channels); heads are contiguous channels."""
    return states.view(*states.shape[:-1], heads, -1).transpose(1, 2)


def join_heads(states: Tensor) -> Tensor:
    """(batch, heads, length, channels) to (batch, length, heads * channels)."""
    return states.transpose(1, 2).flatten(2)
