"""Sizes: depth and width from a scale, parameter counts without building a model, tokens per microbatch. Only the
standard library is imported here. Formulas: hlb-gpt by Fern (tysam-code), 0.4.1 (2024) and 0.3.0 (2023).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from hlbgpt_core.errors import SettingsError
from hlbgpt_core.settings import NO_LIMIT_STEPS, NO_LIMIT_TOKENS, Settings

# Tokens that one microbatch of the default model holds on a GPU with 40 GB, before the model's size is taken into
# account.
BASE_MICROBATCH_TOKENS = 114_688
BATCH_SIZE_AT_MAX_LENGTH = 64  # of 0.3.0, on the same GPU
END_OF_TEXT_TOKENS = 1

# n_vocab of tiktoken's encodings, so that planning needs neither tiktoken nor its files.
TIKTOKEN_VOCABULARIES: Mapping[str, int] = MappingProxyType(
    {
        "gpt2": 50_257,
        "r50k_base": 50_257,
        "p50k_base": 50_281,
        "p50k_edit": 50_284,
        "cl100k_base": 100_277,
        "o200k_base": 200_019,
        "o200k_harmony": 201_088,
    }
)


@dataclass(frozen=True, kw_only=True)
class RecipeScale:
    """The recipe's default width, depth and number of parameters (at a vocabulary of 50,304)."""

    width: int
    depth: int
    num_params: int


RECIPE_SCALES: Mapping[str, RecipeScale] = MappingProxyType(
    {
        "0.4.1": RecipeScale(width=384, depth=8, num_params=46_009_736),
        "0.3.0": RecipeScale(width=384, depth=6, num_params=30_823_302),
    }
)


@dataclass(frozen=True, kw_only=True)
class Sizes:
    """What follows from settings alone: everything that is logged about a run's size."""

    depth: int
    width: int
    vocab_size: int
    num_params: int
    num_non_embedding_params: int
    model_scale: float
    microbatch_tokens: int


def vocabulary_size(tokenizer: str) -> int:
    """Number of token values of a tokenizer, padded to a multiple of 64 (hlb-gpt pads GPT-2's to 50,304).

    Raises SettingsError for an unknown tokenizer.
    """
    return 64 * math.ceil(unpadded_vocabulary_size(tokenizer) / 64)


def unpadded_vocabulary_size(tokenizer: str) -> int:
    """Number of token values of a tokenizer. Raises SettingsError for an unknown one."""
    if tokenizer == "bytes":
        return 256 + END_OF_TEXT_TOKENS
    if tokenizer.startswith("bpe:"):
        size = tokenizer.removeprefix("bpe:")
        if not size.isdecimal() or not 258 <= int(size) <= 1_000_000:
            raise SettingsError(
                f"tokenizer: '{tokenizer}' has no usable size", "Use bpe:SIZE with 258 to 1000000, such as bpe:8192."
            )
        return int(size)
    if tokenizer not in TIKTOKEN_VOCABULARIES:
        raise SettingsError(
            f"tokenizer: '{tokenizer}' is not known",
            f"Use bytes, bpe:SIZE, or one of: {', '.join(TIKTOKEN_VOCABULARIES)}.",
        )
    return TIKTOKEN_VOCABULARIES[tokenizer]


def depth_and_width(settings: Settings) -> tuple[int, int]:
    """Depth and width that `settings` ask for: explicit, or from model_scale.

    W = 64 round(W0 log2(1+s) / 64), D = round(D0 log2(1+s)). Raises SettingsError if only one of the two is set, or if
    either comes to 0.
    """
    if (settings.depth < 1) != (settings.width < 1):
        raise SettingsError(
            f"depth {settings.depth} and width {settings.width}: set both or neither",
            "Give --depth and --width together, all of them 1 or more, or size the model by --model_scale.",
        )
    if settings.depth >= 1:
        width = 64 * round(settings.width / 64)
        if width < 1:
            raise SettingsError(f"width {settings.width} rounds to 0", "Widths are multiples of 64: use 64 or more.")
        return settings.depth, width
    base = RECIPE_SCALES[settings.recipe]
    factor = math.log2(1 + settings.model_scale)
    depth, width = round(base.depth * factor), 64 * round(base.width * factor / 64)
    if depth < 1 or width < 1:
        raise SettingsError(
            f"model_scale {settings.model_scale:g} is too small: depth {depth}, width {width}",
            "Use a larger --model_scale, or set --depth and --width.",
        )
    return depth, width


def count_params(settings: Settings, *, depth: int, width: int, vocab_size: int) -> tuple[int, int]:
    """The number of all trainable parameters, and of those in the blocks and the last norm."""
    if settings.recipe == "0.3.0":
        attention = 3 * width * width + width * width + width + 1
        mlp = 6 * width * width + 3 * width * width + width
        non_embedding = depth * (attention + mlp) + width
        return vocab_size * width + non_embedding, non_embedding
    query_key, inner = width // settings.qk_dim_div, settings.expand_factor * width
    block = (2 * query_key + 2 * inner) * width + width * inner + width + 1
    non_embedding = depth * block + width
    return 2 * vocab_size * width + non_embedding, non_embedding


def microbatch_tokens(gpu_capacity_scalar: float, model_scale: float) -> int:
    """Tokens per microbatch: C = floor(floor(114688 g) / (1.52174 + 0.482 s^0.87)), s the true scale."""
    share: float = 1.52174 + 0.482 * model_scale**0.87
    return math.floor(math.floor(BASE_MICROBATCH_TOKENS * gpu_capacity_scalar) / share)


