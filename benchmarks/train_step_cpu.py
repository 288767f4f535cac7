"""Training steps a second on a CPU: our Trainer against a plain eager loop of recipe 0.4.1, the demo's model.

    python -m benchmarks.train_step_cpu [--steps 4] [--rounds 25] [--threads 1]

Both train on the same random tokens, in turns (A B A B ...), and the medians are compared: ratio = plain / ours,
so above 1 ours is the faster. Both take two microbatches a step.
"""

import argparse
import json
import math
import os
import platform
import statistics
import time
from dataclasses import replace

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from hlbgpt_core import scale
from hlbgpt_core.batches import RandomBatches
from hlbgpt_core.random_streams import SeededDither, SeededNormals
from hlbgpt_core.recipes import get_recipe
from hlbgpt_core.recipes.protocol import Accumulation
from hlbgpt_core.settings import Settings
from hlbgpt_core.training_step import Trainer

DEMO = {
    "tokenizer": "bytes",
    "width": 128,
    "depth": 2,
    "max_sequence_length": 256,
    "gpu_capacity_scalar": 0.02,
    "lr_mult": 0.5,
    "max_microbatches": 2,
    "microbatch_scale_lr": 0.0,  # the number of microbatches stays: the same work a step on both sides
    "num_eval_tokens": 16384,
}
MICROBATCHES = 2
LOG_EVERY = 10


class PlainBlock(nn.Module):
    """The recipe's block as it is usually written: dense mask, torch's own attention."""

    def __init__(self, width: int, depth: int, length: int) -> None:
        super().__init__()
        self.query_key, self.inner, self.width = width // 8, 2 * width, width
        self.norm = nn.LayerNorm(width, bias=False)
        self.expand = nn.Parameter(0.5 / width**0.5 / 2 * torch.randn(2 * self.query_key + 2 * self.inner, width))
        self.project = nn.Parameter(1 / width**0.5 / 2 / depth * torch.randn(width, self.inner))
        self.position_bias_mult = nn.Parameter(torch.tensor(1.0))
        position = torch.arange(length, dtype=torch.float32) - (length - 1)
        self.register_buffer("distance", position[None, :] - position[:, None], persistent=False)
        self.register_buffer("above", torch.ones(length, length, dtype=torch.bool).triu(1), persistent=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One block on (batch, length, width)."""
        length = x.shape[1]
        expanded = F.linear(self.norm(x), self.expand)
        query, key, linear, gate = expanded.split([self.query_key, self.query_key, self.inner, self.inner], dim=-1)
        geglu = linear * F.gelu(gate)
        local, value = geglu[..., : self.inner - self.width], geglu[..., self.inner - self.width :]
        mask = F.softplus(self.position_bias_mult) * self.distance[:length, :length]
        mask = mask.masked_fill(self.above[:length, :length], float("-inf"))
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask)
        return x + F.linear(torch.cat([local, attended], dim=-1), self.project)


class PlainModel(nn.Module):
    """Embedding, blocks, norm, outputs."""

    def __init__(self, vocab: int, width: int, depth: int, length: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(vocab, width, scale_grad_by_freq=True)
        self.attn_layers = nn.ModuleList(PlainBlock(width, depth, length) for _ in range(depth))
        self.norm = nn.LayerNorm(width, bias=False)
        self.outputs = nn.Linear(width, vocab, bias=False)
        nn.init.normal_(self.embedding.weight, std=0.25 / width**0.5)
        nn.init.normal_(self.outputs.weight, std=0.5 / width**0.5)

    def forward(self, tokens: torch.Tensor) -> torch.Tensor:
        """Logits of tokens (batch, length)."""
        x = self.embedding(tokens)
        for block in self.attn_layers:
            x = block(x)
        return self.outputs(self.norm(x))


class PlainLoop:
    """The recipe's step in a loop of its own, at one sequence length."""

    def __init__(self, settings: Settings, tokens: np.ndarray, length: int) -> None:
        torch.manual_seed(1)
        found = scale.sizes(settings)
        self.model = PlainModel(found.vocab_size, found.width, found.depth, settings.max_sequence_length)
        self.tokens = torch.from_numpy(tokens.astype(np.int64))
        self.length, self.batch_size = length, found.microbatch_tokens // length
        self.num_params = found.num_params
        base = settings.lr_mult * 9e7 / math.log(self.num_params) ** 8.8
        named = dict(self.model.named_parameters())
        bias = [one for name, one in named.items() if "position_bias" in name]
        free = [one for name, one in named.items() if "norm" in name or "embedding" in name]
        decay = [one for name, one in named.items() if name.endswith(("expand", "project"))]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": decay, "lr": base, "weight_decay": 16.0},
                {"params": bias, "lr": base * 100, "weight_decay": 0.0},
                {"params": free, "lr": base * 32, "weight_decay": 0.0},
                {"params": [self.model.outputs.weight], "lr": base * 2, "weight_decay": 0.0, "betas": (0.6, 0.95)},
            ],
            betas=(0.9, 0.95),
            eps=1e-9,
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimizer,
            [
                lambda t: 0.02 + 0.98 * t / 100 if t < 100 else (t - 99) ** -0.08,
                lambda t: 0.995**t,
                lambda t: 0.02 + 0.98 * t / 100 if t < 100 else (t - 99) ** -0.08,
                lambda t: (t + 1) ** -0.2,
            ],
        )
        self.step_number = 0

    def step(self) -> float:
        """One optimizer step of two microbatches; the newest loss."""
        for _ in range(MICROBATCHES):
            starts = torch.randint(len(self.tokens) - self.length - 1, (self.batch_size,))
            batch = torch.stack([self.tokens[start : start + self.length + 1] for start in starts])
            logits = self.model(batch[:, :-1]).flatten(0, 1).float()
            targets = batch[:, 1:].flatten()
            loss = F.cross_entropy(logits, targets)
            (loss / MICROBATCHES).backward()
            if self.step_number % LOG_EVERY == 0:
                (logits.argmax(-1) == targets).float().mean().item()
        if self.step_number % 5 == 0:
            sum(one.grad.double().square().sum() for one in self.model.parameters()).sqrt().item()
        self.optimizer.step()
        self.optimizer.zero_grad()
        self.schedule.step()
        base = 0.007 * (0.01 * math.log(self.num_params)) ** -4
        self.optimizer.param_groups[0]["weight_decay"] = 16 / base ** (loss.item() + 1e-8)
        self.step_number += 1
        return loss.item()


