"""The two sides of the training benchmarks, on a GPU or a CPU, and how to measure both. Needs only torch and numpy."""

import gc
import re
import statistics
import sysconfig
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional as F

from benchmarks.plain_recipe import LOG_EVERY, MICROBATCHES, PlainLoop
from hlbgpt_core import scale
from hlbgpt_core.device import attention_kernels
from hlbgpt_core.fast_path.compile_mode import CompileMode
from hlbgpt_core.fast_path.compiling import BlockCompiler, CompiledCode, share_compiled_code
from hlbgpt_core.fast_path.process_cache import ProcessCache
from hlbgpt_core.points import Directive, Facts, Point, Progress, SavedCheckpoint, Split
from hlbgpt_core.recipes import get_recipe
from hlbgpt_core.recipes.protocol import Accumulation, BatchShape
from hlbgpt_core.settings import Settings
from hlbgpt_core.text.data import TokenData
from hlbgpt_core.training.batches import RandomBatches
from hlbgpt_core.training.loss import next_token_loss
from hlbgpt_core.training.random_streams import SeededDither, SeededNormals
from hlbgpt_core.training.training_step import Trainer

WORD = re.compile(r"\w+|\s+|[^\w\s]")
# Both sides are the same model in bfloat16: a larger difference means that they are not.
LARGEST_LOSS_DIFFERENCE = 0.02


class Heard:
    """A reporter that keeps the points."""

    def __init__(self) -> None:
        self.points: list[Point] = []

    def note(self, action: str, text: str) -> None: ...

    def resumed(self, checkpoint: SavedCheckpoint | None) -> None: ...

    def facts(self, facts: Facts) -> None: ...

    def point(self, point: Point) -> None:
        self.points.append(point)

    def progress(self, progress: Progress) -> Directive:
        return Directive.CONTINUE

    def checkpoint(self, checkpoint: SavedCheckpoint) -> None: ...

    def last(self, split: Split) -> Point:
        """The newest point of `split`."""
        return [point for point in self.points if point.split is split][-1]


def text_tokens(given: Path | None, *, small: bool) -> np.ndarray:
    """Token values of a text."""
    if given is not None:
        return np.load(given, mmap_mode="r")
    folder = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(path for path in folder.rglob("*.py") if not {"test", "site-packages"} & set(path.parts))
    text = "".join(path.read_text(encoding="utf-8", errors="replace") for path in files)
    if small:
        return np.frombuffer(text.encode(), dtype=np.uint8).astype(np.uint16)
    words = WORD.findall(text)
    rank = {word: number for number, (word, _) in enumerate(Counter(words).most_common(50_256), start=1)}
    return np.array([rank.get(word, 0) for word in words], dtype=np.uint16)


def data_of(tokens: np.ndarray, settings: Settings) -> TokenData:
    """The text for the trainer; the last twentieth is for validation."""
    cut = len(tokens) * 19 // 20
    vocabulary = scale.unpadded_vocabulary_size(settings.tokenizer)
    return TokenData(
        train=tokens[:cut],
        val=tokens[cut:],
        vocab_size=vocabulary,
        train_bytes=cut,
        val_bytes=len(tokens) - cut,
        fingerprint="benchmark",
    )


def flops_a_token(settings: Settings, length: int) -> float:
    """Forward and backward: 6 a parameter of a product, 3 (query-key + value width) a token attended to."""
    width, depth = settings.width, settings.depth
    query_key, inner = width // settings.qk_dim_div, settings.expand_factor * width
    block = (2 * query_key + 2 * inner) * width + width * inner
    products = depth * block + scale.vocabulary_size(settings.tokenizer) * width
    return 6.0 * products + depth * 3.0 * (query_key + width) * length


