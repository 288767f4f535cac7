"""Train one run: settings, data and a reporter to a result.

`train` puts the parts together; `TrainingRun` is the loop over training_step.py's steps and evaluations, with
points, limits, directives and checkpoints. It knows no database: everything goes through the reporter.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from hlbgpt_core import scale
from hlbgpt_core.device import (
    attention_kernels,
    device_facts,
    dtype_of,
    kept_threads,
    provenance,
    reproducible,
    resolve_device,
    resolve_precision,
)
from hlbgpt_core.errors import CheckpointError, DataError
from hlbgpt_core.evaluation import FIRST_HALF, WHOLE_TEXT, fingerprint_of, second_half_fingerprint
from hlbgpt_core.fast_path.compile_mode import CompileMode
from hlbgpt_core.fast_path.compiling import BlockCompiler
from hlbgpt_core.fast_path.float8 import imitation_warning
from hlbgpt_core.fast_path.memory import is_out_of_memory, out_of_memory
from hlbgpt_core.fast_path.process_cache import ProcessCache
from hlbgpt_core.metrics import Moment, extra_metrics
from hlbgpt_core.points import Facts, Reporter, SavedCheckpoint, Split, TrainingResult
from hlbgpt_core.recipes import get_recipe
from hlbgpt_core.recipes.protocol import Recipe
from hlbgpt_core.settings import Settings
from hlbgpt_core.text.data import TokenData
from hlbgpt_core.training.batches import RandomBatches
from hlbgpt_core.training.checkpoint import Checkpointing, check_identity, read_checkpoint
from hlbgpt_core.training.random_streams import SeededDither, SeededNormals
from hlbgpt_core.training.training_run import TrainingRun
from hlbgpt_core.training.training_step import Trainer

__all__ = ["Checkpointing", "train"]

Tokens = NDArray[np.unsignedinteger] | Tensor
# Two ways to the same learning: what the recipes say as they say it, or rearranged for a GPU.
PLAIN_PATH, FAST_PATH = "plain", "fast"


def train(
    settings: Settings,
    data: TokenData,
    *,
    seed: int,
    device: str,
    reporter: Reporter,
    checkpointing: Checkpointing | None = None,
    resume: Sequence[SavedCheckpoint] = (),
    fixed: Mapping[str, object] | None = None,
    deterministic: bool = False,
    metrics: Callable[[Moment], Mapping[str, float]] = extra_metrics,
    path: str | None = None,
    compile_mode: CompileMode = CompileMode.AUTO,
    warm: ProcessCache | None = None,
) -> TrainingResult:
    """Train `settings` with `seed` on `data` until a limit is reached or the reporter says otherwise.

    `resume` are checkpoints, the newest first: the first that is sound is taken up, else step 0; they lie
    in the state folder of `checkpointing`. `fixed` are the facts of the run's first attempt: its precision
    and path are kept, and its data must be this data. `path` is "fast" or "plain"; None: fast on a GPU, plain on a CPU
    and where `deterministic`. `warm` is what this process keeps from run to run; without it nothing is compiled.

    Raises SettingsError, DeviceError, DataError (text too short, or not the first attempt's), DivergedError
    (after the point that shows it) and OutOfMemoryError.
    """
    resolved = scale.resolve(settings)
    sizes = scale.check(resolved)
    check_data(data, sizes.vocab_size, fixed or {})
    torch_device = resolve_device(device)
    precision = str((fixed or {}).get("precision") or resolve_precision(resolved.precision, torch_device))
    taken = resolve_path(path, torch_device, fixed=fixed or {}, deterministic=deterministic)
    fast = taken == FAST_PATH
    if resolved.output_precision == "float8" and (warning := imitation_warning(torch_device)):
        print(f"warning: {warning}", file=sys.stderr)
    resident = warm.tokens(data, torch_device) if warm is not None and fast and torch_device.type == "cuda" else None
    train_tokens, val_tokens = resident or (data.train, data.val)
    val_tokens, test_tokens = evaluated_texts(data, val_tokens, with_test=resolved.test_tokens > 0)

    def build() -> Trainer:
        recipe = get_recipe(resolved.recipe)(
            resolved, vocab_size=sizes.vocab_size, tokens_per_microbatch=sizes.microbatch_tokens
        )
        recipe.model.fast = fast
        return Trainer(
            recipe,
            batches=RandomBatches(
                train_tokens,
                val_tokens,
                seed=seed,
                max_length=resolved.max_sequence_length,
                num_eval_tokens=resolved.num_eval_tokens,
                evaluation_batch_size=evaluation_sequences(recipe, fast=fast),
                evaluation_length=resolved.eval_sequence_length,
                test=test_tokens,
                test_tokens=resolved.test_tokens,
            ),
            dither=SeededDither(seed),
            normals=SeededNormals(seed),
            device=torch_device,
            dtype=dtype_of(precision),
        )

    def start() -> TrainingRun:
        trainer, compiler = build(), None
        if warm is not None and fast and not deterministic:
            # Without being asked, only GPUs compile: a CPU takes longer over it than a run.
            auto_on_cpu = compile_mode is CompileMode.AUTO and torch_device.type == "cpu"
            compiler = BlockCompiler(
                warm.compiled_code,
                mode=CompileMode.NEVER if auto_on_cpu else compile_mode,
                settings=resolved,
                dtype=dtype_of(precision),
                device=torch_device,
            )
            trainer.model.run_block = compiler
        return TrainingRun(
            trainer,
            compiler=compiler,
            reporter=reporter,
            train_tokens=len(data.train),
            tokens_per_byte=tokens_per_byte(data),
            checkpointing=checkpointing,
            identity={
                "settings": resolved.to_dict(),
                "seed": seed,
                "data_fingerprint": data.fingerprint,
                "precision": precision,
            },
            metrics=metrics,
        )

    try:
        # The inner one decides: where the same bits are wanted, the fused kernels are not used.
        with (
            attention_kernels(torch_device),
            reproducible(torch_device, deterministic=deterministic),
            kept_threads(torch_device, (fixed or {}).get("threads")),
        ):
            run = take_up(start, resume, checkpointing, reporter)
            reporter.facts(
                facts_of(resolved, data, torch_device, precision=precision, path=taken, deterministic=deterministic),
            )
            return run.run()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        failure = out_of_memory(error, resolved, torch_device, dtype_of(precision))
    # Outside the handler, so that the traceback no longer holds the run's tensors.
    raise failure


def evaluation_sequences(recipe: Recipe, *, fast: bool) -> int:
    """Sequences an evaluation batch: the recipe's; on the fast path those of a microbatch, if they are more.

    A GPU would spend small batches waiting for kernels to be launched. The mean over all tokens is the same. Not so in
    float8, whose scale is that of a batch: there both paths take the recipe's.
    """
    own = recipe.evaluation_batch_size()
    if not fast or recipe.model.float8_output is not None:
        return own
    return max(own, recipe.tokens_per_microbatch // recipe.settings.evaluation_length)


def take_up(
    start: Callable[[], TrainingRun],
    resume: Sequence[SavedCheckpoint],
    checkpointing: Checkpointing | None,
    reporter: Reporter,
) -> TrainingRun:
    """A run at the first of `resume` that is sound, else at step 0; the reporter hears which."""
    for saved in resume:
        if checkpointing is None:
            raise ValueError("checkpoints lie in the state folder of `checkpointing`, which is None")
        run = start()
        try:
            checkpoint = read_checkpoint(checkpointing.state_folder, saved)
            check_identity(checkpoint, run.identity)
            run.restore(checkpoint)
        except CheckpointError as error:
            print(f"warning: {error.message}", file=sys.stderr)
            continue
        reporter.resumed(saved)
        return run
    if resume:
        reporter.resumed(None)
    return start()


def check_data(data: TokenData, vocab_size: int, fixed: Mapping[str, object]) -> None:
    """Raise DataError unless `data` is the run's: its fingerprints, and a vocabulary that the model has."""
    expected = fixed.get("data_fingerprint")
    if expected is not None and expected != data.fingerprint:
        raise data_changed("data", data.fingerprint, expected)
    expected = fixed.get("test_fingerprint")
    if expected and data.test is not None and expected != data.test_fingerprint:
        raise data_changed("test text", data.test_fingerprint, expected)
    if data.vocab_size > vocab_size:
        raise DataError(
            f"the data was encoded with {data.vocab_size} token values, but the model has only {vocab_size}",
            "Prepare the data with the run's own tokenizer.",
        )


def data_changed(what: str, found: str, expected: object) -> DataError:
    """The error of a text that is not the one that the run's first attempt had."""
    return DataError(
        f"the {what} has changed since the run began: its fingerprint is {found}, not {expected}",
        "Bring the old text back, or submit the run again to train it on the new one.",
    )


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


def resolve_path(wanted: str | None, device: torch.device, *, fixed: Mapping[str, object], deterministic: bool) -> str:
    """The path of a run: that of its first attempt, else what is wanted, else fast on a GPU.

    Where the same bits are wanted each time, the plain one: the fast one is not any faster there.
    """
    if fixed.get("path"):
        return str(fixed["path"])
    if wanted is not None:
        return wanted
    return PLAIN_PATH if device.type == "cpu" or deterministic else FAST_PATH


def facts_of(
    settings: Settings, data: TokenData, device: torch.device, *, precision: str, path: str, deterministic: bool
) -> Facts:
    """What is now known of the run and stays fixed for its life."""
    known: dict[str, Any] = {**provenance(device), "data_fingerprint": data.fingerprint}
    return Facts(
        data_fingerprint=data.fingerprint,
        train_tokens=len(data.train),
        val_tokens=len(data.val),
        val_bytes=data.val_bytes,
        device=str(device),
        device_name=device_facts(device).name,
        precision=precision,
        path=path,
        threads=torch.get_num_threads(),
        deterministic=deterministic,
        **evaluation_facts(settings, data),
        provenance=known,
    )


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
