"""Text from a language model, one token after the other. Sampling is seeded: the same call gives the same tokens."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from hlbgpt_core.errors import CheckpointError
from hlbgpt_core.recipes.protocol import LanguageModel


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How the next token is drawn: at most `length` of them, from softmax(logits / temperature).

    A temperature of 0 takes the likeliest token. `top_k` keeps only that many of the likeliest; 0 keeps all.
    """

    length: int = 200
    temperature: float = 1.0
    top_k: int = 0
    seed: int = 0


@dataclass(frozen=True, kw_only=True)
class TokenRules:
    """Which tokens a model may give and take: values below `vocab_size`, at most `max_context` before the next.

    Values from `vocab_size` on only pad the model's tables. `end_of_text` ends the text and is not part of it.
    """

    vocab_size: int
    end_of_text: int
    max_context: int


def generate(model: LanguageModel, prompt: Sequence[int], sampling: Sampling, rules: TokenRules) -> Iterator[int]:
    """The tokens that follow `prompt`, until the end of text or the sampling's length.

    Without a prompt the model begins a document. Raises CheckpointError if the model's output is not finite.
    """
    device = next(model.parameters()).device
    generator = torch.Generator().manual_seed(sampling.seed)  # on the CPU: the draws do not depend on the device
    context = list(prompt) or [rules.end_of_text]
    for _ in range(sampling.length):
        with torch.no_grad():
            tokens = torch.tensor([context[-rules.max_context :]], device=device)
            logits = last_logits(model, tokens)[: rules.vocab_size]
        token = draw(logits, sampling, generator)
        if token == rules.end_of_text:
            return
        yield token
        context.append(token)


def last_logits(model: LanguageModel, tokens: Tensor) -> Tensor:
    """Logits (vocabulary) of the token after `tokens` (1, length), in float64 on the CPU."""
    state = model.hidden_states(tokens)[0, -1]
    return torch.nn.functional.linear(state, model.output_weight).double().cpu()


def draw(logits: Tensor, sampling: Sampling, generator: torch.Generator) -> int:
    """One token from its logits (vocabulary). Raises CheckpointError if they are not numbers."""
    if not bool(torch.isfinite(logits).all()):
        raise CheckpointError("the model's output is not finite", "Was the loss of its run? See: hlbq show RUN")
    if sampling.temperature == 0:
        return int(logits.argmax())
    scaled = (logits - logits.max()) / sampling.temperature
    if 0 < sampling.top_k < len(scaled):
        kept = scaled.topk(sampling.top_k)
        scaled = torch.full_like(scaled, -math.inf).scatter(0, kept.indices, kept.values)
    return int(torch.multinomial(scaled.softmax(dim=0), 1, generator=generator))