def largest_microbatch(settings: Settings) -> int:
    """The most tokens of a microbatch in training: 0.4.1 fills C, 0.3.0 begins with as many short sequences as make up
    those at full length."""
    if settings.recipe != "0.3.0":
        return sizes(settings).microbatch_tokens
    longest, first = settings.max_sequence_length, settings.initial_sequence_length
    return max(sequences_at_max_length(settings.gpu_capacity_scalar) * round(longest / first) * first, longest)


def sequences_at_max_length(gpu_capacity_scalar: float) -> int:
    """Sequences of a batch of 0.3.0 at full length: floor(64 g), at least 1."""
    return max(math.floor(BATCH_SIZE_AT_MAX_LENGTH * gpu_capacity_scalar), 1)


def sizes(settings: Settings) -> Sizes:
    """Everything about size that follows from `settings`. Raises SettingsError as its parts do."""
    depth, width = depth_and_width(settings)
    vocab_size = vocabulary_size(settings.tokenizer)
    num_params, non_embedding = count_params(settings, depth=depth, width=width, vocab_size=vocab_size)
    scale = num_params / RECIPE_SCALES[settings.recipe].num_params
    return Sizes(
        depth=depth,
        width=width,
        vocab_size=vocab_size,
        num_params=num_params,
        num_non_embedding_params=non_embedding,
        model_scale=scale,
        microbatch_tokens=microbatch_tokens(settings.gpu_capacity_scalar, scale),
    )


def resolve(settings: Settings) -> Settings:
    """`settings` with depth, width and model_scale as they are trained; resolving twice changes nothing."""
    found = sizes(settings)
    return replace(settings, depth=found.depth, width=found.width, model_scale=found.model_scale)


def check(settings: Settings) -> Sizes:
    """The sizes of resolved `settings`, after checking that a model of them can be trained.

    Raises SettingsError if heads do not divide what they split, the sequence lengths do not fit each other, or a
    microbatch holds no more than one sequence.
    """
    found = sizes(settings)
    heads, query_key = settings.num_heads, found.width // settings.qk_dim_div
    if found.width % heads:
        raise SettingsError(
            f"num_heads {heads} does not divide width {found.width}", "Use a number of heads that divides the width."
        )
    if settings.recipe == "0.4.1":
        if query_key < 1:
            raise SettingsError(
                f"qk_dim_div {settings.qk_dim_div} leaves no query-key channels at width {found.width}",
                "Use a smaller --qk_dim_div.",
            )
        if query_key % heads:
            raise SettingsError(
                f"num_heads {heads} does not divide the query-key width {query_key} "
                f"(width {found.width} // qk_dim_div {settings.qk_dim_div})",
                "Use a number of heads that divides it, or another --qk_dim_div.",
            )
    if settings.initial_sequence_length > settings.max_sequence_length:
        raise SettingsError(
            f"initial_sequence_length {settings.initial_sequence_length} is above "
            f"max_sequence_length {settings.max_sequence_length}",
            "Start with sequences no longer than the longest.",
        )
    if settings.eval_sequence_length > settings.max_sequence_length:
        raise SettingsError(
            f"eval_sequence_length {settings.eval_sequence_length} is above "
            f"max_sequence_length {settings.max_sequence_length}",
            "Evaluate at no more than the longest sequence that is trained on.",
        )
    evaluation = "eval_sequence_length" if settings.eval_sequence_length else "max_sequence_length"
    length = settings.eval_sequence_length or settings.max_sequence_length
    if settings.num_eval_tokens < length:
        raise SettingsError(
            f"num_eval_tokens {settings.num_eval_tokens} is below {evaluation} {length}",
            "An evaluation needs at least one sequence: raise --num_eval_tokens.",
        )
    if 0 < settings.test_tokens < length:
        raise SettingsError(
            f"test_tokens {settings.test_tokens} is below {evaluation} {length}",
            "An evaluation needs at least one sequence: raise --test_tokens, or use 0 for none.",
        )
    # 0.3.0 sets its batch size itself (64 sequences at full length); only 0.4.1 cuts its batches from C.
    if settings.recipe == "0.4.1" and found.microbatch_tokens <= settings.max_sequence_length:
        raise SettingsError(
            f"a microbatch of {found.microbatch_tokens} tokens holds no more than one sequence of "
            f"{settings.max_sequence_length} (model scale {found.model_scale:.3g}, "
            f"gpu_capacity_scalar {settings.gpu_capacity_scalar:g})",
            f"Raise --gpu_capacity_scalar above {capacity_that_fits(found, settings):.2g}, "
            "or lower --max_sequence_length.",
        )
    return found


def capacity_that_fits(found: Sizes, settings: Settings) -> float:
    """The (approximate) smallest gpu_capacity_scalar at which a microbatch holds more than one longest sequence."""
    per_scalar = microbatch_tokens(1.0, found.model_scale)
    return 1.05 * (settings.max_sequence_length + 1) / max(per_scalar, 1)


def token_limit(settings: Settings, *, train_tokens: int | None = None) -> int | None:
    """The most tokens that a run of `settings` can see; None if its limits do not bound them.

    `train_tokens` is the size of the training data, if known. A step's tokens are bounded only if the number of
    microbatches is.
    """
    limits: list[float] = []
    if settings.max_tokens < NO_LIMIT_TOKENS:
        limits.append(settings.max_tokens)
    if settings.max_steps < NO_LIMIT_STEPS and settings.max_microbatches:
        check(settings)
        limits.append(settings.max_steps * settings.max_microbatches * largest_microbatch(settings))
    if train_tokens is not None:
        limits.append(settings.max_epochs * train_tokens)
    return math.ceil(min(limits)) if limits else None
