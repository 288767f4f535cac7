"""Recipe 0.4.1 as it is usually written: the baseline of the training benchmarks.

Eager blocks, torch's own attention on three-dimensional queries with a dense mask, a float32 copy of the logits, one
norm a parameter, tokens from the host, and a wait for the device at every step. The rules (schedules, accumulation,
lengths) come from hlbgpt_core, and cost nothing here.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from hlbgpt_core import scale
from hlbgpt_core.recipes.protocol import Accumulation, BatchShape, initialise
from hlbgpt_core.recipes.v041 import Recipe041
from hlbgpt_core.settings import Settings
from hlbgpt_core.training.random_streams import SeededDither, SeededNormals

LOG_EVERY = 10
MICROBATCHES = 2  # a step, if their number is fixed
# The demo's model.
DEMO = {
    "tokenizer": "bytes",
    "width": 128,
    "depth": 2,
    "max_sequence_length": 256,
    "gpu_capacity_scalar": 0.02,
    "lr_mult": 0.5,
    "max_microbatches": MICROBATCHES,
    "num_eval_tokens": 16384,
}


class PlainBlock(nn.Module):
    """The recipe's block: dense mask, torch's own attention, one head."""

    distance: torch.Tensor
    above: torch.Tensor

    def __init__(self, width: int, length: int) -> None:
        super().__init__()
        self.query_key, self.inner, self.width = width // 8, 2 * width, width
        self.norm = nn.LayerNorm(width, bias=False)
        self.expand = nn.Parameter(torch.empty(2 * self.query_key + 2 * self.inner, width))
        self.project = nn.Parameter(torch.empty(width, self.inner))
        self.position_bias_mult = nn.Parameter(torch.tensor(1.0))
        position = (torch.arange(length, dtype=torch.float32) - (length - 1)).to(torch.bfloat16)
        self.register_buffer("distance", position[None, :] - position[:, None], persistent=False)
        self.register_buffer("above", torch.ones(length, length, dtype=torch.bool).triu(1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One block on (batch, length, width)."""
        length = x.shape[1]
        expanded = F.linear(self.norm(x), self.expand)
        query, key, linear, gate = expanded.split([self.query_key, self.query_key, self.inner, self.inner], dim=-1)
        geglu = linear * F.gelu(gate)
        local, value = geglu[..., : self.inner - self.width], geglu[..., self.inner - self.width :]
        mask = F.softplus(self.position_bias_mult) * self.distance[:length, :length].to(x.dtype)
        mask = mask.masked_fill(self.above[:length, :length], float("-inf"))
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return x + F.linear(torch.cat([local, attended], dim=-1), self.project)


class PlainModel(nn.Module):
    """Embedding, blocks, norm, outputs; the parameters have the names of hlbgpt_core's model."""

    def __init__(self, vocab: int, width: int, depth: int, length: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, width, scale_grad_by_freq=True)
        self.attn_layers = nn.ModuleList(PlainBlock(width, length) for _ in range(depth))
        self.norm = nn.LayerNorm(width, bias=False)
        self.outputs = nn.Linear(width, vocab, bias=False)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits of tokens (batch, length)."""
        x = self.embedding(tokens)
        for block in self.attn_layers:
            x = block(x)
        return self.outputs(self.norm(x))


class PlainLoop:
    """The recipe's step in a plain loop, with the initial parameters of hlbgpt_core's seed 1.

    `microbatches` fixes how many a step takes; without it the recipe's rule decides.
    """

    def __init__(
        self,
        settings: Settings,
        tokens: np.ndarray,
        *,
        device: torch.device,
        dtype: torch.dtype,
        length: int | None = None,
        microbatches: int | None = None,
    ) -> None:
        found = scale.sizes(settings)
        self.recipe = Recipe041(settings, vocab_size=found.vocab_size, tokens_per_microbatch=found.microbatch_tokens)
        model = PlainModel(found.vocab_size, found.width, found.depth, settings.max_sequence_length).to(dtype)
        self.recipe.model = model  # type: ignore[assignment]  # the rules ask for the parameters' names alone
        initialise(self.recipe, SeededNormals(1))
        self.model, self.device = model.to(device), device
        self.tokens = tokens
        shape = self.recipe.first_shape()
        self.fixed = microbatches
        self.shape = (
            shape
            if length is None
            else BatchShape(batch_size=found.microbatch_tokens // length, sequence_length=length)
        )
        self.accumulation = self.recipe.first_accumulation()
        if microbatches is not None:
            self.accumulation = Accumulation(divisor=microbatches, level=float(microbatches))
        self.groups = self.recipe.parameter_groups()
        self.optimizer = torch.optim.AdamW(
            [{"params": list(group.parameters), "betas": group.betas} for group in self.groups],
            eps=1e-9,
            weight_decay=0.0,
        )
        self.weight_decay = settings.weight_decay
        self.dither = SeededDither(1)
        self.random = np.random.default_rng(1)
        self.number = 0
        self.tokens_seen = 0

    def batch(self) -> torch.Tensor:
        """Tokens (batch, length + 1) from anywhere in the text."""
        starts = self.random.integers(len(self.tokens) - self.shape.sequence_length - 1, size=self.shape.batch_size)
        rows = self.tokens[starts[:, None] + np.arange(self.shape.sequence_length + 1)].astype(np.int64)
        return torch.from_numpy(rows).to(self.device)

    def try_out(self) -> None:
        """A microbatch that changes nothing: a device's set-up at its first use is not training time."""
        batch = self.batch()
        F.cross_entropy(self.model(batch[:, :-1]).flatten(0, 1).float(), batch[:, 1:].flatten()).backward()
        self.optimizer.zero_grad()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def step(self) -> float:
        """One optimizer step; the newest microbatch's loss."""
        divisor = self.accumulation.divisor
        for _ in range(divisor):
            batch = self.batch()
            logits = self.model(batch[:, :-1]).flatten(0, 1).float()
            targets = batch[:, 1:].flatten()
            loss = F.cross_entropy(logits, targets)
            (loss / divisor).backward()
            if self.number % LOG_EVERY == 0:
                (logits.argmax(-1) == targets).float().mean().item()
        grad_norm = None
        if self.number % 5 == 0:
            squares = [one.grad.double().square().sum() for one in self.model.parameters() if one.grad is not None]
            grad_norm = float(torch.stack(squares).sum().sqrt())
        for group, options in zip(self.groups, self.optimizer.param_groups, strict=True):
            options["lr"] = group.learning_rate * group.schedule(self.number)
            options["weight_decay"] = self.weight_decay if group.decays else 0.0
        self.optimizer.step()
        self.optimizer.zero_grad()
        newest = loss.item()
        self._advance(newest, grad_norm, divisor)
        return newest

    def _advance(self, loss: float, grad_norm: float | None, microbatches: int) -> None:
        self.tokens_seen += microbatches * self.shape.tokens
        self.weight_decay = self.recipe.next_weight_decay(loss)
        if self.fixed is None:
            self.accumulation = self.recipe.next_accumulation(
                self.accumulation, step=self.number, grad_norm=grad_norm, dither=self.dither
            )
            self.shape = self.recipe.next_shape(self.number, self.shape)
        self.number += 1
