"""Training steps a second on a CPU: our Trainer against recipe 0.4.1 as it is written (plain_recipe.py); demo model.

    python -m benchmarks.train_step_cpu [--steps 4] [--rounds 25] [--threads 1]

Both train on the same random tokens, in turns (A B A B ...), and the medians are compared: ratio = plain / ours,
so above 1 ours is faster. Both take two microbatches a step.
"""

import argparse
import json
import os
import platform
import statistics
import time

import numpy as np
import torch

from benchmarks.gpu_sides import steps_plain, trainer_at
from benchmarks.plain_recipe import DEMO, LOG_EVERY, MICROBATCHES, PlainLoop
from hlbgpt_core.settings import Settings
from hlbgpt_core.training.training_step import Trainer

# A fixed number of microbatches: the same work per step on both sides.
FIXED = {**DEMO, "microbatch_scale_lr": 0.0}


def seconds_a_microbatch_ours(trainer: Trainer, steps: int) -> float:
    """Seconds a microbatch of `steps` steps with a point every tenth, as a run has."""
    before, started = trainer.counters.microbatches, time.perf_counter()
    for number in range(steps):
        trainer.train_step(measure=number % LOG_EVERY == 0)
    return (time.perf_counter() - started) / (trainer.counters.microbatches - before)


def seconds_a_microbatch_plain(loop: PlainLoop, steps: int) -> float:
    """The same of the plain loop."""
    return steps_plain(loop, steps) / (steps * MICROBATCHES)


def main() -> None:
    """Measure at three sequence lengths and print a table and its JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=25)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tokens = np.random.default_rng(0).integers(0, 257, size=500_000).astype(np.uint16)
    rows = []
    for length in (32, 128, 256):
        settings = Settings.from_dict({**FIXED, "initial_sequence_length": length, "sequence_growth_steps": 10**9})
        trainer = trainer_at(length, settings, tokens, torch.device("cpu"), torch.float32, fast=False)
        loop = PlainLoop(
            settings, tokens, device=torch.device("cpu"), dtype=torch.float32, length=length, microbatches=MICROBATCHES
        )
        seconds_a_microbatch_ours(trainer, 5)
        seconds_a_microbatch_plain(loop, 5)
        ours, plain = [], []
        for _ in range(options.rounds):
            ours.append(seconds_a_microbatch_ours(trainer, options.steps))
            plain.append(seconds_a_microbatch_plain(loop, options.steps))
        row = {
            "length": length,
            "ours_ms": 1e3 * statistics.median(ours),
            "plain_ms": 1e3 * statistics.median(plain),
            "ratio": statistics.median(plain) / statistics.median(ours),
        }
        rows.append(row)
        print(
            f"length {length:4}: ours {row['ours_ms']:7.2f} ms a microbatch, plain {row['plain_ms']:7.2f} ms, "
            f"ratio {row['ratio']:.2f}x"
        )
    load = os.getloadavg()[0]
    about = {"torch": str(torch.__version__), "threads": options.threads, "load": load, "machine": platform.platform()}
    print(json.dumps({"rows": rows, **about}))


if __name__ == "__main__":
    main()
