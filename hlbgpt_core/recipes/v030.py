"""The recipe of hlb-gpt 0.3.0: a classic transformer, by Fern (tysam-code), 2023.

W is the width, D the depth, H the heads, V the padded vocabulary.
"""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hlbgpt_core.recipes.attention import Positions, join_heads, split_heads
from hlbgpt_core.recipes.layers import parameters_named, unset_embedding, unset_linear
from hlbgpt_core.recipes.positions import sequence_positions
from hlbgpt_core.recipes.protocol import Accumulation, BatchShape, Dither, LanguageModel, ParameterGroup, Recipe
from hlbgpt_core.scale import BATCH_SIZE_AT_MAX_LENGTH, sequences_at_max_length
from hlbgpt_core.settings import Settings

LAYER_NORM_EPS = 1e-5
MLP_FACTOR = 3
FIRST_GRAD_NORM = 2.0  # what stands for the norm before the first step
GRAD_NORM_FALL = 0.036  # the level falls while the norm falls by more than this a step
ACCUMULATION_RATE = 0.1


class SelfAttention(nn.Module):
    """Multi-head causal attention without biases; the fused input projection's rows are query, key, value."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * width, width))
        self.out_proj = unset_linear(width, width)

    def forward(self, x: Tensor, positions: Positions, own: Tensor) -> Tensor:
        """States (batch, length, W) to states; `own` is the layer's of `positions.of_blocks`."""
        parts = F.linear(x, self.in_proj_weight).chunk(3, dim=-1)
        query, key, value = (split_heads(part, self.heads) for part in parts)
        mixed: Tensor = self.out_proj(join_heads(positions.attend(query, key, value, own)))
        return mixed


class AttentionLayer(nn.Module):
    """attention(norm(x)), with a learned position slope."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(settings.width, eps=LAYER_NORM_EPS, bias=False)
        self.attention = SelfAttention(settings.width, settings.num_heads)
        self.linear_encoding_scaler = nn.Parameter(torch.tensor(0.01, dtype=torch.float32))

    def forward(self, x: Tensor, positions: Positions, own: Tensor) -> Tensor:
        """What is added to the states (batch, length, W)."""
        added: Tensor = self.attention(self.norm(x), positions, own)
        return added


class MlpLayer(nn.Module):
    """project(first * silu(second)) on norm(x), the halves 3W wide."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        width, inner = settings.width, MLP_FACTOR * settings.width
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS, bias=False)
        self.expand = unset_linear(width, 2 * inner)
        self.project = unset_linear(inner, width)

    def forward(self, x: Tensor) -> Tensor:
        """What is added to the states (batch, length, W)."""
        first, second = self.expand(self.norm(x)).chunk(2, dim=-1)
        added: Tensor = self.project(first * F.silu(second))
        return added


class TransformerModel(LanguageModel):
    """Embedding, attention and MLP layers in turn, norm, and an output layer that is the embedding's matrix."""

    def __init__(self, settings: Settings, vocab_size: int) -> None:
        super().__init__()
        self.max_length = settings.max_sequence_length
        self.head_channels = settings.width // settings.num_heads
        self.released_distances = settings.position_distance == "released"
        # The frequency scaling is the look-up's alone, not the output layer's.
        self.embedding = unset_embedding(vocab_size, settings.width)
        self.attn_layers = nn.ModuleList(AttentionLayer(settings) for _ in range(settings.depth))
        self.mlp_layers = nn.ModuleList(MlpLayer(settings) for _ in range(settings.depth))
        self.norm = nn.LayerNorm(settings.width, eps=LAYER_NORM_EPS, bias=False)

    @property
    def output_weight(self) -> Tensor:
        """The embedding's matrix (V, W)."""
        weight: Tensor = self.embedding.weight
        return weight

    def hidden_states(self, tokens: Tensor) -> Tensor:
        """Token values (batch, length) to normed states (batch, length, W)."""
        x: Tensor = self.embedding(tokens)
        positions = sequence_positions(
            tokens.shape[1],
            self.max_length,
            score_channels=self.head_channels,
            value_channels=self.head_channels,
            released=self.released_distances,
            fast=self.fast,
            dtype=x.dtype,
            device=x.device,
        )
        slopes = F.softplus(100 * torch.stack(parameters_named("linear_encoding_scaler", self.attn_layers)))
        layers = zip(self.attn_layers, self.mlp_layers, positions.of_blocks(slopes), strict=True)
        for attention_layer, mlp_layer, own in layers:
            x = x + self.run_block(attention_layer, x, positions, own)
            x = x + self.run_block(mlp_layer, x)
        normed: Tensor = self.norm(x)
        return normed


