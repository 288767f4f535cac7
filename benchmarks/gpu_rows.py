"""What train_gpu.py measures, a row at a time: steps at one length, a whole run, and the parity of two paths."""

import math
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.gpu_sides import (
    Heard,
    check_same_loss,
    compiler_of,
    data_of,
    flops_a_token,
    give_memory_back,
    peak_flops,
    steps_ours,
    steps_plain,
    trainer_at,
)
from benchmarks.plain_recipe import MICROBATCHES, PlainLoop
from hlbgpt_core.device import dtype_of, resolve_precision
from hlbgpt_core.fast_path.compile_mode import CompileMode
from hlbgpt_core.fast_path.compiling import CompiledCode, share_compiled_code
from hlbgpt_core.fast_path.memory import is_out_of_memory
from hlbgpt_core.fast_path.process_cache import ProcessCache
from hlbgpt_core.points import Split
from hlbgpt_core.recipes.protocol import call_block
from hlbgpt_core.settings import Settings
from hlbgpt_core.training.trainer import train

Row = dict[str, object]
WARM_UP_STEPS = 10
LEAST_CAPACITY = 1 / 16
# Student's t for a two-sided interval of 95 %, by degrees of freedom.
T_95 = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776, 5: 2.571, 6: 2.447, 7: 2.365, 8: 2.306, 9: 2.262}


def step_row(
    settings: Settings, tokens: np.ndarray, device: torch.device, *, length: int, steps: int, rounds: int
) -> Row:
    """train_step_L*: a step of two microbatches after warm-up, at one length.

    If a side's microbatch does not fit the device's memory (the plain one copies the logits in float32), both sides
    take half as many tokens, and the row says so.
    """
    settings = replace(settings, sequence_growth_steps=10**9, microbatch_scale_lr=0.0)
    note = ""
    while True:
        try:
            measured = measured_steps(settings, tokens, device, length=length, steps=steps, rounds=rounds)
            return {"name": f"train_step_L{length}", **measured, **({"note": note} if note else {})}
        except Exception as error:
            if not is_out_of_memory(error) or settings.gpu_capacity_scalar / 2 < LEAST_CAPACITY:
                raise
        # Outside the handler, so that the traceback no longer holds the sides.
        give_memory_back(device)
        settings = replace(settings, gpu_capacity_scalar=settings.gpu_capacity_scalar / 2)
        note = f"out of memory with more: both sides at gpu_capacity_scalar {settings.gpu_capacity_scalar:g}"
        print(f"train_step_L{length}: {note}", flush=True)


def measured_steps(
    settings: Settings, tokens: np.ndarray, device: torch.device, *, length: int, steps: int, rounds: int
) -> Row:
    """Medians of the sides, in turns: the plain recipe, the fast path eager, and compiled where torch can."""
    dtype = dtype_of(resolve_precision("auto", device))
    peak = peak_flops(device, dtype)
    loop = PlainLoop(settings, tokens, device=device, dtype=dtype, length=length, microbatches=MICROBATCHES)
    trainer = trainer_at(length, settings, tokens, device, dtype, fast=True)
    check_same_loss(trainer, loop, tokens, length)
    said: list[str] = []
    compiler = compiler_of(trainer, settings, dtype, said.append) if device.type == "cuda" else None

    def ours(run_block: Callable[..., torch.Tensor]) -> Callable[[int], float]:
        def side(count: int) -> float:
            trainer.model.run_block = run_block
            return steps_ours(trainer, count)

        return side

    sides: dict[str, Callable[[int], float]] = {"plain": lambda count: steps_plain(loop, count)}
    sides["eager"] = ours(call_block)
    if compiler is not None:
        sides["compiled"] = ours(compiler)
    for side in sides.values():
        side(WARM_UP_STEPS)
    seconds: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            seconds[name].append(side(steps) / steps)
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    return step_figures(settings, medians, length=length, tokens=trainer.counters.shape.tokens, peak=peak) | {
        "compile_seconds": compiler.seconds if compiler is not None else None,
        "compiling": "; ".join(said) or None,
        "seconds_a_step": seconds,
    }


def step_figures(settings: Settings, medians: Mapping[str, float], *, length: int, tokens: int, peak: float) -> Row:
    """Figures from each side's seconds per step; "fast" is the compiled one if there is one."""
    fast, plain = medians.get("compiled", medians["eager"]), medians["plain"]
    flops = flops_a_token(settings, length) * tokens * MICROBATCHES
    return {
        "fast_ms": 1e3 * fast,
        "eager_ms": 1e3 * medians["eager"],
        "plain_ms": 1e3 * plain,
        "ratio": plain / fast,
        "eager_ratio": plain / medians["eager"],
        "tokens_a_microbatch": tokens,
        "tokens_per_second": tokens * MICROBATCHES / fast,
        "model_flop_utilisation": flops / fast / peak,
        "plain_model_flop_utilisation": flops / plain / peak,
        "peak_tflops": peak / 1e12,
    }


