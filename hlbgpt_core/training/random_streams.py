"""Separate streams of random numbers, all derived from the run's seed.

Every draw is named by what it is for, not by how many draws came before: the k-th microbatch of a seed is
the same whether the run was resumed, re-ordered or asked for it twice. So there is no generator to save.
"""

from enum import IntEnum

import numpy as np


class Stream(IntEnum):
    """What random numbers are drawn for. A value never changes its meaning: it is part of every seed."""

    TRAINING_BATCH = 1
    EVALUATION = 2
    INITIALISATION = 3
    DITHER = 4


def stream(seed: int, purpose: Stream, *index: int) -> np.random.Generator:
    """The generator of `purpose` and `index` (such as a microbatch's number) under `seed`, at its start."""
    # SeedSequence takes no negative numbers; seeds may be negative, so their sign is a word of its own.
    sequence = np.random.SeedSequence([abs(seed), int(seed < 0), int(purpose), *index])
    return np.random.Generator(np.random.Philox(sequence))


class SeededNormals:
    """Standard normal values for a model's first parameters, the same on every device."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __call__(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Values of the parameter `name`. Each parameter has its own stream, so a new one changes no other."""
        return stream(self._seed, Stream.INITIALISATION, *name.encode()).standard_normal(shape, dtype=np.float32)


class SeededDither:
    """Draws that round the real-valued number of microbatches up or down."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def __call__(self, step: int, probability: float) -> bool:
        """True with `probability`; the draw after optimizer step `step`, from 0."""
        return bool(stream(self._seed, Stream.DITHER, step).random() < probability)
