"""The recipe of hlb-gpt 0.4.1: fused attention and MLP blocks, by Fern (tysam-code), 2024.

W is the width, D the depth, N the number of trainable parameters, C the tokens a microbatch, ln natural.
"""

import math
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from hlbgpt_core import scale
from hlbgpt_core.recipes.attention import Positions, join_heads, split_heads
from hlbgpt_core.recipes.layers import parameters_named, unset_embedding, unset_linear
from hlbgpt_core.recipes.positions import sequence_positions
from hlbgpt_core.recipes.protocol import Accumulation, BatchShape, Dither, LanguageModel, ParameterGroup, Recipe
from hlbgpt_core.settings import Settings

LAYER_NORM_EPS = 1e-5
EVALUATION_BATCH_DIVISOR = 16  # evaluation batches are this much smaller than a microbatch of full length


class LatentAttentionBlock(nn.Module):
    """x + project(concat(local, attention)) on norm(x): attention and MLP share one expansion."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        width = settings.width
        self.heads = settings.num_heads
        self.linear_value = settings.linear_value
        self.query_key_width = width // settings.qk_dim_div
        self.inner_width = settings.expand_factor * width
        self.norm = nn.LayerNorm(width, eps=LAYER_NORM_EPS, bias=False)
        self.expand = nn.Parameter(torch.empty(2 * self.query_key_width + 2 * self.inner_width, width))
        self.project = nn.Parameter(torch.empty(width, self.inner_width))
        self.position_bias_mult = nn.Parameter(torch.tensor(1.0))

    def forward(self, x: Tensor, positions: Positions, own: Tensor) -> Tensor:
        """States (batch, length, W) to states of the same shape; `own` is the block's of `positions.of_blocks`."""
        expanded = F.linear(self.norm(x), self.expand)
        sizes = [self.query_key_width, self.query_key_width, self.inner_width, self.inner_width]
        query, key, linear, gate = torch.split(expanded, sizes, dim=-1)
        local, value = self._local_and_value(linear, gate)

        query, key, value = (split_heads(part, self.heads) for part in (query, key, value))
        attended = join_heads(positions.attend(query, key, value, own))
        return x + F.linear(torch.cat([local, attended], dim=-1), self.project)

    def _local_and_value(self, linear: Tensor, gate: Tensor) -> tuple[Tensor, Tensor]:
        """GeGLU's first E - W channels, and its last W as the attention's value."""
        width = self.project.shape[0]
        local_width = self.inner_width - width
        if self.linear_value:
            local = linear[..., :local_width] * F.gelu(gate[..., :local_width])
            return local, gate[..., local_width:]
        local, value = torch.split(linear * F.gelu(gate), [local_width, width], dim=-1)
        return local, value


class LatentAttentionModel(LanguageModel):
    """Embedding, blocks, norm, output layer (not tied)."""

    def __init__(self, settings: Settings, vocab_size: int) -> None:
        super().__init__()
        self.max_length = settings.max_sequence_length
        self.score_channels = settings.width // settings.qk_dim_div // settings.num_heads
        self.value_channels = settings.width // settings.num_heads
        self.released_distances = settings.position_distance == "released"
        self.embedding = unset_embedding(vocab_size, settings.width)
        self.attn_layers = nn.ModuleList(LatentAttentionBlock(settings) for _ in range(settings.depth))
        self.norm = nn.LayerNorm(settings.width, eps=LAYER_NORM_EPS, bias=False)
        self.outputs = unset_linear(settings.width, vocab_size)

    @property
    def output_weight(self) -> Tensor:
        """The output layer's matrix (V, W)."""
        weight: Tensor = self.outputs.weight
        return weight

    def hidden_states(self, tokens: Tensor) -> Tensor:
        """Token values (batch, length) to normed states (batch, length, W)."""
        x: Tensor = self.embedding(tokens)
        positions = sequence_positions(
            tokens.shape[1],
            self.max_length,
            score_channels=self.score_channels,
            value_channels=self.value_channels,
            released=self.released_distances,
            fast=self.fast,
            dtype=x.dtype,
            device=x.device,
        )
        slopes = F.softplus(torch.stack(parameters_named("position_bias_mult", self.attn_layers)))
        for block, own in zip(self.attn_layers, positions.of_blocks(slopes), strict=True):
            x = self.run_block(block, x, positions, own)
        normed: Tensor = self.norm(x)
        return normed