def endless(settings: Settings, steps: int) -> Settings:
    """This many steps, with one evaluation at the end."""
    return replace(settings, max_steps=steps, max_epochs=1e9, max_epochs_between_evals=1e9, eval_every=10**9)


def plain_run_row(settings: Settings, tokens: np.ndarray, device: torch.device, *, steps: int) -> Row:
    """One run of the plain recipe."""
    dtype = dtype_of(resolve_precision("auto", device))
    begun = time.perf_counter()
    loop = PlainLoop(endless(settings, steps), tokens, device=device, dtype=dtype)
    loop.try_out()
    seconds = steps_plain(loop, steps)
    return {
        "training_seconds": seconds,
        "wall_seconds": time.perf_counter() - begun,
        "tokens": loop.tokens_seen,
        "tokens_per_second": loop.tokens_seen / seconds,
    }


def fast_run_row(
    settings: Settings, tokens: np.ndarray, device: torch.device, *, steps: int, seed: int, mode: str, folder: Path
) -> Row:
    """One run of the fast path, its blocks compiled never, always, or when it pays."""
    settings, dtype = endless(settings, steps), dtype_of(resolve_precision("auto", device))
    share_compiled_code(folder)
    heard, begun = Heard(), time.perf_counter()
    train(
        settings,
        data_of(tokens, settings),
        seed=seed,
        device=str(device),
        reporter=heard,
        path="fast",
        compile_mode=CompileMode(mode),
        warm=ProcessCache(CompiledCode(folder)),
    )
    wall = time.perf_counter() - begun
    last = heard.last(Split.TRAIN)
    points = [point for point in heard.points if point.split is Split.TRAIN]
    flops = sum(
        flops_a_token(settings, point.seq_length) * (point.tokens_seen - before)
        for point, before in zip(points, [0, *(point.tokens_seen for point in points)], strict=False)
    )
    return {
        "training_seconds": last.cumulative_time,
        "compile_seconds": last.extra.get("compile_seconds"),
        "wall_seconds": wall,
        "tokens": last.tokens_seen,
        "tokens_per_second": last.tokens_seen / last.cumulative_time,
        "val_loss": heard.last(Split.VAL).loss,
        "seconds_at_the_flop_floor": flops / peak_flops(device, dtype),
    }


def run_medians(rows: Sequence[Row]) -> Row:
    """train_run_1000: the medians of the runs that ended well, and plain over each other kind."""
    seconds: dict[str, list[float]] = {}
    for row in rows:
        if "error" not in row:
            seconds.setdefault(str(row["name"]), []).append(float(str(row["training_seconds"])))
    medians = {name: statistics.median(values) for name, values in seconds.items()}
    plain = medians.get("plain")
    ratios = {f"plain / {name}": plain / one for name, one in medians.items() if plain and name != "plain"}
    return {"name": "train_run_1000, medians", **medians, **ratios}


def parity_rows(
    settings: Settings, tokens: np.ndarray, device: torch.device, *, steps: int, seeds: int
) -> Iterator[Row]:
    """train_parity: the paired difference of the last validation loss, fast minus plain; one row for each additional
    seed."""
    settings = endless(settings, steps)
    folder = Path(tempfile.gettempdir()) / "hlbq-benchmark-compiled"
    share_compiled_code(folder)
    data, warm = data_of(tokens, settings), ProcessCache(CompiledCode(folder))
    differences: list[float] = []
    for seed in range(1, seeds + 1):
        losses = {}
        for path in ("fast", "plain"):
            heard = Heard()
            train(settings, data, seed=seed, device=str(device), reporter=heard, path=path, warm=warm)
            losses[path] = heard.last(Split.VAL).loss
        differences.append(losses["fast"] - losses["plain"])
        yield {"name": "train_parity", **losses, **interval(differences)}


def interval(differences: Sequence[float]) -> Row:
    """Mean and 95 % interval of the differences; no interval of a single one."""
    mean, found = statistics.mean(differences), len(differences)
    if found < 2:
        return {"difference": mean, "seeds": found}
    half = T_95[found - 1] * statistics.stdev(differences) / math.sqrt(found)
    return {"difference": mean, "low": mean - half, "high": mean + half, "seeds": found}
