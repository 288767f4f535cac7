"""`hlbq status` on 100,000 and 1,000,000 runs against a script that imports typer and sqlalchemy and counts once.

    python -m benchmarks.status [--runs 100000 1000000]

Half of the runs are completed, half are pending. Whole processes, in turns; CPU time, of the process and its children;
medians, and the smallest of each beside them.
"""

import argparse
import os
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measuring import compiled_environment, in_turns, process, report
from benchmarks.sample_database import make_database

TARGET = 1.3
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
    """Make the databases, measure both in turns, print the ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[100_000, 1_000_000])
    parser.add_argument("--rounds", type=int, default=15)
    given = parser.parse_args()
    figures: dict[str, Any] = {}
    with compiled_environment() as environment, tempfile.TemporaryDirectory() as folder:

        def cpu_seconds(code: str, database: Path) -> float:
            return process([sys.executable, "-c", code, str(database)], environment=environment).cpu

        for runs in given.runs:
            path = Path(folder) / f"{runs}.db"
            make_database(path, runs=runs, points_per_run=0, finished=0.5)
            for code in (BASELINE, STATUS):
                cpu_seconds(code, path)  # Python's files are compiled
            load = os.getloadavg()[0]
            found = in_turns(
                {
                    "script": lambda path=path: cpu_seconds(BASELINE, path),
                    "status": lambda path=path: cpu_seconds(STATUS, path),
                },
                given.rounds,
            )
            ratio = statistics.median(found["status"]) / statistics.median(found["script"])
            least = min(found["status"]) / min(found["script"])
            print(
                f"{runs:,} runs: the script {statistics.median(found['script']):.3f} s, hlbq status "
                f"{statistics.median(found['status']):.3f} s, ratio {ratio:.2f}, of the smallest {least:.2f} "
                f"(target {TARGET})"
            )
            figures[f"status_{runs}"] = {"ratio": ratio, "ratio_of_smallest": least, "load_before": load, **found}
    report("status", figures, ("hlbq", "sqlalchemy", "typer", "pysqlite3"))


if __name__ == "__main__":
    main()
