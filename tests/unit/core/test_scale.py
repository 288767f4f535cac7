"""Sizes from settings alone."""

import math

import pytest

from hlbgpt_core import scale
from hlbgpt_core.errors import SettingsError
from hlbgpt_core.settings import Settings


def settings(**values: object) -> Settings:
    return Settings.from_dict(values)


def test_the_defaults_are_the_published_model() -> None:
    sizes = scale.sizes(settings())
    assert (sizes.depth, sizes.width, sizes.vocab_size, sizes.num_params) == (8, 384, 50_304, 46_009_736)
    assert sizes.model_scale == 1.0
    assert sizes.microbatch_tokens == math.floor(114_688 / (1.52174 + 0.482)) == 57_236


def test_depth_and_width_follow_the_scale() -> None:
    assert scale.depth_and_width(settings(model_scale=3.0)) == (16, 768)
    assert scale.depth_and_width(settings(model_scale=0.5)) == (5, 256)
    assert scale.depth_and_width(settings(depth=3, width=100)) == (3, 128)


def test_the_true_scale_is_what_is_resolved_and_resolving_again_changes_nothing() -> None:
    once = scale.resolve(settings(model_scale=0.3, tokenizer="bytes"))
    assert once.model_scale == scale.sizes(once).num_params / 46_009_736
    assert scale.resolve(once) == once


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"depth": 4}, "set both or neither"),
        ({"depth": 4, "width": 16}, "rounds to 0"),
        ({"model_scale": 1e-3}, "too small"),
        ({"depth": 2, "width": 128, "num_heads": 3}, "does not divide width"),
        ({"depth": 2, "width": 192, "num_heads": 16}, "query-key"),
        ({"initial_sequence_length": 2048}, "initial_sequence_length"),
        ({"num_eval_tokens": 100}, "num_eval_tokens"),
        ({"gpu_capacity_scalar": 0.01}, "no more than one sequence"),
    ],
)
def test_what_cannot_be_trained_is_refused(values: dict[str, object], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        scale.check(settings(**values))


def test_the_capacity_named_in_the_error_is_enough() -> None:
    small = settings(gpu_capacity_scalar=0.01)
    enough = scale.capacity_that_fits(scale.sizes(small), small)
    scale.check(settings(gpu_capacity_scalar=enough))


def test_vocabularies_are_padded() -> None:
    assert scale.vocabulary_size("gpt2") == 50_304
    assert scale.vocabulary_size("bytes") == 320
    assert scale.vocabulary_size("bpe:8192") == 8192
    with pytest.raises(SettingsError, match="not known"):
        scale.vocabulary_size("gpt5")
