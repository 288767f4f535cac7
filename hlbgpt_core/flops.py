"""Floating-point operations of training, and how much of a GPU's peak they use. Only the standard library is imported.

Forward and backward take 6 operations for each token and each weight of a matrix product, and in a block's attention
6 (query-key width + value width) for each token and each token of its sequence: Chowdhery et al., "PaLM", 2022
(arXiv 2204.02311), appendix B, where both widths are W. As there, a token counts with its whole sequence although
attention is causal; nothing computed twice counts. The look-up of embeddings, norms and the optimizer count nothing.
hlb-gpt 0.3.0 logged `a100_mfu` by that formula, with the embedding's parameters in it also where they only are looked
up.
"""

import math
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from hlbgpt_core.scale import sizes
from hlbgpt_core.settings import Settings

# Operations a second in dense bfloat16 with float32 sums, by words of the device's name; the first that matches.
# From NVIDIA's data sheets of these products, whose figures "with sparsity" are halved; GeForce from the appendices of
# the white papers "NVIDIA Ampere GA102 GPU architecture" and "NVIDIA Ada GPU architecture".
BFLOAT16_PEAKS: Mapping[str, float] = MappingProxyType(
    {
        "A100": 312e12,
        "H100 NVL": 835e12,
        "H100 PCIe": 756e12,
        "H100": 989e12,
        "H200 NVL": 835e12,
        "H200": 989e12,
        "B200": 2250e12,
        "L40S": 362e12,
        "L4": 121e12,
        "A10": 125e12,
        "RTX 4090": 165.2e12,
        "RTX 3090": 71e12,
    }
)
# What makes a device of those names a smaller one.
_PART_OR_SMALLER = re.compile(r"\b(MIG|Laptop|4090 D)\b")


def flops_per_token(settings: Settings, length: int) -> int:
    """Operations of training on one token in a sequence of `length` tokens."""
    found = sizes(settings)
    width, depth = found.width, found.depth
    is_classic = settings.recipe == "0.3.0"
    not_products = depth * (2 * width + 1 if is_classic else width + 1) + width  # norms and position scalars
    products = found.num_non_embedding_params - not_products + found.vocab_size * width
    query_key = width if is_classic else width // settings.qk_dim_div
    return 6 * products + 6 * depth * (query_key + width) * length


def sequence_length(settings: Settings, step: int) -> int:
    """The length of the sequences in optimizer step number `step` (from 1): see Recipe.grown_length."""
    doublings = max(step - 2, 0) // settings.sequence_growth_steps
    return min(settings.initial_sequence_length << min(doublings, 64), settings.max_sequence_length)


@dataclass(kw_only=True)
class TrainingFlops:
    """Adds up a run's operations over its points.

    Where the length changes between two points, the tokens between them are spread evenly over the steps.
    """

    settings: Settings
    step: int = 0
    tokens: float = 0.0
    flops: float = 0.0
    _per_token: dict[int, int] = field(default_factory=dict)

    def at(self, step: int, tokens: float | None) -> float | None:
        """Operations up to a point at `step` with so many `tokens` seen; steps rise from call to call."""
        if tokens is None or not math.isfinite(tokens):
            return None
        if step > self.step:
            per_step = (tokens - self.tokens) / (step - self.step)
            while self.step < step:
                end = min(self._last_of_length(self.step + 1), step)
                self.flops += per_step * (end - self.step) * self._in_step(end)
                self.step = end
            self.tokens = tokens
        return self.flops

    def _in_step(self, step: int) -> int:
        """Operations a token in that step."""
        length = sequence_length(self.settings, step)
        if length not in self._per_token:
            self._per_token[length] = flops_per_token(self.settings, length)
        return self._per_token[length]

    def _last_of_length(self, step: int) -> int:
        """The last step with the length of `step`."""
        every = self.settings.sequence_growth_steps
        if sequence_length(self.settings, step) >= self.settings.max_sequence_length:
            return sys.maxsize
        return (max(step - 2, 0) // every + 1) * every + 1


def model_flops_utilisation(
    settings: Settings, *, step: int, tokens_per_second: float, device_name: str, precision: str
) -> float | None:
    """The share of the device's peak that training uses, from 0 to 1 (Chowdhery et al.); None if its peak is not known.

    `step` is the number of completed steps, `precision` the resolved one: peaks are known of bfloat16 alone.
    """
    peak = next((peak for name, peak in BFLOAT16_PEAKS.items() if re.search(rf"\b{name}\b", device_name)), None)
    if peak is None or _PART_OR_SMALLER.search(device_name) or precision != "bfloat16" or not tokens_per_second:
        return None
    return tokens_per_second * flops_per_token(settings, sequence_length(settings, step + 1)) / peak
