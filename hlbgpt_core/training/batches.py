"""Which tokens a microbatch and an evaluation see."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlbgpt_core.fast_path.device_transfer import on_device
from hlbgpt_core.recipes.protocol import BatchShape
from hlbgpt_core.text.sources import too_short
from hlbgpt_core.training.random_streams import Stream, stream

# Of the evaluation alone: every run with the same text and maximum length is measured on the same sequences.
EVALUATION_SEED = 20_240_304


class Batches(Protocol):
    """Where the trainer's tokens come from: int64 (sequences, length + 1), arrays or tensors of the device."""

    def training(self, microbatch: int, shape: BatchShape) -> NDArray[np.int64] | Tensor:
        """The tokens of microbatch number `microbatch` of the run, from 0. Asked again, the same."""

    def validation(self) -> Iterator[NDArray[np.int64] | Tensor]:
        """The batches of an evaluation: the same at every call."""


class RandomBatches:
    """Sequences that start anywhere in the text, with equal chance."""

    def __init__(
        self,
        train: NDArray[np.unsignedinteger] | Tensor,
        val: NDArray[np.unsignedinteger] | Tensor,
        *,
        seed: int,
        max_length: int,
        num_eval_tokens: int,
        evaluation_batch_size: int,
    ) -> None:
        """`train` and `val` are one-dimensional, and may be memory-mapped, or tensors in the device's memory.

        Raises DataError where either is too short for a sequence of `max_length` and the token after it.
        """
        for what, tokens in (("training", train), ("validation", val)):
            if len(tokens) < max_length + 1:
                raise too_short(what, len(tokens), max_length)
        # A plain view: indexing a memmap object makes a memmap object each time, which costs more than the read.
        self._train, self._val = (one if isinstance(one, Tensor) else np.asarray(one) for one in (train, val))
        self._seed = seed
        self._length = max_length
        self._batch_size = evaluation_batch_size
        self._val_starts = stream(EVALUATION_SEED, Stream.EVALUATION).integers(
            0, len(val) - max_length, size=num_eval_tokens // max_length
        )

    def training(self, microbatch: int, shape: BatchShape) -> NDArray[np.int64] | Tensor:
        """Tokens (batch, length + 1) of microbatch number `microbatch`, drawn from the seed and that number."""
        starts = stream(self._seed, Stream.TRAINING_BATCH, microbatch).integers(
            0, len(self._train) - shape.sequence_length, size=shape.batch_size
        )
        return taken_at(self._train, starts, shape.sequence_length)

    def validation(self) -> Iterator[NDArray[np.int64] | Tensor]:
        """num_eval_tokens // max_length sequences, cut into batches; the last may be smaller."""
        for first in range(0, len(self._val_starts), self._batch_size):
            yield taken_at(self._val, self._val_starts[first : first + self._batch_size], self._length)


def sequences_at(tokens: NDArray[np.integer], starts: NDArray[np.integer], length: int) -> NDArray[np.int64]:
    """`length` tokens and the one after them, from each start: (starts, length + 1)."""
    found: NDArray[np.int64] = tokens[starts[:, None] + np.arange(length + 1)].astype(np.int64)
    return found


def taken_at(
    tokens: NDArray[np.integer] | Tensor, starts: NDArray[np.integer], length: int
) -> NDArray[np.int64] | Tensor:
    """`sequences_at` for arrays; for a tensor the same on its device, to which only the starts travel."""
    if not isinstance(tokens, Tensor):
        return sequences_at(tokens, starts, length)
    first = on_device(starts.astype(np.int64), tokens.device)
    return tokens[first[:, None] + torch.arange(length + 1, device=tokens.device)].long()
