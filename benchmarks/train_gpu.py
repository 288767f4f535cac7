"""Training on a GPU: hlbq's fast path against recipe 0.4.1 as it is usually written (plain_recipe.py).

    python -m benchmarks.train_gpu step            50 steps at lengths 32, 256 and 1024: train_step_L*
    python -m benchmarks.train_gpu run             the default run of 1,000 steps, both ways: train_run_1000
    python -m benchmarks.train_gpu parity          10 seeds, fast and plain path of hlbq itself: train_parity

Needs torch and numpy alone. Text: the source code of Python's standard library, words by rank, as many as the default
vocabulary holds; `--tokens FILE.npy` takes your own (uint16, GPT-2's vocabulary). `--small` is a model for a CPU, to
see that it runs. Both sides take turns; medians are compared, and ratio = plain / fast, so above 1 hlbq is the faster.
"""

import argparse
import json
import math
import re
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.plain_recipe import DEMO, LOG_EVERY, MICROBATCHES, PlainLoop
from hlbgpt_core import scale
from hlbgpt_core.batches import RandomBatches
from hlbgpt_core.compile_mode import CompileMode
from hlbgpt_core.compiling import BlockCompiler, CompiledCode, share_compiled_code
from hlbgpt_core.data import TokenData
from hlbgpt_core.device import attention_kernels, dtype_of, resolve_precision
from hlbgpt_core.points import Directive, Facts, Point, Progress, SavedCheckpoint, Split
from hlbgpt_core.random_streams import SeededDither, SeededNormals
from hlbgpt_core.recipes import get_recipe
from hlbgpt_core.recipes.protocol import Accumulation, BatchShape
from hlbgpt_core.settings import Settings
from hlbgpt_core.trainer import train
from hlbgpt_core.training_step import Trainer
from hlbgpt_core.warm import Warm

WORD = re.compile(r"\w+|\s+|[^\w\s]")
# Student's t for a two-sided interval of 95 %, by degrees of freedom.
T_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


class Heard:
    """A reporter that keeps the points."""

    def __init__(self) -> None:
        self.points: list[Point] = []

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
    """The text as the trainer wants it: its last twentieth validates."""
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
    """Return when the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def fast_trainer(
    settings: Settings, tokens: np.ndarray, length: int, device: torch.device, dtype: torch.dtype
) -> Trainer:
    """hlbq's trainer on the fast path, compiled, at one length and a fixed number of microbatches."""
    found = scale.sizes(settings)
    recipe = get_recipe("0.4.1")(settings, vocab_size=found.vocab_size, tokens_per_microbatch=found.microbatch_tokens)
    recipe.model.fast = True
    folder = Path(tempfile.gettempdir()) / "hlbq-benchmark-compiled"
    share_compiled_code(folder)
    warm = Warm(CompiledCode(folder))
    data = data_of(tokens, settings)
    train_tokens, val_tokens = warm.tokens(data, device) or (data.train, data.val)
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
    if device.type == "cuda":
        compiler = BlockCompiler(
            warm.compiled_code, mode=CompileMode.ALWAYS, settings=settings, dtype=dtype, device=device
        )
        trainer.model.run_block = compiler
        with attention_kernels(device):
            compiler.compile(shape, trainer.try_out)
    return trainer


def steps_ours(trainer: Trainer, count: int) -> float:
    """Seconds of `count` steps, a point every tenth."""
    waited(trainer.device)
    started = time.perf_counter()
    with attention_kernels(trainer.device):
        for number in range(count):
            trainer.train_step(measure=number % LOG_EVERY == 0, goes_on=lambda step, tokens: bool(step % LOG_EVERY))
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
    """Both sides must compute the same model, or their times mean nothing."""
    rows = torch.from_numpy(tokens[: 4 * (length + 1)].astype(np.int64)).view(4, length + 1).to(trainer.device)
    with torch.no_grad():
        plain = torch.nn.functional.cross_entropy(loop.model(rows[:, :-1]).flatten(0, 1).float(), rows[:, 1:].flatten())
        from hlbgpt_core.loss import next_token_loss

        ours = next_token_loss(trainer.model, rows, with_accuracy=False).loss
    if abs(float(ours) - float(plain)) > 0.02 * float(plain):
        sys.exit(f"the two sides do not compute the same model: loss {float(ours):.4f} against {float(plain):.4f}")


