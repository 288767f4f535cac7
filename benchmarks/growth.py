"""What every command costs as the database grows: CPU seconds and peak memory, and the exponent of their growth.

    python -m benchmarks.growth [--runs 1000 10000] [--open_sweeps 100] [--keep FOLDER] [--postgresql]

Each command is one whole process on a database of one sweep of so many runs (50 seeds an arm, 20 points a run). The
last rows are beside many open sweeps of the same arms. The exponent is that of the last two sizes, without the start of
the program: 1 is linear. docs/performance.md shows the table, up to 100,000 runs and 1,000 sweeps. CPU seconds on
PostgreSQL are those of the command alone.
"""

import argparse
import contextlib
import math
import os
import resource
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import compiled_environment, report
from tests.postgresql_server import private_server

# What is typed after `hlbq`; {db} and {out} are paths without an ending.
COMMANDS = {
    "status": "status",
    "show": "show --sweep 1",
    "submit": "submit --depth 2 --width 192 --warmup_steps 100 --lr_mult 1 1.02 1.04 --num_runs 50 --dry_run",
    "extend": "extend 1 --num_runs 51 --dry_run",
    "compare": "compare",
    "compare --all": "compare --all --by depth",
    "compare --best": "compare --by depth --best",
    "plot": "plot {out}.png --facet depth",
    "plot --all": "plot {out}.png --all --facet depth",
    "plot --final": "plot {out}.png --final lr_mult",
    "plot --heatmap": "plot {out}.png --heatmap depth warmup_steps",
    "export": "export {out}.csv",
    "export --all": "export {out}.csv --all",
    "export points": "export {out}.csv --layout points",
    "export points to Parquet": "export {out}.parquet --layout points",
    "report": "report 1 {out}.html",
    "db copy": "db copy {db} {out}.db",
}
BESIDE_MANY_SWEEPS = ("status", "submit")
START = "doctor --help"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """CPU seconds of a process, and the most memory that it held, in MB."""

    cpu: float
    megabytes: float


def cost(words: Sequence[str], environment: dict[str, str], limit_seconds: int = 1_200) -> Cost | None:
    """What `hlbq` with these words costs; None if it failed, or took more CPU seconds than the limit."""
    command = [sys.executable, "-m", "orchestrator.cli.main", *words]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
    resource.prlimit(child.pid, resource.RLIMIT_CPU, (limit_seconds, limit_seconds))
    said = child.stderr.read() if child.stderr else ""
    _, status, used = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        print(f"  {' '.join(words)}: {said.strip()[-300:]}", file=sys.stderr)
        return None
    return Cost(cpu=used.ru_utime + used.ru_stime, megabytes=used.ru_maxrss / 1024)


def cost_on(database: str, name: str, environment: dict[str, str], folder: Path) -> Cost | None:
    """What a command of COMMANDS costs on a database."""
    for old in folder.glob("out*"):
        old.unlink()
    words = COMMANDS[name].format(out=folder / "out", db=database).split()
    return cost(words if database in words else [*words, "--db", database], environment)


def exponent(sizes: Sequence[int], costs: Sequence[Cost | None], start: float) -> float | None:
    """How CPU seconds without those of the start grow from the last but one size to the last."""
    known = [(size, one.cpu - start) for size, one in zip(sizes, costs, strict=True) if one and one.cpu > 1.5 * start]
    if len(known) < 2:
        return None
    (small, before), (large, after) = known[-2:]
    return math.log(after / before) / math.log(large / small)


def measure(databases: dict[int, str], names: Sequence[str], environment: dict[str, str], folder: Path) -> list[str]:
    """The table's rows, each printed as soon as it is known."""
    cost(START.split(), environment)  # Python's files are compiled
    first = cost(START.split(), environment)
    start = first.cpu if first else 0.0
    rows = [f"| command | {' | '.join(f'{size:,} runs' for size in databases)} | exponent |"]
    rows.append("|" + "---|" * (len(databases) + 2))
    print(*rows, sep="\n", flush=True)
    for name in names:
        cost_on(next(iter(databases.values())), name, environment, folder)  # Python's files are compiled
        costs = [cost_on(database, name, environment, folder) for database in databases.values()]
        grows = exponent([*databases], costs, start)
        cells = ["failed" if one is None else f"{one.cpu:.2f} s, {one.megabytes:.0f} MB" for one in costs]
        rows.append(f"| `{name}` | {' | '.join(cells)} | {'' if grows is None else f'{grows:.2f}'} |")
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Make the databases, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[1_000, 10_000])
    parser.add_argument("--open_sweeps", type=int, default=100)
    parser.add_argument("--commands", nargs="+", choices=[*COMMANDS], default=[*COMMANDS])
    parser.add_argument("--keep", type=Path, help="a folder for the databases; those that are there are used again")
    parser.add_argument("--postgresql", action="store_true", help="on a private server instead")
    given = parser.parse_args()
    with contextlib.ExitStack() as stack:
        environment = stack.enter_context(compiled_environment())
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        server = stack.enter_context(private_server(durable=True)) if given.postgresql else None
        folder = given.keep or scratch
        folder.mkdir(exist_ok=True)

        def made(name: str, shape: str) -> str:
            database = str(folder / f"{name}.db") if server is None else server.create_database()
            if server is not None or not Path(database).exists():
                # In a process of its own: the memory of this one counts as held by its children at their start.
                making = [sys.executable, "-m", "benchmarks.growing_database", database, *shape.split()]
                subprocess.run(making, check=True)
            return database

        rows = measure(
            {runs: made(str(runs), f"--runs {runs}") for runs in given.runs}, given.commands, environment, scratch
        )
        shape = f"--runs {100 * given.open_sweeps} --sweeps {given.open_sweeps} --points 0 --seeds 10 --finished 0.5"
        many = made(f"{given.open_sweeps}_open_sweeps", shape) if given.open_sweeps else ""
        for name in BESIDE_MANY_SWEEPS if many else ():
            found = cost_on(many, name, environment, scratch)
            if found:
                rows.append(f"{name}, {given.open_sweeps:,} open sweeps: {found.cpu:.2f} s, {found.megabytes:.0f} MB")
                print(rows[-1])
    report("growth", {"table": rows}, ("hlbq", "sqlalchemy", "matplotlib"))


if __name__ == "__main__":
    main()
