"""Attention with the position bias folded into the products: no dense bias, so a fused kernel can do it.

With the softmax scale s, slope c and positions r, let query i gain the channels [c/s, -c r(i)/s] and key j the channels
[r(j), 1]. Then s times their product is the old score plus c (r(j) - r(i)): what the bias adds, with nothing left but
a causal mask, which the kernels know by a flag. The second channel adds the same to a whole row of scores, which the
softmax takes away again; it keeps the gradient of c a sum over small distances instead of large positions.

In bfloat16 a number of 8 bits does not hold c/s or a position above 256, so both come in two parts, high and low.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F

from hlbgpt_core.recipes.attention import rounded_positions

VALUE_PIECE = 64  # channels: what the fused kernels are made for
CHANNEL_MULTIPLE = 8  # they want the number of channels to be a multiple of this


@dataclass(frozen=True, kw_only=True, eq=False)
class PositionFeatures:
    """The channels that positions add to queries and keys, for sequences of one length.

    `position` (length) is r(i) less that of the middle, which the softmax does not see, in float32 or float64;
    `key_features` (length, features) are the keys' channels, in the model's own number format, and zeros up to the
    width that the kernels take. Values are cut into `pieces`; `scale` is the softmax's.
    """

    position: Tensor
    key_features: Tensor
    pieces: int
    scale: float

    def of_blocks(self, slopes: Tensor) -> Sequence[Tensor]:
        """The queries' channels of each block, (length, features), with a gradient to `slopes` (blocks)."""
        dtype = self.key_features.dtype
        steep = slopes.to(self.position.dtype)[:, None] / self.scale
        row = (-steep * self.position).to(dtype)
        # In bfloat16 the keys have [high, low, high, low, 1].
        parts = [steep.to(dtype)] if dtype != torch.bfloat16 else [part for part in two_parts(steep) for _ in range(2)]
        features = torch.stack([*(part.expand_as(row) for part in parts), row], dim=-1)
        return F.pad(features, (0, self.key_features.shape[1] - features.shape[-1])).unbind()

    def attend(self, query: Tensor, key: Tensor, value: Tensor, own: Tensor) -> Tensor:
        """See `Positions`. Values wider than a kernel takes are cut up; their pieces share queries and keys."""
        batch, heads, length, _ = query.shape
        shape = (batch, heads, length, -1)
        query = torch.cat([query, own.expand(shape)], dim=-1)
        key = torch.cat([key, self.key_features.expand(shape)], dim=-1)
        parts = value.view(batch, heads, length, self.pieces, -1).transpose(2, 3).flatten(1, 2)
        attended = F.scaled_dot_product_attention(
            shared(query, self.pieces),
            shared(key, self.pieces),
            padded(parts, query.shape[-1]),
            is_causal=True,
            scale=self.scale,
        )[..., : parts.shape[-1]]
        return attended.view(batch, heads, self.pieces, length, -1).transpose(2, 3).flatten(3)


@lru_cache(maxsize=16)
def position_features(
    length: int,
    max_length: int,
    *,
    score_channels: int,
    value_channels: int,
    released: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> PositionFeatures:
    """The features of sequences of `length` tokens, for heads with so many channels in queries and keys, and in values.

    `released` positions are rounded to bfloat16, as hlb-gpt's.

    hlb-gpt rounds the distances once more, those above 256: no product of features can. A key so far away has a weight
    below e**-300 at the slope that a run starts with.
    """
    wide = torch.float64 if dtype == torch.float64 else torch.float32
    position = rounded_positions(length, max_length, released=released, device=device).to(wide)
    position = position - position[length // 2]
    parts = [position.to(dtype)] if dtype != torch.bfloat16 else [*two_parts(position), *two_parts(position)]
    features = torch.stack([*parts, torch.ones_like(position, dtype=dtype)], dim=-1)
    pieces, width = cut(score_channels + features.shape[1], value_channels)
    return PositionFeatures(
        position=position,
        key_features=F.pad(features, (0, width - score_channels - features.shape[1])),
        pieces=pieces,
        scale=score_channels**-0.5,
    )


def two_parts(exact: Tensor) -> tuple[Tensor, Tensor]:
    """`exact` (float32) as a sum of two numbers of bfloat16. Its gradient is the high part's.

    The high part is its first 16 bits, taken as such: a compiler holds a number that is rounded and widened again for
    the number itself, and the low part for zero.
    """
    fixed = exact.detach()
    first_bits = (fixed.view(torch.int32) & -(2**16)).view(torch.float32)
    high = first_bits + (exact - fixed)
    return high.to(torch.bfloat16), (fixed - first_bits).to(torch.bfloat16)


def cut(score_channels: int, value_channels: int) -> tuple[int, int]:
    """How many pieces a value is cut into, and the channels that queries, keys and pieces are padded to."""
    score_width = rounded_up(score_channels)
    widest = max(score_width, min(VALUE_PIECE, rounded_up(value_channels)))
    pieces = next(
        count
        for count in range(1, value_channels + 1)
        if not value_channels % count and value_channels // count <= widest
    )
    return pieces, max(score_width, rounded_up(value_channels // pieces))


def rounded_up(channels: int) -> int:
    """The next multiple of CHANNEL_MULTIPLE."""
    return -(-channels // CHANNEL_MULTIPLE) * CHANNEL_MULTIPLE


def shared(states: Tensor, pieces: int) -> Tensor:
    """(batch, heads, length, channels) to (batch, heads * pieces, ...), every head standing for its pieces.

    Copied, in the order length, heads, channels: of a tensor whose heads share their memory, torch's compiler expects
    an attention laid out otherwise than the kernel gives it.
    """
    if pieces == 1:
        return states
    batch, heads, length, channels = states.shape
    repeated = states.transpose(1, 2)[:, :, :, None].expand(batch, length, heads, pieces, channels)
    return repeated.contiguous().flatten(2, 3).transpose(1, 2)


def padded(values: Tensor, channels: int) -> Tensor:
    """`values` (..., own channels) with so many channels, in rows that begin where the kernels can load from."""
    if values.shape[-1] < channels:
        return F.pad(values, (0, channels - values.shape[-1]))
    # A row of an odd length, of which the values are a part: flash attention does not look, and would fail.
    begin_well = all(stride % CHANNEL_MULTIPLE == 0 for stride in values.stride()[:-1])
    return values if begin_well else values.contiguous()
