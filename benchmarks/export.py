"""Export of 1,000 runs x 1,000 points against a raw cursor-to-csv loop, and against pandas; and its memory.

    python -m benchmarks.export            prints a table of ratios
    python -m benchmarks.export --runs 200 --points 1000
    python -m benchmarks.export --ten_times     also its memory at ten times the runs (minutes, and some 3 GB)

Each measurement runs in a separate process, in turns; the smallest CPU time of the repetitions counts. "points" has one
row per point, as the raw loop; "runs" has one row per run, with a list for each column of its curves.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.sample_database import make_database

MEASURE = """
import resource, sys, time
{setup}
idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.process_time()
{work}
print(time.process_time() - start, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - idle) / 1024)
"""
STORE_SETUP = """
from orchestrator.export.blocks import Layout, Selection
from orchestrator.export.writing import export
from orchestrator.queue.runs import RunFilter
from orchestrator.store import OpenMode, open_store
store = open_store(sys.argv[1], mode=OpenMode.READ)
store.counts(RunFilter())
"""
STORE_WORK = "export(store, sys.argv[2], Selection(runs=RunFilter(), layout=Layout.{layout}))"
VARIANTS = {
    "raw cursor to csv": (
        "import csv, sqlite3; db = sqlite3.connect(sys.argv[1])",
        "writer = csv.writer(open(sys.argv[2], 'w'))\n"
        "for row in db.execute('SELECT * FROM points ORDER BY run_id, split, step'): writer.writerow(row)",
    ),
    "hlbq export, points": (STORE_SETUP, STORE_WORK.format(layout="POINTS")),
    "hlbq export, runs": (STORE_SETUP, STORE_WORK.format(layout="RUNS")),
    "pandas read_sql, to_csv": (
        "import pandas, sqlite3; db = sqlite3.connect(sys.argv[1])",
        "pandas.read_sql('SELECT * FROM points ORDER BY run_id, split, step', db).to_csv(sys.argv[2], index=False)",
    ),
}


def main() -> None:
    """Make the database, measure the variants in turns, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=1000)
    parser.add_argument("--points", type=int, default=1000)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--without-pandas", action="store_true")
    parser.add_argument("--ten_times", action="store_true")
    given = parser.parse_args()
    variants = {name: code for name, code in VARIANTS.items() if not (given.without_pandas and "pandas" in name)}
    with tempfile.TemporaryDirectory() as folder:
        database = make_database(Path(folder) / "hlbq.db", runs=given.runs, points_per_run=given.points)
        measured: dict[str, list[tuple[float, float]]] = {name: [] for name in variants}
        for _ in range(given.repeat):
            for name, code in variants.items():
                measured[name].append(measure(code, database, Path(folder) / "out.csv"))
    raw = min(seconds for seconds, _ in measured["raw cursor to csv"])
    print(f"{given.runs:,} runs x {given.points:,} points, best of {given.repeat}")
    print(f"{'':26}{'seconds':>9}{'ratio':>8}{'MB above idle':>15}")
    for name, results in measured.items():
        seconds, memory = min(results)
        print(f"{name:26}{seconds:9.2f}{seconds / raw:8.2f}{memory:15.1f}")
    if given.ten_times:
        with tempfile.TemporaryDirectory() as folder:
            database = make_database(Path(folder) / "hlbq.db", runs=10 * given.runs, points_per_run=given.points)
            print(f"{10 * given.runs:,} runs x {given.points:,} points, once")
            for name in [name for name in variants if name.startswith("hlbq")]:
                seconds, memory = measure(variants[name], database, Path("/dev/null"))
                print(f"{name:26}{seconds:9.2f}{'':8}{memory:15.1f}")


def measure(code: tuple[str, str], database: Path, out: Path) -> tuple[float, float]:
    """Seconds and megabytes above idle of one variant in a fresh process."""
    setup, work = code
    script = MEASURE.format(setup=setup, work=work)
    done = subprocess.run(
        [sys.executable, "-c", script, str(database), str(out)], capture_output=True, text=True, check=True
    )
    seconds, memory = done.stdout.split()
    return float(seconds), float(memory)


if __name__ == "__main__":
    main()
