"""`hlbq status` on a sweep of 100,000 runs against a script that imports typer and sqlalchemy and counts once.

    python -m benchmarks.status

Whole processes, in turns; the smallest CPU time counts, of the process and its children.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.sample_database import make_database

BASELINE = """
import sys, typer, sqlalchemy
with sqlalchemy.create_engine("sqlite:///" + sys.argv[1]).connect() as connection:
    counted = connection.execute(sqlalchemy.text("SELECT state, count(*) FROM runs GROUP BY state"))
    print(*(f"{state}: {number}" for state, number in counted))
"""
STATUS = """
import sys
sys.argv = ["hlbq", "status", "--db", sys.argv[1]]
from orchestrator.cli.main import main
main()
"""


def main() -> None:
    """Make the database, measure both in turns, print the ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100_000)
    parser.add_argument("--repeat", type=int, default=15)
    given = parser.parse_args()
    measured: dict[str, list[float]] = {BASELINE: [], STATUS: []}
    with tempfile.TemporaryDirectory() as folder:
        database = make_database(Path(folder) / "hlbq.db", runs=given.runs, points_per_run=0, finished=False)
        for _ in range(given.repeat):
            for code, seconds in measured.items():
                seconds.append(cpu_seconds(code, database))
    baseline, status = min(measured[BASELINE]), min(measured[STATUS])
    print(f"{given.runs:,} runs, best of {given.repeat}")
    print(f"typer, sqlalchemy, one count: {baseline:.3f} s")
    print(f"hlbq status:                  {status:.3f} s   ratio {status / baseline:.2f}")


def cpu_seconds(code: str, database: Path) -> float:
    """CPU time of a fresh process that runs `code`."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-c", code, str(database)], check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


if __name__ == "__main__":
    main()
