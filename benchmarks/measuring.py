"""What the benchmarks share: turns, medians, whole processes, and the last line that a program reads.

The two sides of a comparison run in turns (A, B, A, B), so other load on the machine affects both.
"""

import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Spent:
    """Wall-clock seconds, and CPU seconds (of all threads, and of children that have ended)."""

    wall: float
    cpu: float


def in_turns(sides: Mapping[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """What each side measured, round by round."""
    found: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            found[name].append(side())
    return found


def medians(found: Mapping[str, Sequence[float]]) -> dict[str, float]:
    """The median of each side."""
    return {name: statistics.median(values) for name, values in found.items()}


def started() -> Callable[[], Spent]:
    """Start the clocks of this process; call the result to stop them."""
    wall, cpu = time.perf_counter(), time.process_time()
    return lambda: Spent(wall=time.perf_counter() - wall, cpu=time.process_time() - cpu)


def process(
    command: Sequence[str], *, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> Spent:
    """What a process costs from its start to its end. Raises CalledProcessError if it fails."""
    before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        print(done.stdout[-2000:], done.stderr[-2000:], sep="\n", file=sys.stderr)
        done.check_returncode()
    return Spent(wall=wall, cpu=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


@contextmanager
def compiled_environment() -> Iterator[dict[str, str]]:
    """An environment in which Python keeps compiled files, as on a user's machine, in a separate folder.

    The first process of each kind compiles, so run one of each before the clock starts.
    """
    with tempfile.TemporaryDirectory() as folder:
        kept = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
        yield {**kept, "PYTHONPYCACHEPREFIX": folder, "OMP_NUM_THREADS": "1"}


def report(name: str, figures: Mapping[str, object], libraries: Sequence[str] = ()) -> None:
    """The last line of a benchmark: its figures as JSON, with the load and the versions."""
    line = {"benchmark": name, **figures, "load_average": os.getloadavg()[0], "versions": versions(libraries)}
    print(json.dumps(line))


def versions(libraries: Sequence[str]) -> dict[str, str]:
    """The installed versions; "missing" if there is none."""
    found = {}
    for library in libraries:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = "missing"
    return found
