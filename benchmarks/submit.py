"""Submit of 100,000 runs against the same rows in one raw sqlite3 transaction: `python -m benchmarks.submit`.

Both write 20,000 arms and 100,000 runs into the same schema with synchronous FULL, in turns, each into a new
database; the medians and their ratio are printed. The raw rows are made before its clock starts.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

from hlbgpt_core.settings import Settings
from orchestrator.records import NewArm, NewRun, NewSweep
from orchestrator.store import OpenMode, open_store
from orchestrator.store.engine import sqlite_module

_IS_WRITTEN = "SELECT 1 FROM {1} WHERE {0} IS NOT {2} LIMIT 1"
Rows = dict[str, tuple[list[str], list[tuple[Any, ...]]]]


def make_sweep(arms: int, seeds: int) -> NewSweep:
    """Arms that differ in one setting, with the same seeds."""
    made = []
    for number in range(arms):
        settings = Settings.from_dict({"depth": 4, "width": 192, "lr_mult": 1 + number / arms})
        made.append(NewArm(key=settings.key(), settings=settings.to_dict(), num_params=1, num_non_embedding_params=1))
    runs = [NewRun(arm=arm, run_num=num, seed=99 + num) for num in range(1, seeds + 1) for arm in range(arms)]
    return NewSweep(arms=made, runs=runs)


def time_submit(path: Path, sweep: NewSweep) -> float:
    """Seconds that the store takes."""
    with open_store(str(path), mode=OpenMode.CREATE) as store:
        start = time.perf_counter()
        store.submit(sweep)
        return time.perf_counter() - start


def read_rows(path: Path) -> Rows:
    """All that the submit wrote, by table; columns that only hold their default are left to the database."""
    connection = sqlite_module().connect(path)
    rows: Rows = {}
    for table in ("sweeps", "arms", "runs", "events"):
        described = connection.execute(f"PRAGMA table_info({table})").fetchall()
        written = [
            name
            for _, name, _, _, default, is_key in described
            if not is_key and connection.execute(_IS_WRITTEN.format(name, table, default or "NULL")).fetchone()
        ]
        rows[table] = (written, connection.execute(f"SELECT {', '.join(written)} FROM {table}").fetchall())
    connection.close()
    return rows


def time_raw(path: Path, rows: Rows) -> float:
    """Seconds that the driver takes for the same rows in one transaction."""
    open_store(str(path), mode=OpenMode.CREATE).close()
    connection = sqlite_module().connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    start = time.perf_counter()
    connection.execute("BEGIN IMMEDIATE")
    for table, (columns, values) in rows.items():
        marks = ", ".join("?" * len(columns))
        connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", values)
    connection.execute("COMMIT")
    seconds = time.perf_counter() - start
    connection.close()
    return seconds


def main() -> None:
    """Print the medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--arms", type=int, default=20_000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    sweep = make_sweep(asked.arms, asked.seeds)
    ours, raw = [], []
    with tempfile.TemporaryDirectory() as folder:
        for number in range(asked.rounds):
            path = Path(folder) / f"{number}.db"
            ours.append(time_submit(path, sweep))
            raw.append(time_raw(path.with_suffix(".raw.db"), read_rows(path)))
    print(f"{len(sweep.runs)} runs of {asked.arms} arms, medians of {asked.rounds}:")
    print(f"  hlbq {statistics.median(ours):.2f} s, raw sqlite3 {statistics.median(raw):.2f} s")
    print(f"  ratio {statistics.median(ours) / statistics.median(raw):.2f}")


if __name__ == "__main__":
    main()
