"""Training on a GPU: hlbq's fast path against recipe 0.4.1 as it is usually written (plain_recipe.py).

    python -m benchmarks.train_gpu step            50 steps at lengths 32, 256 and 1024: train_step_L*
    python -m benchmarks.train_gpu run             the default run of 1,000 steps, both ways: train_run_1000
    python -m benchmarks.train_gpu parity          10 seeds, fast and plain path of hlbq itself: train_parity

Needs only torch and numpy. Text: the source code of Python's standard library, words by rank, as many as the default
vocabulary holds; `--tokens FILE.npy` takes your own (uint16, GPT-2's vocabulary). `--small` is a model for a CPU, to
test the benchmark. The sides take turns; medians are compared, and ratio = plain / fast, so above 1 hlbq is faster.

Each row is printed once measured, and kept with the device's name in benchmarks/results/ (or `--output`), so you can
stop early. A row that fails says why; the others go on. Exit code 1: one failed.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import numpy as np
import torch

from benchmarks.gpu_rows import Row, fast_run_row, parity_rows, plain_run_row, run_medians, step_row
from benchmarks.gpu_sides import text_tokens
from benchmarks.plain_recipe import DEMO
from hlbgpt_core import scale
from hlbgpt_core.device import driver_version
from hlbgpt_core.settings import Settings

RESULTS = Path(__file__).parent / "results"
# Of a round; the cold one finds an empty folder of compiled code, the cached one finds the cold one's code.
FIRST_ROUND = ("plain", "auto", "always (cold)", "always (cached)")
LATER_ROUNDS = ("plain", "auto", "always (cached)")


def rows_of_steps(options: argparse.Namespace) -> Iterator[Row]:
    """One row per length, each in a separate process: a GPU fault ends only one of them."""
    for length in options.lengths:
        name = f"train_step_L{length}"
        yield {"name": name, **in_a_process(options, "step", "--lengths", str(length), "--rounds", str(options.rounds))}


def rows_of_runs(options: argparse.Namespace) -> Iterator[Row]:
    """Whole runs, each in a separate process, in turns; then their medians so far."""
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch:
        for number in range(1, options.rounds + 1):
            for name in FIRST_ROUND if number == 1 else LATER_ROUNDS:
                kind = name.partition(" ")[0]
                folder = Path(scratch) / ("always" if kind == "always" else f"{kind}-{number}")
                found = in_a_process(options, kind, "--folder", str(folder), "--seed", str(number))
                rows.append({"name": name, "round": number, **found})
                yield rows[-1]
            yield run_medians(rows)


def in_a_process(options: argparse.Namespace, kind: str, *more: str) -> Row:
    """What `one --kind` measured in a separate process, or the error that ended it."""
    command = [sys.executable, "-m", "benchmarks.train_gpu", "one", "--kind", kind, "--device", options.device]
    command += ["--steps", str(options.steps), "--tokens", str(options.tokens), *more]
    command += ["--small"] if options.small else []
    done = subprocess.run(command, capture_output=True, text=True)
    sys.stderr.write(done.stderr)
    if done.returncode == 0:
        found: Row = json.loads(done.stdout.splitlines()[-1])
        return found
    last = next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "")
    return {"error": last or f"ended with {done.returncode}"}


def one(options: argparse.Namespace, settings: Settings, tokens: np.ndarray) -> Row:
    """One row, of this process."""
    device = torch.device(options.device)
    if options.kind == "step":
        (length,) = options.lengths
        return step_row(settings, tokens, device, length=length, steps=options.steps, rounds=options.rounds)
    if options.kind == "plain":
        return plain_run_row(settings, tokens, device, steps=options.steps)
    return fast_run_row(
        settings,
        tokens,
        device,
        steps=options.steps,
        seed=options.seed,
        mode=options.kind,
        folder=options.folder or Path(tempfile.mkdtemp()),
    )


def rows_of_parity(options: argparse.Namespace, settings: Settings, tokens: np.ndarray) -> Iterator[Row]:
    """The interval after each seed; the last is the result."""
    try:
        yield from parity_rows(settings, tokens, torch.device(options.device), steps=options.steps, seeds=options.seeds)
    except Exception as error:  # earlier measurements stay
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        yield {"name": "train_parity", "error": f"{type(error).__name__}: {error}"}


def about(device: torch.device) -> Row:
    """The machine, by the device's name; no host's name."""
    libraries = {}
    for name in ("numpy", "triton"):
        try:
            libraries[name] = version(name)
        except PackageNotFoundError:
            libraries[name] = "missing"
    found: Row = {"device": "CPU", "python": platform.python_version(), "torch": str(torch.__version__), **libraries}
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        found |= {"device": properties.name, "device_memory_bytes": properties.total_memory}
        found |= {"cuda": torch.version.cuda, "driver": driver_version()}
    return found


def keep(path: Path, what: str, rows: Sequence[Row], machine: Row) -> None:
    """Put the rows in the file of this device's figures, replacing earlier ones of the same kind."""
    figures = json.loads(path.read_text())["figures"] if path.exists() else {}
    measured = datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes")
    # The rows name the machine too: the file may come from several days, and so from several versions.
    figures[what] = {"measured": measured, "load": os.getloadavg()[0], "machine": machine, "rows": rows}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "figures": figures}, indent=1) + "\n")


