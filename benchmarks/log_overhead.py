"""What recording ten metrics a step costs: `python -m benchmarks.log_overhead [--steps 500] [--rounds 3]`.

Against logging off, Trackio, W&B offline and MLflow (see peer_loggers.py for their set-up). The loop's steps sleep for
20 ms. The figures of a step are how long the training thread waits in the call, its CPU time there, and the CPU time of
all recording, in any process: hlbq's side is the trainer's reporter, with a real supervisor's writer behind the pipe.
All sides make their numbers within the call; `off` only makes them.
"""

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.measuring import report
from benchmarks.peers import MISSING, ask_peer
from benchmarks.step_loop import STEP_SECONDS, measure
from benchmarks.submit import make_sweep
from hlbgpt_core.points import Point, Split
from orchestrator.queue.workers import WorkerIdentity
from orchestrator.store import OpenMode, open_store
from worker.attempt import Attempt
from worker.timing import Timing
from worker.trainer.messages import Start, decode
from worker.trainer.pipe_reporter import Control, Outbox, PipeReporter

PEERS = ("off", "trackio", "wandb", "mlflow")
FIGURES = ("wait_us_median", "thread_cpu_us_median", "wait_us_mean", "cpu_us")
TARGET_SHARE, TARGET_TRACKIO = 0.001, 0.3


def receive(database: str) -> None:
    """What a supervisor does with points: read the pipe, write to the database every two seconds, to its end."""
    with open_store(database, mode=OpenMode.WRITE) as store:
        who = WorkerIdentity(host="here", hostname="here", pid=1, start_ticks=1, device="cpu")
        claim = store.claim(store.register_worker(who, lease_seconds=60))
        assert claim is not None
        folder = Path(database).parent
        attempt = Attempt(claim, store=store, state_folder=folder, timing=Timing(), clock=time.monotonic)
        print("ready", flush=True)
        begun = time.process_time()
        for line in sys.stdin.buffer:
            attempt.take(decode(line))
            if attempt.flush_due_in() == 0:
                attempt.write()
        attempt.write()
        print(time.process_time() - begun)


def hlbq_side(folder: Path, steps: int) -> dict[str, float]:
    """The reporter of a trainer process, with its own receiver."""
    database = folder / "hlbq.db"
    with open_store(str(database), mode=OpenMode.CREATE) as store:
        store.submit(make_sweep(1, 1))
    command = [sys.executable, "-m", "benchmarks.log_overhead", "--receive", str(database)]
    receiver = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert receiver.stdin is not None and receiver.stdout is not None
    receiver.stdout.readline()
    outbox = Outbox(receiver.stdin)
    start = Start(
        run_id=1, fence=1, uid="r", settings={}, seed=1, log_path="", state_folder="", checkpoint_every_seconds=1e9
    )
    reporter = PipeReporter(start, outbox, Control(), {})

    def finish() -> float:
        outbox.close()
        return float(receiver.communicate()[0])

    return dict(measure(lambda step: reporter.point(point_of(step)), finish, steps))


def point_of(step: int) -> Point:
    """A train point; its standard metrics are ten and more."""
    return Point(
        split=Split.TRAIN,
        step=step,
        loss=3.0 + 1 / step,
        acc=0.3,
        pplx=20.0,
        cumulative_time=0.02 * step,
        tokens_seen=1024 * step,
        epoch=0.001 * step,
        batch_size=4,
        seq_length=256,
        lr=0.001,
        weight_decay=0.1,
        grad_norm=1.0,
        microbatches=1,
    )


def run_side(side: str, folder: Path, steps: int) -> dict[str, Any]:
    """One side, in separate processes."""
    if side != "hlbq":
        return ask_peer("peer_loggers", side, str(folder), "--steps", str(steps))
    command = [sys.executable, "-m", "benchmarks.log_overhead", "--side", str(folder), "--steps", str(steps)]
    found: dict[str, Any] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
    return found


def compare(steps: int, rounds: int) -> dict[str, Any]:
    """All sides in turns; medians over the rounds."""
    found: dict[str, list[dict[str, Any]]] = {side: [] for side in ("hlbq", *PEERS)}
    for _ in range(rounds):
        for side, measured in found.items():
            if measured and MISSING in measured[0]:
                continue
            with tempfile.TemporaryDirectory() as folder:
                measured.append(run_side(side, Path(folder), steps))
    figures: dict[str, Any] = {}
    for side, measured in found.items():
        if MISSING in measured[0]:
            figures[side] = measured[0]
            continue
        figures[side] = {name: statistics.median(one[name] for one in measured) for name in FIGURES}
        figures[side]["version"] = measured[0].get("version", "")
    return figures


def main() -> None:
    """Print a line for each side, and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--receive", help=argparse.SUPPRESS)
    parser.add_argument("--side", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.receive:
        receive(given.receive)
        return
    if given.side:
        print(json.dumps(hlbq_side(given.side, given.steps)))
        return
    figures = compare(given.steps, given.rounds)
    for side, found in figures.items():
        if MISSING in found:
            print(f"{side:8} is missing: {found[MISSING]}")
            continue
        print(
            f"{side:8} waits {found['wait_us_median']:7.1f} us a step (mean {found['wait_us_mean']:.1f}), "
            f"{found['thread_cpu_us_median']:.1f} us of CPU in its thread, all CPU {found['cpu_us']:.0f} us a step"
        )
    ours = figures["hlbq"]
    off = 0.0 if MISSING in figures["off"] else figures["off"]["wait_us_median"]
    share = (ours["wait_us_median"] - off) / 1e6 / STEP_SECONDS
    print(
        f"share of a step of 20 ms that training waits, over logging off: {share:.3%} (target under {TARGET_SHARE:.1%})"
    )
    ratios = {}
    if MISSING not in figures["trackio"]:
        off_side = figures["off"]
        ratios = {name: (ours[name] - off_side[name]) / (figures["trackio"][name] - off_side[name]) for name in FIGURES}
        told = ", ".join(f"{name} {ratio:.2f}x" for name, ratio in ratios.items())
        print(f"of what Trackio takes over logging off: {told} (target at most {TARGET_TRACKIO}x)")
    report("log_overhead", {"sides": figures, "share_of_a_step": share, "of_trackio": ratios}, ("hlbq", "sqlalchemy"))


if __name__ == "__main__":
    main()