def peak_flops(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product of random numbers: the ceiling of this device."""
    size = 8192 if device.type == "cuda" else 1024
    one, other = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    seconds = []
    for _ in range(13):
        waited(device)
        started = time.perf_counter()
        one @ other
        waited(device)
        seconds.append(time.perf_counter() - started)
    return 2 * size**3 / statistics.median(seconds[3:])


def waited(device: torch.device) -> None:
    """Wait until the device has finished its work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def give_memory_back(device: torch.device) -> None:
    """Free unused memory."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()


def trainer_at(
    length: int, settings: Settings, tokens: np.ndarray, device: torch.device, dtype: torch.dtype, *, fast: bool
) -> Trainer:
    """hlbq's trainer at one length and a fixed number of microbatches."""
    found = scale.sizes(settings)
    recipe = get_recipe("0.4.1")(settings, vocab_size=found.vocab_size, tokens_per_microbatch=found.microbatch_tokens)
    recipe.model.fast = fast
    data = data_of(tokens, settings)
    resident = ProcessCache(CompiledCode(Path("unused"))).tokens(data, device) if device.type == "cuda" else None
    train_tokens, val_tokens = resident or (data.train, data.val)
    trainer = Trainer(
        recipe,
        batches=RandomBatches(
            train_tokens,
            val_tokens,
            seed=1,
            max_length=settings.max_sequence_length,
            num_eval_tokens=settings.num_eval_tokens,
            evaluation_batch_size=recipe.evaluation_batch_size(),
        ),
        dither=SeededDither(1),
        normals=SeededNormals(1),
        device=device,
        dtype=dtype,
    )
    shape = BatchShape(batch_size=found.microbatch_tokens // length, sequence_length=length)
    settled = Accumulation(divisor=MICROBATCHES, level=float(MICROBATCHES))
    trainer.counters = replace(trainer.counters, accumulation=settled, shape=shape)
    return trainer


def compiler_of(
    trainer: Trainer, settings: Settings, dtype: torch.dtype, say: Callable[[str], None]
) -> BlockCompiler | None:
    """The trainer's blocks, compiled for its shape; None if that does not work. Reports the result."""
    folder = Path(tempfile.gettempdir()) / "hlbq-benchmark-compiled"
    share_compiled_code(folder)
    code = CompiledCode(folder)
    compiler = BlockCompiler(
        code, mode=CompileMode.ALWAYS, settings=settings, dtype=dtype, device=trainer.device, say=say
    )
    before, trainer.model.run_block = trainer.model.run_block, compiler
    with attention_kernels(trainer.device):
        compiler.compile(trainer.counters.shape, trainer.try_out)
    trainer.model.run_block = before
    return None if code.broken else compiler


def steps_ours(trainer: Trainer, count: int) -> float:
    """Seconds of `count` steps, with a point every ten steps."""
    waited(trainer.device)
    started = time.perf_counter()
    with attention_kernels(trainer.device):
        for number in range(count):
            last = number == count - 1
            trainer.train_step(
                measure=number % LOG_EVERY == 0,
                goes_on=lambda step, tokens, last=last: not last and bool(step % LOG_EVERY),
            )
    waited(trainer.device)
    return time.perf_counter() - started


def steps_plain(loop: PlainLoop, count: int) -> float:
    """Seconds of `count` steps of the plain loop."""
    waited(loop.device)
    started = time.perf_counter()
    for _ in range(count):
        loop.step()
    waited(loop.device)
    return time.perf_counter() - started


def check_same_loss(trainer: Trainer, loop: PlainLoop, tokens: np.ndarray, length: int) -> None:
    """Both sides must compute the same model, or their times mean nothing. Raises RuntimeError if they do not."""
    rows = torch.from_numpy(tokens[: 4 * (length + 1)].astype(np.int64)).view(4, length + 1).to(trainer.device)
    with torch.no_grad(), attention_kernels(trainer.device):
        plain = float(F.cross_entropy(loop.model(rows[:, :-1]).flatten(0, 1).float(), rows[:, 1:].flatten()))
        ours = float(next_token_loss(trainer.model, rows, with_accuracy=False).loss)
    if not abs(ours - plain) <= LARGEST_LOSS_DIFFERENCE * plain:
        raise RuntimeError(f"the two sides do not compute the same model: loss {ours:.4f} against {plain:.4f}")
