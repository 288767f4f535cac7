"""`hlbq submit` of 10,000 and 100,000 runs, the whole command, against the same rows in one raw sqlite3 transaction:

    python -m benchmarks.submit [--runs 10000 100000]

Five seeds an arm; both write the same rows into the same schema with synchronous FULL, in turns, each into a new
database; medians. The command's time is that of its process, from start to end: it starts Python, plans, checks and
commits. The raw side prepares its rows and starts its process before its clock starts. `start_up`, the same command for
one run, shows what the command needs for that. The store's transaction is also timed alone.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measuring import Spent, compiled_environment, medians, process, report, started
from hlbgpt_core.settings import Settings
from orchestrator.queue.sweeps import EverySeed, NewArm, NewRun, NewSweep
from orchestrator.store import OpenMode, open_store
from orchestrator.store.opening.engine import sqlite_module

SEEDS = 5
TARGET = 1.5
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


def time_command(path: Path, arms: int, environment: dict[str, str]) -> Spent:
    """What `hlbq submit` costs, its process's start and end included: arms are the product of two settings."""
    rows = next(count for count in range(int(arms**0.5), 0, -1) if arms % count == 0)
    command = [sys.executable, "-P", "-m", "orchestrator.cli.main", "submit", "--db", str(path)]
    command += ["--dataset", "pystdlib", "--tokenizer", "bytes", "--num_runs", str(SEEDS)]
    command += ["--lr_mult", *(f"{1 + number / rows:.6f}" for number in range(rows))]
    command += ["--weight_decay", *(f"{1 + number / arms:.6f}" for number in range(arms // rows))]
    return process(command, environment=environment)


def time_store(path: Path, arms: int) -> Spent:
    """The cost of the store's transaction alone, for runs that are planned already."""
    sweep = make_sweep(arms, SEEDS)
    planned = NewSweep(arms=sweep.arms, runs=EverySeed(arms=arms, first_seed=100, num_runs=SEEDS))
    with open_store(str(path), mode=OpenMode.CREATE) as store:
        stop = started()
        store.submit(planned)
        return stop()


def read_rows(path: Path) -> Rows:
    """All that the submit wrote, by table; the database fills columns that only hold their default."""
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


def time_raw(path: Path, rows: Rows) -> Spent:
    """What the driver takes for the same rows in one transaction."""
    open_store(str(path), mode=OpenMode.CREATE).close()
    connection = sqlite_module().connect(path, isolation_level=None)
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")
    stop = started()
    connection.execute("BEGIN IMMEDIATE")
    for table, (columns, values) in rows.items():
        marks = ", ".join("?" * len(columns))
        connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", values)
    connection.execute("COMMIT")
    spent = stop()
    connection.close()
    return spent


def measure(arms: int, rounds: int, environment: dict[str, str]) -> dict[str, list[Spent]]:
    """What the sides cost, in turns."""
    found: dict[str, list[Spent]] = {"command": [], "store": [], "raw": [], "start_up": []}
    with tempfile.TemporaryDirectory() as folder:
        time_command(Path(folder) / "first.db", 1, environment)  # Python's files are compiled
        for number in range(rounds):
            path = Path(folder) / f"{number}.db"
            found["command"].append(time_command(path, arms, environment))
            found["raw"].append(time_raw(path.with_suffix(".raw.db"), read_rows(path)))
            found["store"].append(time_store(path.with_suffix(".store.db"), arms))
            found["start_up"].append(time_command(path.with_suffix(".one.db"), 1, environment))
    return found


def told(runs: int, clock: str, seconds: dict[str, float]) -> dict[str, float]:
    """Print the medians by one clock; returns their ratios to raw."""
    raw = seconds["raw"]
    ratios = {
        "command": seconds["command"] / raw,
        "command_without_start": (seconds["command"] - seconds["start_up"]) / raw,
        "store": seconds["store"] / raw,
    }
    print(
        f"{runs} runs, {clock}: command {seconds['command']:.2f} s ({seconds['start_up']:.2f} s of it for one run), "
        f"store {seconds['store']:.2f} s, raw {raw:.2f} s; to raw: command {ratios['command']:.2f} (target {TARGET}), "
        f"without its start {ratios['command_without_start']:.2f}, the store's transaction {ratios['store']:.2f}",
        flush=True,
    )
    return ratios


def main() -> None:
    """Print the medians and their ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[10_000, 100_000])
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    figures: dict[str, Any] = {}
    with compiled_environment() as environment:
        for runs in asked.runs:
            load = os.getloadavg()[0]
            found = measure(runs // SEEDS, asked.rounds, environment)
            figures[f"submit_{runs}"] = {"load_before": load}
            for clock in ("wall", "cpu"):
                seconds = {side: [getattr(one, clock) for one in spent] for side, spent in found.items()}
                figures[f"submit_{runs}"][clock] = {"seconds": seconds, "ratios": told(runs, clock, medians(seconds))}
    report("submit", figures, ("hlbq", "sqlalchemy", "typer", "pysqlite3"))


if __name__ == "__main__":
    main()