class Recipe041(Recipe):
    """hlb-gpt 0.4.1."""

    adamw_eps = 1e-9

    def build_model(self, vocab_size: int) -> LatentAttentionModel:
        """The model; norms are 1, position biases 1, everything else is drawn by `initial_std`."""
        return LatentAttentionModel(self.settings, vocab_size)

    def initial_std(self, name: str) -> float | None:
        """Embedding 0.25/√W, outputs 0.5/√W, expand 0.5/√W/expand_factor, project 1/√W/expand_factor/D."""
        root, factor = math.sqrt(self.settings.width), self.settings.expand_factor
        deviations = {
            "embedding.weight": 0.25 / root,
            "outputs.weight": 0.5 / root,
            "expand": 0.5 / root / factor,
            "project": 1 / root / factor / self.settings.depth,
        }
        return next((std for ending, std in deviations.items() if name.endswith(ending)), None)

    def parameter_groups(self) -> list[ParameterGroup]:
        """Four groups by name; lr = lr_mult * 9e7 / ln(N)^8.8 times each group's multiplier."""
        settings = self.settings
        base = settings.lr_mult * 9e7 / math.log(self.num_params) ** 8.8
        members: dict[str, list[nn.Parameter]] = {
            name: [] for name in ("decay", "position_bias", "non_dot_products", "outputs")
        }
        for name, parameter in self.model.named_parameters():
            members[group_of(name)].append(parameter)
        group = partial(ParameterGroup, betas=(0.9, 0.95), schedule=self._warm_up_then_fall)
        return [
            group(
                name="decay",
                parameters=members["decay"],
                learning_rate=base,
                decays=True,
                muon=settings.block_optimizer == "muon",
            ),
            group(
                name="position_bias",
                parameters=members["position_bias"],
                learning_rate=base * settings.lr_mult_position_bias,
                schedule=lambda step: float(0.995**step),
            ),
            group(
                name="non_dot_products",
                parameters=members["non_dot_products"],
                learning_rate=base * settings.lr_mult_non_dot_products,
            ),
            group(
                name="outputs",
                parameters=members["outputs"],
                learning_rate=base * settings.lr_mult_output_layer,
                betas=(0.6, 0.95),
                schedule=lambda step: float((step + 1) ** -0.2),
            ),
        ]

    def _warm_up_then_fall(self, step: int) -> float:
        """0.02 + 0.98 t/w for t < w, then (t - w + 1)^-0.08."""
        warmup = self.settings.warmup_steps
        return 0.02 + 0.98 * step / warmup if step < warmup else float((step - warmup + 1) ** -0.08)

    def next_weight_decay(self, loss: float) -> float:
        """weight_decay / b^(loss + 1e-8), b = 0.007 (0.01 ln N)^-4."""
        base = 0.007 * (0.01 * math.log(self.num_params)) ** -4
        # As an exponential, which goes to 0 where the power of a very large loss would overflow.
        return self.settings.weight_decay * math.exp(-(loss + 1e-8) * math.log(base))

    def first_shape(self) -> BatchShape:
        """C // length sequences of the initial length."""
        return self._shape(self.settings.initial_sequence_length)

    def next_shape(self, step: int, shape: BatchShape) -> BatchShape:
        """The length doubles every sequence_growth_steps; the batch size is C // length."""
        length = self.grown_length(step, shape.sequence_length)
        return shape if length == shape.sequence_length else self._shape(length)

    def _shape(self, length: int) -> BatchShape:
        return BatchShape(batch_size=self.tokens_per_microbatch // length, sequence_length=length)

    def evaluation_batch_size(self) -> int:
        """max(floor(C / evaluation length) // 16, 1)."""
        return max(self.tokens_per_microbatch // self.settings.evaluation_length // EVALUATION_BATCH_DIVISOR, 1)

    @staticmethod
    def least_capacity(settings: Settings) -> float:
        """Where a microbatch still holds more than one sequence of full length."""
        return scale.capacity_that_fits(scale.sizes(settings), settings)

    def first_accumulation(self) -> Accumulation:
        """The first optimizer step takes one microbatch; the level m starts at 0."""
        return Accumulation(divisor=1, level=0.0)

    def step_is_due(self, state: Accumulation, *, microbatch: int, in_step: int) -> bool:
        """After as many microbatches as were drawn."""
        return in_step >= state.divisor

    def wants_grad_norm(self, step: int) -> bool:
        """Every microbatch_sample_every optimizer steps."""
        return step % self.settings.microbatch_sample_every == 0

    def next_accumulation(
        self, state: Accumulation, *, step: int, grad_norm: float | None, dither: Dither
    ) -> Accumulation:
        """m *= 1 + every * scale_lr * (g/√N / target - 1), at least 0.1; then max(1, floor(m) + dither).

        target = (ln(N) N (t + 0.01))^p, p = -0.677 ln(N)^-0.2, g the gradient norm, t the step.
        """
        level = state.level
        if grad_norm is not None and math.isfinite(grad_norm) and self.wants_grad_norm(step):
            log_params = math.log(self.num_params)
            target = (log_params * self.num_params * (step + 0.01)) ** (-0.677 * log_params**-0.2)
            excess = grad_norm / math.sqrt(self.num_params) / target - 1
            settings = self.settings
            level *= 1 + settings.microbatch_sample_every * settings.microbatch_scale_lr * excess
            level = max(level, 0.1)
            # A level far above the cap could not come down again when the gradients do.
            level = min(level, settings.max_microbatches) if settings.max_microbatches else level
        whole = math.floor(level)
        return Accumulation(divisor=self.capped(whole + dither(step, level - whole)), level=level)


def group_of(name: str) -> str:
    """The parameter group of the parameter `name`: the first that matches."""
    if "position_bias_mult" in name:
        return "position_bias"
    if "norm" in name or "embedding" in name:
        return "non_dot_products"
    return "outputs" if "outputs" in name else "decay"