def benchmark_step(settings: Settings, tokens: np.ndarray, device: torch.device, options: argparse.Namespace) -> list:
    """train_step_L*: a step of two microbatches after warm-up, at one length."""
    dtype = dtype_of(resolve_precision("auto", device))
    peak, rows = peak_flops(device, dtype), []
    fixed = replace(settings, sequence_growth_steps=10**9, microbatch_scale_lr=0.0)
    for length in options.lengths:
        loop = PlainLoop(fixed, tokens, device=device, dtype=dtype, length=length, microbatches=MICROBATCHES)
        trainer = fast_trainer(fixed, tokens, length, device, dtype)
        check_same_loss(trainer, loop, tokens, length)
        steps_ours(trainer, 10), steps_plain(loop, 10)
        ours, plain = [], []
        for _ in range(options.rounds):
            ours.append(steps_ours(trainer, options.steps) / options.steps)
            plain.append(steps_plain(loop, options.steps) / options.steps)
        flops = flops_a_token(fixed, length) * trainer.counters.shape.tokens * MICROBATCHES
        fast, slow = statistics.median(ours), statistics.median(plain)
        rows.append(
            {
                "name": f"train_step_L{length}",
                "fast_ms": 1e3 * fast,
                "plain_ms": 1e3 * slow,
                "ratio": slow / fast,
                "tokens_per_second": trainer.counters.shape.tokens * MICROBATCHES / fast,
                "model_flop_utilisation": flops / fast / peak,
                "plain_model_flop_utilisation": flops / slow / peak,
                "peak_tflops": peak / 1e12,
            }
        )
        del loop, trainer
    return rows


def benchmark_run(settings: Settings, tokens: np.ndarray, device: torch.device, options: argparse.Namespace) -> list:
    """train_run_1000: training seconds and wall time of whole runs, each in a process of its own, in turns."""
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(options.rounds):
            # The first compiled run finds an empty folder, the second what the first left there.
            folder = Path(scratch) / f"compiled-{number}"
            for what in ("plain", "never", "always", "always", "auto"):
                command = [sys.executable, "-m", "benchmarks.train_gpu", "one", "--what", what, "--folder", str(folder)]
                command += ["--device", str(device), "--steps", str(options.steps), "--seed", str(number + 1)]
                command += ["--small"] if options.small else []
                command += ["--tokens", str(options.tokens)] if options.tokens else []
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                row = json.loads(done.stdout.splitlines()[-1])["rows"][0]
                named = (
                    f"{what} (cold)"
                    if what == "always" and not any(r.get("folder") == str(folder) for r in rows)
                    else what
                )
                rows.append(
                    {"name": named, "round": number + 1, **row, "folder": str(folder) if what == "always" else ""}
                )
    medians = {
        name: statistics.median(row["training_seconds"] for row in rows if row["name"] == name)
        for name in dict.fromkeys(row["name"] for row in rows)
    }
    ratios = {f"plain / {name}": medians["plain"] / seconds for name, seconds in medians.items() if name != "plain"}
    return [*({**row, "folder": None} for row in rows), {"name": "train_run_1000, medians", **medians, **ratios}]


