"""`hlbq plot` of 100 runs x 1,000 points against matplotlib alone drawing the same lines from arrays.

    python -m benchmarks.plots [--runs 100] [--points 1000] [--repeat 5]

Whole processes, in turns; the smallest CPU time of the repetitions counts. hlbq's side is the whole command: its start,
reading the database, the means over seeds, the figure. matplotlib's side is its import, the same lines and bands from
arrays, and writing the file. Both draw ten arms of ten seeds: "bands" has a mean and a band per arm, "seeds" also a
thin line per run.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy

from benchmarks.sample_database import ARMS, make_database

# As in matplotlib's documentation for figures without a display, with a legend and labels like ours.
MATPLOTLIB = """
import sys
import numpy
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
arrays = numpy.load(sys.argv[1])
figure = Figure(figsize=(6.4, 4.0), layout="constrained")
FigureCanvasAgg(figure)
axes = figure.add_subplot()
x = arrays["x"]
for arm, runs in enumerate(arrays["y"]):
    if sys.argv[3] == "seeds":
        for run in runs:
            axes.plot(x, run, linewidth=0.7, alpha=0.45)
    else:
        axes.fill_between(x, runs.min(axis=0), runs.max(axis=0), alpha=0.22, linewidth=0)
    axes.plot(x, runs.mean(axis=0), linewidth=1.7, label=f"arm {arm}")
axes.set_xlabel("training tokens")
axes.set_ylabel("training loss (nats per token)")
axes.grid(True)
axes.legend()
figure.savefig(sys.argv[2], dpi=160)
"""
HLBQ = "import sys; from orchestrator.cli.main import run_program; sys.exit(run_program(sys.argv[1:]))"


def cpu_seconds(*arguments: str) -> float:
    """User and system time of a fresh Python with these arguments."""
    process = subprocess.Popen([sys.executable, "-c", *arguments], stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, arguments
    return used.ru_utime + used.ru_stime


def example_arrays(path: Path, *, runs: int, points: int) -> Path:
    """Curves of as many runs and points as the database has, by arm."""
    generator = numpy.random.default_rng(0)
    x = 65536.0 * numpy.arange(1, points + 1)
    noise = generator.normal(0, 0.05, (len(ARMS), runs // len(ARMS), points))
    numpy.savez(path, x=x, y=3 + 6 / (1 + numpy.arange(points) / 50) + noise)
    return path


def main() -> None:
    """Make the database and the arrays, measure in turns, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=5)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        # Nine points in ten are of the train split.
        database = make_database(folder / "hlbq.db", runs=given.runs, points_per_run=-(-given.points * 10 // 9))
        arrays = example_arrays(folder / "arrays.npz", runs=given.runs, points=given.points)
        figure = str(folder / "figure.png")
        plot = [HLBQ, "plot", figure, "--db", str(database), "--metric", "train_loss", "--band"]
        print(f"{given.runs:,} runs x {given.points:,} points, CPU seconds of whole processes, best of {given.repeat}")
        print(f"{'':8}{'matplotlib':>12}{'hlbq plot':>12}{'ratio':>8}")
        for kind, band in (("bands", "range"), ("seeds", "seeds")):
            alone, ours = [], []
            for _ in range(given.repeat):
                alone.append(cpu_seconds(MATPLOTLIB, str(arrays), figure, kind))
                ours.append(cpu_seconds(*plot, band))
            print(f"{kind:8}{min(alone):12.2f}{min(ours):12.2f}{min(ours) / min(alone):8.2f}")


if __name__ == "__main__":
    main()
