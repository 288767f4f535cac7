"""Run the benchmarks one by one and keep their output: `make bench`.

    python -m benchmarks.all [NAME ...]

Each is a separate module that prints its figures. The results go to benchmarks/results/<machine>.json with versions,
load and date. docs/performance.md explains them.
"""

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"
BENCHMARKS = (
    *("cold_start", "submit", "status", "claims", "log_overhead", "log_fleet", "fleet", "watching"),
    *("export", "plots", "points", "train_step_cpu", "tokenise", "sync", "dashboard", "growth"),
)
LIBRARIES = ("hlbq", "torch", "numpy", "sqlalchemy", "typer", "pysqlite3", "tiktoken")


def machine() -> dict[str, object]:
    """The machine that the figures come from, without its host name."""
    with Path("/proc/cpuinfo").open(encoding="utf-8") as lines:
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")
    return {
        "processor": model or platform.processor(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "libraries": {name: version(name) for name in LIBRARIES},
    }


def _printed(lines: list[str]) -> dict[str, object]:
    """What a benchmark printed: the words for people, and the figures of its last line if that is JSON."""
    try:
        return {"printed": lines[:-1], "figures": json.loads(lines[-1])}
    except (ValueError, IndexError):
        return {"printed": lines}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", choices=[*BENCHMARKS, []], help="which (default: all)")
    parser.add_argument("--output", type=Path, default=RESULTS / f"cpu-{os.cpu_count()}-cores.json")
    parser.add_argument("--options", default="", help="of the benchmark itself, for instance '--rounds 3'")
    given = parser.parse_args()
    earlier = json.loads(given.output.read_text())["figures"] if given.output.exists() else {}
    figures = dict(earlier)
    failed = 0
    for name in given.names or BENCHMARKS:
        print(f"== {name}", flush=True)
        before = os.getloadavg()[0]
        command = [sys.executable, "-m", f"benchmarks.{name}", *given.options.split()]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
        print(done.stdout)
        failed += done.returncode != 0
        figures[name] = {
            "measured": datetime.datetime.now(datetime.UTC).isoformat(timespec="minutes"),
            "load_before": round(before, 2),
            "options": given.options,
            **_printed(done.stdout.splitlines()),
        }
        given.output.parent.mkdir(exist_ok=True)
        given.output.write_text(json.dumps({"machine": machine(), "figures": figures}, indent=1) + "\n")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main())
