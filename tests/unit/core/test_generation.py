"""Sampling: what is drawn is what the model says, within the rules, and the same for the same seed."""

from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch import Tensor

from hlbgpt_core.commands.generation import Sampling, TokenRules, draw, generate
from hlbgpt_core.errors import CheckpointError
from hlbgpt_core.recipes.protocol import LanguageModel

RULES = TokenRules(vocab_size=5, end_of_text=4, max_context=3)


class CountingModel(LanguageModel):
    """The token after t is t + 1, with certainty; the vocabulary is padded with three values that look likelier."""

    def __init__(self, scale: float = 100.0) -> None:
        super().__init__()
        self.table = torch.nn.Parameter(torch.eye(8).roll(1, dims=0) * scale)
        self.table.data[5:] = 1000.0
        self.seen: list[list[int]] = []

    def hidden_states(self, tokens: Tensor) -> Tensor:
        self.seen.append(tokens[0].tolist())
        return torch.nn.functional.one_hot(tokens, 8).float()

    @property
    def output_weight(self) -> Tensor:
        return self.table


def test_it_goes_on_until_the_end_of_text_within_the_context() -> None:
    model = CountingModel()
    assert list(generate(model, [0, 1], Sampling(), RULES)) == [2, 3]
    assert model.seen == [[0, 1], [0, 1, 2], [1, 2, 3]]


def test_it_stops_at_the_length() -> None:
    assert list(generate(CountingModel(), [0], Sampling(length=1), RULES)) == [1]


def test_without_a_prompt_a_document_begins() -> None:
    model = CountingModel()
    list(generate(model, [], Sampling(length=1), RULES))
    assert model.seen == [[4]]


def test_the_same_seed_gives_the_same_tokens() -> None:
    def tokens(seed: int) -> list[int]:
        sampling = Sampling(seed=seed, length=50)
        return list(generate(CountingModel(scale=0.0), [0], sampling, replace(RULES, end_of_text=7)))

    assert tokens(1) == tokens(1)
    assert tokens(1) != tokens(2)
    assert set(tokens(1)) == {0, 1, 2, 3, 4}, "padding values are never drawn"


def test_draws_follow_the_probabilities() -> None:
    logits = torch.tensor([0.5, 0.25, 0.125, 0.125], dtype=torch.float64).log()
    generator = torch.Generator().manual_seed(3)
    counts = Counter(draw(logits, Sampling(), generator) for _ in range(4000))
    assert counts[0] == pytest.approx(2000, abs=150) and counts[3] == pytest.approx(500, abs=100)
    cold = Counter(draw(logits, Sampling(temperature=0.5), generator) for _ in range(4000))
    assert cold[0] / cold[1] == pytest.approx(4, rel=0.25), "half the temperature squares the odds"


logits_lists = st.lists(st.floats(-50, 50, allow_nan=False), min_size=1, max_size=8)


@example(values=[-3.3e-140, 0.0, 0.0, 0.0, 1.0], top_k=4, seed=1)
@given(values=logits_lists, top_k=st.integers(1, 9), seed=st.integers(0, 1000))
def test_top_k_draws_one_of_the_k_likeliest(values: list[float], top_k: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    token = draw(torch.tensor(values, dtype=torch.float64), Sampling(top_k=top_k), generator)
    # Below the largest one as far as float64 tells: numbers that are the same there are equally likely.
    below = [max(values) - value for value in values]
    assert sum(one < below[token] for one in below) < top_k


@given(values=logits_lists, temperature=st.sampled_from([0.0, 1e-300]))
def test_no_temperature_takes_the_likeliest(values: list[float], temperature: float) -> None:
    token = draw(torch.tensor(values, dtype=torch.float64), Sampling(temperature=temperature), torch.Generator())
    # Of numbers that differ by less than the temperature either may be drawn.
    assert max(values) - values[token] <= 100 * temperature


def test_a_model_that_gives_no_numbers_is_refused() -> None:
    with pytest.raises(CheckpointError, match="not finite"):
        draw(torch.tensor([0.0, float("nan")]), Sampling(), torch.Generator())
