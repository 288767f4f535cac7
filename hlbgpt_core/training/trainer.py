"""Train one run: settings, data and a reporter to a result.

`Preparation` puts the parts together; `TrainingRun` is the loop over training_step.py's steps and evaluations, with
points, limits, directives and checkpoints. Neither knows a database: everything goes through the reporter.
"""

import sys
from collections.abc import Callable, Mapping, Sequence

import torch

from hlbgpt_core import scale
from hlbgpt_core.device import (
    attention_kernels,
    dtype_of,
    kept_threads,
    reproducible,
    resolve_device,
    resolve_precision,
)
from hlbgpt_core.errors import CheckpointError, DataError
from hlbgpt_core.fast_path.compile_mode import CompileMode
from hlbgpt_core.fast_path.float8 import imitation_warning
from hlbgpt_core.fast_path.memory import is_out_of_memory, out_of_memory
from hlbgpt_core.fast_path.process_cache import ProcessCache
from hlbgpt_core.metrics import Moment, extra_metrics
from hlbgpt_core.points import Reporter, SavedCheckpoint, TrainingResult
from hlbgpt_core.settings import Settings
from hlbgpt_core.text.data import TokenData
from hlbgpt_core.training.checkpoint import Checkpointing, check_identity, read_checkpoint
from hlbgpt_core.training.preparation import FAST_PATH, PLAIN_PATH, Preparation
from hlbgpt_core.training.training_run import TrainingRun

__all__ = ["Checkpointing", "train"]


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
    known = fixed or {}
    check_data(data, sizes.vocab_size, known)
    torch_device = resolve_device(device)
    if resolved.output_precision == "float8" and (warning := imitation_warning(torch_device)):
        print(f"warning: {warning}", file=sys.stderr)
    preparation = Preparation(
        settings=resolved,
        sizes=sizes,
        data=data,
        seed=seed,
        device=torch_device,
        precision=str(known.get("precision") or resolve_precision(resolved.precision, torch_device)),
        path=resolve_path(path, torch_device, fixed=known, deterministic=deterministic),
        deterministic=deterministic,
        compile_mode=compile_mode,
        warm=warm,
    )

    def start() -> TrainingRun:
        return preparation.run(reporter, checkpointing, metrics)

    try:
        # The inner one decides: where the same bits are wanted, the fused kernels are not used.
        with (
            attention_kernels(torch_device),
            reproducible(torch_device, deterministic=deterministic),
            kept_threads(torch_device, known.get("threads")),
        ):
            run = take_up(start, resume, checkpointing, reporter)
            reporter.facts(preparation.facts())
            return run.run()
    except Exception as error:
        if not is_out_of_memory(error):
            raise
        failure = out_of_memory(error, resolved, torch_device, dtype_of(preparation.precision))
    # Outside the handler, so that the traceback no longer holds the run's tensors.
    raise failure


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


def resolve_path(wanted: str | None, device: torch.device, *, fixed: Mapping[str, object], deterministic: bool) -> str:
    """The path of a run: that of its first attempt, else what is wanted, else fast on a GPU.

    Where the same bits are wanted each time, the plain one: the fast one is not any faster there.
    """
    if fixed.get("path"):
        return str(fixed["path"])
    if wanted is not None:
        return wanted
    return PLAIN_PATH if device.type == "cpu" or deterministic else FAST_PATH
