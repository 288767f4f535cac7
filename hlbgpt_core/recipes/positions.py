"""Which way attention knows where tokens stand: a dense bias, or features folded into queries and keys."""

import torch

from hlbgpt_core.recipes.attention import Positions, causal_distances
from hlbgpt_core.recipes.folded_attention import position_features


def sequence_positions(
    length: int,
    max_length: int,
    *,
    score_channels: int,
    value_channels: int,
    released: bool,
    fast: bool,
    dtype: torch.dtype,
    device: torch.device,
) -> Positions:
    """The positions of sequences of `length` tokens where `max_length` is the longest; see attention.py.

    A head's queries and keys have `score_channels`, its values `value_channels`.
    """
    if fast:
        return position_features(
            length,
            max_length,
            score_channels=score_channels,
            value_channels=value_channels,
            released=released,
            dtype=dtype,
            device=device,
        )
    return causal_distances(length, max_length, released=released, dtype=dtype, device=device)
