"""Which tokens a microbatch and an evaluation see."""

from collections.abc import Iterator
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlbgpt_core.evaluation import EVALUATION_SEED
from hlbgpt_core.fast_path.device_transfer import on_device
from hlbgpt_core.recipes.protocol import BatchShape
from hlbgpt_core.text.sources import too_short
from hlbgpt_core.training.random_streams import Stream, stream


class Batches(Protocol):
    """Where the trainer's tokens come from: int64 (sequences, length + 1), arrays or tensors of the device."""

    def training(self, microbatch: int, shape: BatchShape) -> NDArray[np.int64] | Tensor:
        """The tokens of microbatch number `microbatch` of the run, from 0. Asked again, the same."""

    def validation(self) -> Iterator[NDArray[np.int64] | Tensor]:
        """The batches of an evaluation: the same at every call."""

    def test(self) -> Iterator[NDArray[np.int64] | Tensor]:
        """The batches of the evaluation on the test text; none without one."""


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
        evaluation_length: int = 0,
        test: NDArray[np.unsignedinteger] | Tensor | None = None,
        test_tokens: int = 0,
    ) -> None:
        """The texts are one-dimensional, and may be memory-mapped, or tensors in the device's memory.

        Sequences of evaluations have `evaluation_length` tokens, 0: `max_length`. Raises DataError where a text is too
        short for one of its sequences and the token after it.
        """
        length = evaluation_length or max_length
        if len(train) < max_length + 1:
            raise too_short("training", len(train), max_length)
        for what, tokens in (("validation", val), ("test", test)):
            if tokens is not None and len(tokens) < length + 1:
                raise too_short(what, len(tokens), length, evaluation_only=bool(evaluation_length))
        # A plain view: indexing a memmap object makes a memmap object each time, which costs more than the read.
        self._train, self._val = (one if isinstance(one, Tensor) else np.asarray(one) for one in (train, val))
        self._test = test if test is None or isinstance(test, Tensor) else np.asarray(test)
        self._seed = seed
        self._length = length
        self._batch_size = evaluation_batch_size
        self._val_sequences, self._test_sequences = num_eval_tokens // length, test_tokens // length

    def training(self, microbatch: int, shape: BatchShape) -> NDArray[np.int64] | Tensor:
        """Tokens (batch, length + 1) of microbatch number `microbatch`, drawn from the seed and that number."""
        starts = stream(self._seed, Stream.TRAINING_BATCH, microbatch).integers(
            0, len(self._train) - shape.sequence_length, size=shape.batch_size
        )
        return taken_at(self._train, starts, shape.sequence_length)

    def validation(self) -> Iterator[NDArray[np.int64] | Tensor]:
        """num_eval_tokens // length sequences, cut into batches; the last may be smaller."""
        return self._evaluation(self._val, self._val_sequences)

    def test(self) -> Iterator[NDArray[np.int64] | Tensor]:
        """test_tokens // length sequences of the test text, likewise."""
        return iter(()) if self._test is None else self._evaluation(self._test, self._test_sequences)

    def _evaluation(
        self, tokens: NDArray[np.unsignedinteger] | Tensor, sequences: int
    ) -> Iterator[NDArray[np.int64] | Tensor]:
        # A seed of its own: every run that reads the same text at the same length reads the same sequences.
        starts = stream(EVALUATION_SEED, Stream.EVALUATION).integers(0, len(tokens) - self._length, size=sequences)
        for first in range(0, len(starts), self._batch_size):
            yield taken_at(tokens, starts[first : first + self._batch_size], self._length)


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