def benchmark_one(settings: Settings, tokens: np.ndarray, device: torch.device, options: argparse.Namespace) -> list:
    """One run of `benchmark_run`: the plain recipe, or the fast path, blocks compiled never, always or as it pays."""
    dtype = dtype_of(resolve_precision("auto", device))
    endless = {"max_epochs": 1e9, "max_epochs_between_evals": 1e9, "eval_every": 10**9}
    settings = replace(settings, max_steps=options.steps, **endless)
    if options.what_to_run == "plain":
        loop = PlainLoop(settings, tokens, device=device, dtype=dtype)
        started = time.perf_counter()
        loop.try_out()
        warm_up = time.perf_counter() - started
        seconds = steps_plain(loop, options.steps)
        return [{"training_seconds": seconds, "warm_up_seconds": warm_up, "tokens": loop.tokens_seen}]
    share_compiled_code(options.folder)
    heard, started = Heard(), time.perf_counter()
    train(
        settings,
        data_of(tokens, settings),
        seed=options.seed,
        device=str(device),
        reporter=heard,
        path="fast",
        compile_mode=CompileMode(options.what_to_run),
        warm=Warm(CompiledCode(options.folder)),
    )
    wall = time.perf_counter() - started
    last = heard.last(Split.TRAIN)
    points = [point for point in heard.points if point.split is Split.TRAIN]
    flops = sum(
        flops_a_token(settings, point.seq_length) * (point.tokens_seen - before)
        for point, before in zip(points, [0, *(point.tokens_seen for point in points)], strict=False)
    )
    return [
        {
            "training_seconds": last.cumulative_time,
            "compile_seconds": last.extra.get("compile_seconds"),
            "wall_seconds": wall,
            "tokens": last.tokens_seen,
            "val_loss": heard.last(Split.VAL).loss,
            "seconds_at_the_flop_floor": flops / peak_flops(device, dtype),
        }
    ]


def benchmark_parity(settings: Settings, tokens: np.ndarray, device: torch.device, options: argparse.Namespace) -> list:
    """train_parity: the paired difference of the last validation loss, fast minus plain, over seeds."""
    settings = replace(
        settings, max_steps=options.steps, max_epochs=1e9, max_epochs_between_evals=1e9, eval_every=10**9
    )
    data, warm = data_of(tokens, settings), Warm(CompiledCode(Path(tempfile.gettempdir()) / "hlbq-benchmark-run"))
    differences = []
    for seed in range(1, options.seeds + 1):
        losses = {}
        for path in ("fast", "plain"):
            heard = Heard()
            train(settings, data, seed=seed, device=str(device), reporter=heard, path=path, warm=warm)
            losses[path] = heard.last(Split.VAL).loss
        differences.append(losses["fast"] - losses["plain"])
        print(f"seed {seed}: fast {losses['fast']:.4f}, plain {losses['plain']:.4f}", flush=True)
    mean, spread = statistics.mean(differences), statistics.stdev(differences)
    half = T_95[len(differences) - 1] * spread / math.sqrt(len(differences))
    return [
        {"name": "train_parity", "difference": mean, "low": mean - half, "high": mean + half, "seeds": options.seeds}
    ]


def main() -> None:
    """Measure and print a line a row, then all as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("step", "run", "parity", "one"), help="one: a single run of `run`, for itself")
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--small", action="store_true", help="a model for a CPU")
    parser.add_argument("--tokens", type=Path, help="token values, .npy")
    parser.add_argument("--steps", type=int, help="steps a round, or of a run (default: 50, 1000)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=10, choices=range(2, 11), metavar="2..10")
    parser.add_argument("--lengths", type=int, nargs="+", default=[32, 256, 1024])
    parser.add_argument("--what", dest="what_to_run", default="auto", help="of `one`: plain, never, always, auto")
    parser.add_argument("--folder", type=Path, help="of `one`: where compiled code lies")
    parser.add_argument("--seed", type=int, default=1, help="of `one`")
    parser.add_argument("--output", type=Path, help="keep the rows in this JSON file")
    options = parser.parse_args()
    options.steps = options.steps or (50 if options.what == "step" else 1000)
    device = torch.device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    settings = scale.resolve(Settings.from_dict(DEMO if options.small else {}))
    tokens = text_tokens(options.tokens, small=options.small)
    measure = {
        "step": benchmark_step,
        "run": benchmark_run,
        "parity": benchmark_parity,
        "one": benchmark_one,
    }[options.what]
    rows = measure(settings, tokens, device, options)
    for row in rows:
        print(
            ", ".join(
                f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in row.items()
            )
        )
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"
    found = {"device": name, "torch": str(torch.__version__), "small": options.small, "rows": rows}
    print(json.dumps(found))
    if options.output:
        options.output.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
