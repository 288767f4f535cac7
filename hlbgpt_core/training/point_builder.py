"""Points of a run at the moment: what is recorded after a step or an evaluation."""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

import torch

from hlbgpt_core.errors import HlbqError
from hlbgpt_core.metrics import Moment
from hlbgpt_core.points import Point, Split
from hlbgpt_core.training.training_step import Evaluation, StepRecord, Trainer

# Metrics of one's own would stand under the same names in tables: with the split before them, or without it.
_TAKEN = frozenset(field.name for field in fields(Point)) | {
    *("run_id", "tokens", "bytes"),
    *("code", "git_commit", "recorded_at"),  # of --layout points
}


class PointMaker:
    """Makes a run's points from its trainer's counters."""

    def __init__(
        self,
        trainer: Trainer,
        *,
        train_tokens: int,
        tokens_per_byte: Mapping[Split, float],
        metrics: Callable[[Moment], Mapping[str, float]],
        compile_seconds: Callable[[], float] | None,
    ) -> None:
        """`tokens_per_byte` of the texts that are evaluated; `metrics` are the user's own; `compile_seconds` so far,
        where blocks may be compiled."""
        self._trainer = trainer
        self._train_tokens = train_tokens
        self._tokens_per_byte = tokens_per_byte
        self._metrics = metrics
        self._compile_seconds = compile_seconds

    def train(self, record: StepRecord) -> Point:
        """The point of a step."""
        shape = record.microbatches[-1].shape
        return self._at_this_moment(
            Split.TRAIN,
            record.loss,
            math.nan if record.accuracy is None else record.accuracy,
            batch_size=shape.batch_size,
            seq_length=shape.sequence_length,
            weight_decay=record.weight_decay,
            learning_rates=record.learning_rates,
            grad_norm=record.grad_norm,
            microbatches=len(record.microbatches),
        )

    def evaluated(self, split: Split, evaluation: Evaluation) -> Point:
        """The point of an evaluation."""
        counters = self._trainer.counters
        return self._at_this_moment(
            split,
            evaluation.loss,
            evaluation.accuracy,
            batch_size=counters.used_shape.batch_size,
            seq_length=counters.used_shape.sequence_length,
            weight_decay=counters.used_weight_decay,
            learning_rates=self._trainer.learning_rates(),
            bits_per_byte=evaluation.loss / math.log(2) * self._tokens_per_byte[split],
        )

    def _at_this_moment(
        self, split: Split, loss: float, acc: float, *, learning_rates: Mapping[str, float], **more: Any
    ) -> Point:
        """A point of this moment, with every group's learning rate and the user's metrics beside it.

        The one of the test split stands beside a validation point, which has the rates already.
        """
        counters = self._trainer.counters
        moment = Moment(
            split=split,
            step=counters.step,
            loss=loss,
            model=self._trainer.model,
            settings=self._trainer.recipe.settings,
        )
        with torch.no_grad():
            users = {name: float(value) for name, value in self._metrics(moment).items()}
        rates = {f"lr_{group}": rate for group, rate in learning_rates.items()}
        compiling = {} if self._compile_seconds is None else {"compile_seconds": self._compile_seconds()}
        beside = {} if split is Split.TEST else {**rates, **compiling}
        for name in users:
            if name in _TAKEN or name in rates or name in compiling:
                raise HlbqError(
                    f"extra_metrics returns '{name}', and tables have a column of that name already",
                    "Call it something else, in hlbgpt_core/metrics.py.",
                )
        return Point(
            split=split,
            step=counters.step,
            loss=loss,
            acc=acc,
            pplx=perplexity(loss),
            cumulative_time=counters.training_seconds,
            tokens_seen=counters.tokens_seen,
            epoch=counters.tokens_seen / self._train_tokens,
            lr=self._trainer.decay_learning_rate(learning_rates),
            extra={**beside, **users},
            **more,
        )


def perplexity(loss: float) -> float:
    """e**loss, infinite where that is too large to write."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf
