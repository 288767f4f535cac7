"""From `hlbq run` to the first optimizer step, against `import torch` alone: `python -m benchmarks.cold_start`.

A new process and a new database, with a filled token cache (a dataset is encoded once per machine). The clock stops
when the run of one step is recorded as finished. That includes its evaluation of 256 tokens and its commit, so the
first step itself is earlier. Later runs of the sweep follow in the warm trainer and are measured from their claims.
"""

import argparse
import sqlite3
import statistics
import sys
import tempfile
import time
from pathlib import Path

from benchmarks.measuring import compiled_environment, process, report

RUN = (
    "--dataset pystdlib --tokenizer bytes --depth 2 --width 128 --num_heads 1 --max_sequence_length 256 "
    "--gpu_capacity_scalar 0.02 --max_microbatches 1 --num_eval_tokens 256 --max_steps 1 --num_runs 3 --device cpu"
).split()


def run_sweep(folder: Path, environment: dict[str, str]) -> tuple[float, float]:
    """Seconds to the first run's end from the start of `hlbq run`, and the median from claim to end of later runs."""
    for file in folder.glob("hlbq.db*"):
        if file.is_file():
            file.unlink()
    # The clock that the store stamps ends with.
    start = time.time()
    command = [sys.executable, "-P", "-m", "orchestrator.cli.main", "run", *RUN]
    process(command, environment=environment, folder=folder)
    with sqlite3.connect(folder / "hlbq.db") as connection:
        rows = connection.execute("SELECT started_at, ended_at FROM attempts ORDER BY id").fetchall()
    connection.close()
    return rows[0][1] - start, statistics.median(end - begin for begin, end in rows[1:])


def main() -> None:
    """Print the medians and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    given = parser.parse_args()
    torch_alone, first, second = [], [], []
    with compiled_environment() as environment, tempfile.TemporaryDirectory() as name:
        for number in range(given.rounds + 1):
            alone = process([sys.executable, "-c", "import torch"], environment=environment).wall
            ours, warm = run_sweep(Path(name), environment)
            if number:  # the first round compiles Python's files and encodes the text
                torch_alone.append(alone)
                first.append(ours)
                second.append(warm)
    baseline, cold, warm = (statistics.median(values) for values in (torch_alone, first, second))
    print(f"import torch alone {baseline:.2f} s; hlbq run to the end of a first run of one step {cold:.2f} s")
    print(f"ratio {cold / baseline:.2f} (target 1.3); by the fastest of each {min(first) / min(torch_alone):.2f}")
    print(f"next run of the same shape, claim to recorded end: {warm:.2f} s (target 1 s)")
    report(
        "cold_start",
        {
            "import_torch_seconds": torch_alone,
            "first_run_seconds": first,
            "next_run_seconds": second,
            "ratio": cold / baseline,
            "ratio_of_fastest": min(first) / min(torch_alone),
            "target_ratio": 1.3,
            "target_next_run_seconds": 1.0,
        },
        ("hlbq", "torch", "typer", "sqlalchemy"),
    )


if __name__ == "__main__":
    main()