def line_of(row: Row) -> str:
    """A row for people; its lists are for the file."""
    shown = {key: value for key, value in row.items() if not isinstance(value, dict | list) and value is not None}
    return ", ".join(
        f"{key} {value:.4g}" if isinstance(value, float) else f"{key} {value}" for key, value in shown.items()
    )


def options_of(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("step", "run", "parity", "one"), help="one: a single row, for the others")
    parser.add_argument("--device", default="cuda:0" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--small", action="store_true", help="a model for a CPU")
    parser.add_argument("--tokens", type=Path, help="token values, .npy")
    parser.add_argument("--steps", type=int, help="steps a round, or of a run (default: 50, 1000)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seeds", type=int, default=10, choices=range(2, 11), metavar="2..10")
    parser.add_argument("--lengths", type=int, nargs="+", default=[32, 256, 1024])
    parser.add_argument("--kind", default="auto", help="of `one`: step, plain, never, always, auto")
    parser.add_argument("--folder", type=Path, help="of `one`: where compiled code lies")
    parser.add_argument("--seed", type=int, default=1, help="of `one`")
    parser.add_argument(
        "--output", type=Path, help="the JSON file of the rows (default: results/<device>.json on a GPU)"
    )
    options = parser.parse_args(arguments)
    options.steps = options.steps or (50 if options.what == "step" else 1000)
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; print a line a row, then all as JSON. Returns the exit code."""
    options = options_of(arguments)
    device = torch.device(options.device)
    if device.type == "cpu":
        torch.set_num_threads(1)
    settings = scale.resolve(Settings.from_dict(DEMO if options.small else {}))
    tokens = text_tokens(options.tokens, small=options.small)
    if options.what == "one":
        print(json.dumps(one(options, settings, tokens)))
        return 0
    machine, rows = about(device), []
    slug = str(machine["device"]).lower().replace(" ", "-")
    output = options.output or (RESULTS / f"{slug}.json" if device.type == "cuda" and not options.small else None)
    with tempfile.TemporaryDirectory() as scratch:
        if options.tokens is None:  # later processes need not encode it again
            options.tokens = Path(scratch) / "tokens.npy"
            np.save(options.tokens, tokens)
        measured = {
            "step": lambda: rows_of_steps(options),
            "run": lambda: rows_of_runs(options),
            "parity": lambda: rows_of_parity(options, settings, tokens),
        }[options.what]
        for row in measured():
            rows.append(row)
            print(line_of(row), flush=True)
            if output is not None:
                keep(output, options.what, rows, machine)
    print(json.dumps({**machine, "small": options.small, "rows": rows}))
    return int(any("error" in row for row in rows))


if __name__ == "__main__":
    sys.exit(main())
