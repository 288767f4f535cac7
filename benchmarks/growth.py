"""What every command costs as the database grows: CPU seconds and peak memory, and the exponent of their growth.

    python -m benchmarks.growth [--runs 1000 10000 100000] [--open_sweeps 1000] [--keep FOLDER]

Each command is one whole process on a database of one sweep of so many runs (50 seeds an arm, 20 points a run). The
last row is `status` beside many open sweeps. The exponent is that of the last two sizes, without the start of the
program: 1 is linear. docs/performance.md shows the table.
"""

import argparse
import math
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measuring import compiled_environment, report

# What is typed after `hlbq`; {db} and {out} are paths without an ending.
COMMANDS = {
    "status": "status",
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
    "report": "report 1 {out}.html",
    "show": "show --sweep 1",
}
START = "doctor --help"


@dataclass(frozen=True, kw_only=True)
class Cost:
    """CPU seconds of a process, and the most memory that it held, in MB."""

    cpu: float
    megabytes: float


def cost(words: Sequence[str], environment: dict[str, str], limit_seconds: float = 600) -> Cost | None:
    """What `hlbq` with these words costs; None if it failed or took too long."""
    command = [sys.executable, "-m", "orchestrator.cli.main", *words]
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, env=environment)
    timer = threading.Timer(limit_seconds, child.kill)
    timer.start()
    said = child.stderr.read() if child.stderr else ""
    _, status, used = os.wait4(child.pid, 0)
    timer.cancel()
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        print(f"  {' '.join(words)}: {said.strip()[-300:]}", file=sys.stderr)
        return None
    return Cost(cpu=used.ru_utime + used.ru_stime, megabytes=used.ru_maxrss / 1024)


def exponent(sizes: Sequence[int], costs: Sequence[Cost | None], start: float) -> float | None:
    """How CPU seconds without those of the start grow from the last but one size to the last."""
    known = [(size, one.cpu - start) for size, one in zip(sizes, costs, strict=True) if one and one.cpu > 1.5 * start]
    if len(known) < 2:
        return None
    (small, before), (large, after) = known[-2:]
    return math.log(after / before) / math.log(large / small)


def measure(databases: dict[int, Path], names: Sequence[str], environment: dict[str, str], folder: Path) -> list[str]:
    """The table's rows, each printed as soon as it is known."""
    first = cost(START.split(), environment)
    start = first.cpu if first else 0.0
    rows = [f"| command | {' | '.join(f'{size:,} runs' for size in databases)} | exponent |"]
    rows.append("|" + "---|" * (len(databases) + 2))
    print(*rows, sep="\n", flush=True)
    for name in names:
        costs = [
            cost([*COMMANDS[name].format(out=folder / "out").split(), "--db", str(path)], environment)
            for path in databases.values()
        ]
        grows = exponent([*databases], costs, start)
        cells = ["failed" if one is None else f"{one.cpu:.2f} s, {one.megabytes:.0f} MB" for one in costs]
        rows.append(f"| `{name}` | {' | '.join(cells)} | {'' if grows is None else f'{grows:.2f}'} |")
        print(rows[-1], flush=True)
    return rows


def main() -> None:
    """Make the databases, measure, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    parser.add_argument("--open_sweeps", type=int, default=1_000)
    parser.add_argument("--commands", nargs="+", choices=[*COMMANDS], default=[*COMMANDS])
    parser.add_argument("--keep", type=Path, help="a folder for the databases; those that are there are used again")
    given = parser.parse_args()
    with compiled_environment() as environment, tempfile.TemporaryDirectory() as scratch:
        folder = given.keep or Path(scratch)
        folder.mkdir(exist_ok=True)
        many = folder / f"{given.open_sweeps}_open_sweeps.db"
        shapes = {folder / f"{runs}.db": f"--runs {runs}" for runs in given.runs}
        runs = f"--runs {100 * given.open_sweeps} --sweeps {given.open_sweeps}"
        shapes[many] = f"{runs} --points 0 --seeds 10 --finished 0.5"
        for path, shape in shapes.items():
            if not path.exists():
                # In a process of its own: the memory of this one counts as held by its children at their start.
                making = [sys.executable, "-m", "benchmarks.growing_database", str(path), *shape.split()]
                subprocess.run(making, check=True)
        databases = {runs: folder / f"{runs}.db" for runs in given.runs}
        rows = measure(databases, given.commands, environment, Path(scratch))
        found = cost(["status", "--db", str(many)], environment)
        if found:
            rows.append(f"status, {given.open_sweeps:,} open sweeps: {found.cpu:.2f} s, {found.megabytes:.0f} MB")
            print(rows[-1])
    report("growth", {"table": rows}, ("hlbq", "sqlalchemy", "matplotlib"))


if __name__ == "__main__":
    main()
