"""What recording costs the trainer process: CPU seconds of a point and a sign of life per step, as a share of a step.

    python -m benchmarks.points [--steps 40] [--rounds 5] [--messages 5000]

It measures CPU seconds of all threads, not the clock, since these machines are shared. The cost of a message is to
make, queue and encode it, and to write it into a real pipe. The target is below 1 % of a step of the demo's model.
"""

import argparse
import json
import os
import statistics
import subprocess
import time
from collections.abc import Callable

import numpy as np
import torch

from benchmarks.plain_recipe import DEMO
from hlbgpt_core.points import Directive, Facts, Phase, Point, Progress, SavedCheckpoint
from hlbgpt_core.settings import Settings
from hlbgpt_core.text.data import TokenData
from hlbgpt_core.training.trainer import train
from worker.trainer.messages import Start
from worker.trainer.pipe_reporter import Control, Outbox, PipeReporter

MODEL = {
    **DEMO,
    "num_eval_tokens": 256,
    "eval_every": 10**6,
    "max_epochs_between_evals": 1e6,
    "log_every": 1,
}


class Counting:
    """A reporter that only counts the calls that become messages."""

    def __init__(self) -> None:
        self.points = 0
        self.asked = 0
        self.last: Point | None = None

    def note(self, action: str, text: str) -> None: ...

    def resumed(self, checkpoint: SavedCheckpoint | None) -> None: ...

    def facts(self, facts: Facts) -> None: ...

    def checkpoint(self, checkpoint: SavedCheckpoint) -> None: ...

    def point(self, point: Point) -> None:
        self.points += 1
        self.last = point

    def progress(self, progress: Progress) -> Directive:
        self.asked += 1
        return Directive.CONTINUE


def piped_reporter() -> tuple[PipeReporter, Callable[[], None]]:
    """A reporter with a pipe that another process reads, as the supervisor does; and a function to close it."""
    reader = subprocess.Popen(["cat"], stdin=subprocess.PIPE, stdout=subprocess.DEVNULL)
    assert reader.stdin is not None
    outbox = Outbox(reader.stdin)
    start = Start(
        run_id=1, fence=1, uid="r", settings={}, seed=1, log_path="", state_folder="", checkpoint_every_seconds=1e9
    )

    def close() -> None:
        outbox.close()
        reader.communicate()

    return PipeReporter(start, outbox, Control(), {}), close


def cpu_seconds_a_step(settings: Settings, data: TokenData, counting: Counting) -> float:
    """CPU seconds of a step of a run that records nowhere."""
    started = time.process_time()
    result = train(settings, data, seed=1, device="cpu", reporter=counting)
    return (time.process_time() - started) / result.steps


def cpu_seconds_a_call(call: Callable[[PipeReporter], object], calls: int) -> float:
    """CPU seconds of a call of the real reporter, including its message's way into the pipe."""
    reporter, close = piped_reporter()
    started = time.process_time()
    for _ in range(calls):
        call(reporter)
    close()
    return (time.process_time() - started) / calls


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--messages", type=int, default=5000)
    given = parser.parse_args()
    torch.set_num_threads(1)
    settings = Settings.from_dict({**MODEL, "max_steps": given.steps})
    tokens = np.random.RandomState(1).randint(0, 257, size=300_000).astype(np.uint16)
    data = TokenData(
        train=tokens, val=tokens[:5000], vocab_size=257, train_bytes=300_000, val_bytes=5000, fingerprint="random"
    )
    step, point, progress = [], [], []
    for _ in range(given.rounds):
        counting = Counting()
        step.append(cpu_seconds_a_step(settings, data, counting))
        made = counting.last
        assert made is not None
        point.append(cpu_seconds_a_call(lambda reporter, made=made: reporter.point(made), given.messages))
        alive = Progress(phase=Phase.TRAIN, step=1)
        progress.append(cpu_seconds_a_call(lambda reporter, alive=alive: reporter.progress(alive), given.messages))
    calls = counting.asked / given.steps
    cost = statistics.median(point) + calls * statistics.median(progress)
    figures = {
        "cpu_ms_a_step": 1e3 * statistics.median(step),
        "cpu_us_a_point": 1e6 * statistics.median(point),
        "cpu_us_a_sign_of_life": 1e6 * statistics.median(progress),
        "signs_of_life_a_step": calls,
        "share_of_a_step": cost / statistics.median(step),
        "target_share": 0.01,
        "load_average": os.getloadavg()[0],
    }
    print(json.dumps(figures))


if __name__ == "__main__":
    main()