class Recipe030(Recipe):
    """hlb-gpt 0.3.0."""

    adamw_eps = 1e-9

    def build_model(self, vocab_size: int) -> TransformerModel:
        """The model; norms are 1, position scalars 0.01, everything else is drawn by `initial_std`."""
        return TransformerModel(self.settings, vocab_size)

    def initial_std(self, name: str) -> float | None:
        """0.02 for embedding, in-projection and expand; 0.02/√(2D) for out-projection and project."""
        if name.endswith(("out_proj.weight", "project.weight")):
            return 0.02 / math.sqrt(2 * self.settings.depth)
        return 0.02 if name.endswith(("embedding.weight", "in_proj_weight", "expand.weight")) else None

    def parameter_groups(self) -> list[ParameterGroup]:
        """No decay for embedding, norms and biases; decay for the rest, the position scalars with it."""
        members: dict[str, list[nn.Parameter]] = {"no_decay": [], "decay": []}
        for name, parameter in self.model.named_parameters():
            spared = any(part in name for part in ("embedding", "norm", "bias"))
            members["no_decay" if spared else "decay"].append(parameter)
        return [
            ParameterGroup(
                name=name,
                parameters=parameters,
                learning_rate=self.settings.learning_rate,
                betas=(0.9, 0.95),
                schedule=self._one_cycle,
                decays=name == "decay",
                muon=name == "decay" and self.settings.block_optimizer == "muon",
            )
            for name, parameters in members.items()
        ]

    def _one_cycle(self, step: int) -> float:
        """From 0.01 up to 1 over the warm-up, down to 0.01/0.02 at the end, both linear; then it stays.

        As torch's OneCycleLR(div_factor=100, final_div_factor=0.02, anneal_strategy="linear"). Its peak lies before
        step 0 where the warm-up is shorter than a step. Where the peak is step 0 itself, torch fails and this starts
        at 1.
        """
        start, end = 0.01, 0.01 / 0.02
        last = self.settings.total_train_steps - 1
        peak = min(self.settings.warmup_percent * self.settings.total_train_steps - 1, last)
        if step < peak:
            return start + (1 - start) * step / peak
        if last <= peak:
            return 1.0
        return 1 + (end - 1) * min((step - peak) / (last - peak), 1)

    def next_weight_decay(self, loss: float) -> float:
        """weight_decay / loss²."""
        return self.settings.weight_decay / max(loss, 1e-8) ** 2

    def first_shape(self) -> BatchShape:
        """64 * round(max length / initial length) sequences of the initial length."""
        settings = self.settings
        ratio = round(settings.max_sequence_length / settings.initial_sequence_length)
        return BatchShape(
            batch_size=self.evaluation_batch_size() * ratio, sequence_length=settings.initial_sequence_length
        )

    def next_shape(self, step: int, shape: BatchShape) -> BatchShape:
        """At a doubling the batch size becomes min(old // 2, round(64 * max length / new length)), at least 1."""
        length = self.grown_length(step, shape.sequence_length)
        if length == shape.sequence_length:
            return shape
        even = round(self.evaluation_batch_size() * self.settings.max_sequence_length / length)
        return BatchShape(batch_size=max(min(shape.batch_size // 2, even), 1), sequence_length=length)

    def evaluation_batch_size(self) -> int:
        """64 sequences of the longest, times gpu_capacity_scalar: also what training has at full length."""
        return sequences_at_max_length(self.settings.gpu_capacity_scalar)

    @staticmethod
    def least_capacity(settings: Settings) -> float:
        """Where a microbatch is one sequence of full length."""
        return 1 / BATCH_SIZE_AT_MAX_LENGTH

    def first_accumulation(self) -> Accumulation:
        """One microbatch; the level a starts at 1."""
        return Accumulation(divisor=1, level=1.0, memory={"grad_norm": FIRST_GRAD_NORM})

    def step_is_due(self, state: Accumulation, *, microbatch: int, in_step: int) -> bool:
        """When the run's microbatch number divides by n: the counter is never reset, as released."""
        return microbatch % state.divisor == 0

    def wants_grad_norm(self, step: int) -> bool:
        """Always: the rule follows how the norm changes."""
        return True

    def next_accumulation(
        self, state: Accumulation, *, step: int, grad_norm: float | None, dither: Dither
    ) -> Accumulation:
        """a += n * 0.1 * (0.036 - (g_before - g)), at least 1; then max(1, floor(a) + dither)."""
        before, level = state.memory["grad_norm"], state.level
        now = before
        if grad_norm is not None and math.isfinite(grad_norm):
            now = float(torch.tensor(grad_norm, dtype=torch.float32))
            level += state.divisor * ACCUMULATION_RATE * (GRAD_NORM_FALL - (before - now))
            level = max(level, 1.0)
            # A level far above the cap could not come down again when the gradients do.
            limit = self.settings.max_microbatches
            level = min(level, limit) if limit else level
        whole = math.floor(level)
        divisor = self.capped(whole + dither(step, level - whole))
        return Accumulation(divisor=divisor, level=level, memory={"grad_norm": now})
