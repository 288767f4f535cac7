"""What is decided of a run before its first step, and the parts that follow from it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlbgpt_core import scale
from hlbgpt_core.device import device_facts, dtype_of, provenance
from hlbgpt_core.evaluation import FIRST_HALF, WHOLE_TEXT, fingerprint_of, second_half_fingerprint
from hlbgpt_core.fast_path.compile_mode import CompileMode
from hlbgpt_core.fast_path.compiling import BlockCompiler
from hlbgpt_core.fast_path.process_cache import ProcessCache
from hlbgpt_core.metrics import Moment
from hlbgpt_core.points import Facts, Reporter, Split
from hlbgpt_core.recipes import get_recipe
from hlbgpt_core.recipes.protocol import Recipe
from hlbgpt_core.settings import Settings
from hlbgpt_core.text.data import TokenData
from hlbgpt_core.training.batches import RandomBatches
from hlbgpt_core.training.checkpoint import Checkpointing
from hlbgpt_core.training.random_streams import SeededDither, SeededNormals
from hlbgpt_core.training.training_run import TrainingRun
from hlbgpt_core.training.training_step import Trainer

Tokens = NDArray[np.unsignedinteger] | Tensor
# Two ways to the same learning: what the recipes say as they say it, or rearranged for a GPU.
PLAIN_PATH, FAST_PATH = "plain", "fast"


@dataclass(frozen=True, kw_only=True)
class Preparation:
    """All that is decided of a run before its first step. Settings are resolved; `path` is "fast" or "plain"."""

    settings: Settings
    sizes: scale.Sizes
    data: TokenData
    seed: int
    device: torch.device
    precision: str
    path: str
    deterministic: bool
    compile_mode: CompileMode
    warm: ProcessCache | None

    def run(
        self,
        reporter: Reporter,
        checkpointing: Checkpointing | None,
        metrics: Callable[[Moment], Mapping[str, float]],
    ) -> TrainingRun:
        """A run at step 0."""
        trainer, compiler = self._trainer(), self._compiler()
        if compiler is not None:
            trainer.model.run_block = compiler
        return TrainingRun(
            trainer,
            compiler=compiler,
            reporter=reporter,
            train_tokens=len(self.data.train),
            tokens_per_byte=tokens_per_byte(self.data),
            checkpointing=checkpointing,
            identity={
                "settings": self.settings.to_dict(),
                "seed": self.seed,
                "data_fingerprint": self.data.fingerprint,
                "precision": self.precision,
            },
            metrics=metrics,
        )

    def facts(self) -> Facts:
        """What is now known of the run and stays fixed for its life."""
        known: dict[str, Any] = {**provenance(self.device), "data_fingerprint": self.data.fingerprint}
        return Facts(
            data_fingerprint=self.data.fingerprint,
            train_tokens=len(self.data.train),
            val_tokens=len(self.data.val),
            val_bytes=self.data.val_bytes,
            device=str(self.device),
            device_name=device_facts(self.device).name,
            precision=self.precision,
            path=self.path,
            threads=torch.get_num_threads(),
            deterministic=self.deterministic,
            **evaluation_facts(self.settings, self.data),
            provenance=known,
        )

    def _trainer(self) -> Trainer:
        is_fast = self.path == FAST_PATH
        recipe = get_recipe(self.settings.recipe)(
            self.settings, vocab_size=self.sizes.vocab_size, tokens_per_microbatch=self.sizes.microbatch_tokens
        )
        recipe.model.fast = is_fast
        return Trainer(
            recipe,
            batches=self._batches(evaluation_sequences(recipe, fast=is_fast)),
            dither=SeededDither(self.seed),
            normals=SeededNormals(self.seed),
            device=self.device,
            dtype=dtype_of(self.precision),
        )

    def _batches(self, evaluation_batch_size: int) -> RandomBatches:
        warm = self.warm if self.path == FAST_PATH and self.device.type == "cuda" else None
        resident = warm.tokens(self.data, self.device) if warm is not None else None
        train_tokens, val_tokens = resident or (self.data.train, self.data.val)
        val_tokens, test_tokens = evaluated_texts(self.data, val_tokens, with_test=self.settings.test_tokens > 0)
        return RandomBatches(
            train_tokens,
            val_tokens,
            seed=self.seed,
            max_length=self.settings.max_sequence_length,
            num_eval_tokens=self.settings.num_eval_tokens,
            evaluation_batch_size=evaluation_batch_size,
            evaluation_length=self.settings.eval_sequence_length,
            test=test_tokens,
            test_tokens=self.settings.test_tokens,
        )

    def _compiler(self) -> BlockCompiler | None:
        if self.warm is None or self.path != FAST_PATH or self.deterministic:
            return None
        # Without being asked, only GPUs compile: a CPU takes longer over it than a run.
        auto_on_cpu = self.compile_mode is CompileMode.AUTO and self.device.type == "cpu"
        return BlockCompiler(
            self.warm.compiled_code,
            mode=CompileMode.NEVER if auto_on_cpu else self.compile_mode,
            settings=self.settings,
            dtype=dtype_of(self.precision),
            device=self.device,
        )


def evaluation_sequences(recipe: Recipe, *, fast: bool) -> int:
    """Sequences an evaluation batch: the recipe's; on the fast path those of a microbatch, if they are more.

    A GPU would spend small batches waiting for kernels to be launched. The mean over all tokens is the same. Not so in
    float8, whose scale is that of a batch: there both paths take the recipe's.
    """
    own = recipe.evaluation_batch_size()
    if not fast or recipe.model.float8_output is not None:
        return own
    return max(own, recipe.tokens_per_microbatch // recipe.settings.evaluation_length)


def evaluated_texts(data: TokenData, val: Tokens, *, with_test: bool) -> tuple[Tokens, Tokens | None]:
    """What validation and the test read of `data`, whose validation tokens are `val` (on the host or on the device).

    Without a test split of its own, a test takes the second half of the validation text, and validation the first.
    """
    if not with_test:
        return val, None
    if data.test is not None:
        return val, data.test
    return val[: len(val) // 2], val[len(val) // 2 :]


def tokens_per_byte(data: TokenData) -> dict[Split, float]:
    """Tokens a byte of the texts that are evaluated; of halves of the validation text, those of the whole."""
    val = len(data.val) / max(data.val_bytes, 1)
    return {Split.VAL: val, Split.TEST: val if data.test is None else len(data.test) / max(data.test_bytes, 1)}


def evaluation_facts(settings: Settings, data: TokenData) -> dict[str, str]:
    """The fingerprints of what evaluations read."""
    values = settings.to_dict()
    halved = settings.test_tokens > 0 and data.test is None
    part = FIRST_HALF if halved else WHOLE_TEXT
    found = {"evaluation_fingerprint": fingerprint_of(Split.VAL, values, text=data.fingerprint, part=part)}
    if settings.test_tokens:
        text = data.test_fingerprint or second_half_fingerprint(data.fingerprint)
        found["test_fingerprint"] = text
        found["test_evaluation_fingerprint"] = fingerprint_of(Split.TEST, values, text=text)
    return found