def our_trainer(settings: Settings, tokens: np.ndarray) -> Trainer:
    """The trainer, with as many microbatches a step as the plain loop."""
    found = scale.sizes(settings)
    recipe = get_recipe("0.4.1")(settings, vocab_size=found.vocab_size, tokens_per_microbatch=found.microbatch_tokens)
    batches = RandomBatches(
        tokens,
        tokens,
        seed=1,
        max_length=settings.max_sequence_length,
        num_eval_tokens=settings.num_eval_tokens,
        evaluation_batch_size=recipe.evaluation_batch_size(),
    )
    trainer = Trainer(
        recipe,
        batches=batches,
        dither=SeededDither(1),
        normals=SeededNormals(1),
        device=torch.device("cpu"),
        dtype=torch.float32,
    )
    settled = Accumulation(divisor=MICROBATCHES, level=float(MICROBATCHES))
    trainer.counters = replace(trainer.counters, accumulation=settled)
    return trainer


def seconds_a_microbatch_ours(trainer: Trainer, steps: int) -> float:
    """Seconds a microbatch of `steps` steps with a point every tenth, as a run has."""
    before, started = trainer.counters.microbatches, time.perf_counter()
    for number in range(steps):
        trainer.train_step(measure=number % LOG_EVERY == 0)
    return (time.perf_counter() - started) / (trainer.counters.microbatches - before)


def seconds_a_microbatch_plain(loop: PlainLoop, steps: int) -> float:
    """The same of the plain loop."""
    started = time.perf_counter()
    for _ in range(steps):
        loop.step()
    return (time.perf_counter() - started) / (steps * MICROBATCHES)


def main() -> None:
    """Measure at three sequence lengths and print a table and its JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tokens = np.random.default_rng(0).integers(0, 257, size=500_000).astype(np.uint16)
    rows = []
    for length in (32, 128, 256):
        settings = Settings.from_dict({**DEMO, "initial_sequence_length": length, "sequence_growth_steps": 10**9})
        trainer, loop = our_trainer(settings, tokens), PlainLoop(settings, tokens, length)
        seconds_a_microbatch_ours(trainer, 5)
        seconds_a_microbatch_plain(loop, 5)
        ours, plain = [], []
        for _ in range(options.rounds):
            ours.append(seconds_a_microbatch_ours(trainer, options.steps))
            plain.append(seconds_a_microbatch_plain(loop, options.steps))
        row = {
            "length": length,
            "ours_ms": 1e3 * statistics.median(ours),
            "plain_ms": 1e3 * statistics.median(plain),
            "ratio": statistics.median(plain) / statistics.median(ours),
        }
        rows.append(row)
        print(
            f"length {length:4}: ours {row['ours_ms']:7.2f} ms a microbatch, plain {row['plain_ms']:7.2f} ms, "
            f"ratio {row['ratio']:.2f}x"
        )
    load = os.getloadavg()[0]
    about = {"torch": str(torch.__version__), "threads": options.threads, "load": load, "machine": platform.platform()}
    print(json.dumps({"rows": rows, **about}))


if __name__ == "__main__":
    main()
