"""The fault suite: `python -m tests.faults.suite [--quick] [--only NAME] [--scale SHARE]`.

Hurts real workers in every way that docs/reliability.md lists, prints the figures, writes them there, and exits with
1 if any of them breaks the promise.
"""

import argparse
import contextlib
import os
import platform
import shlex
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from orchestrator.store.engine import sqlite_module
from tests.faults.harness import QUICK_SCALE, ROOT, Ground
from tests.faults.report import FaultRow, table
from tests.postgresql_server import NoServerError, private_server
from worker.devices.devices import cpu_device

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- figures: begin -->", "<!-- figures: end -->"
# In the order of the published table; the longest begin first.
FAULTS = (
    "sigkill",
    "no_fence",
    "sigstop",
    "locked",
    "disk_full",
    "wall_clock",
    "claimers",
    "corruption",
    "postgres_restart",
    "wandb_faults",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.suite")
    parser.add_argument("--quick", action="store_true", help="a short draw of each fault; writes no page")
    parser.add_argument("--only", choices=FAULTS, action="append", help="this fault alone; may be repeated")
    parser.add_argument("--lanes", type=int, default=3, help="how many faults are tried at the same time")
    parser.add_argument("--scale", type=float, default=1.0, help="share of the full number of faults")
    given = parser.parse_args(arguments)
    scale = QUICK_SCALE if given.quick else given.scale
    began = time.monotonic()
    with prepared_ground() as ground, ThreadPoolExecutor(given.lanes) as lanes:
        tried = lanes.map(lambda name: _try(name, scale, ground), given.only or FAULTS)
        rows = [row for found in tried for row in found]
    page = published(rows, given.only, scale, time.monotonic() - began)
    print(page)
    if not given.quick and not given.only:
        write_page(PAGE, page)
    complaints = [row.complaint for row in rows if not row.kept]
    for complaint in complaints:
        print(f"broken: {complaint}", file=sys.stderr)
    return 1 if complaints else 0


@contextlib.contextmanager
def prepared_ground() -> Iterator[Ground]:
    """A folder and, where there can be one, a PostgreSQL server, both gone afterwards."""
    folder = Path(tempfile.mkdtemp(prefix="hlbq-faults-"))
    try:
        with contextlib.ExitStack() as stack:
            try:
                server = stack.enter_context(private_server())
                yield Ground(folder=folder, postgresql=server)
            except NoServerError as error:
                yield Ground(folder=folder, no_postgresql=str(error))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _try(name: str, scale: float, ground: Ground) -> list[FaultRow]:
    """One fault's rows; what goes wrong in the suite itself counts as broken."""
    print(f"{datetime.now(UTC):%H:%M:%S} {name} ...", file=sys.stderr, flush=True)
    run: Callable[[float, Ground], list[FaultRow]] = import_module(f"tests.faults.{name}").run
    try:
        rows = run(scale, ground)
    except Exception as error:  # whatever it is, the other faults are still tried
        traceback.print_exc()
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        rows = [FaultRow(fault=name, database="", broken=(f"the suite could not go on: {first}",))]
    for row in rows:
        print(f"  {'ok    ' if row.kept else 'BROKEN'} {' | '.join(row.cells())}", file=sys.stderr, flush=True)
    return rows


def published(rows: Sequence[FaultRow], only: Sequence[str] | None, scale: float, seconds: float) -> str:
    """The table with what one must know to judge it. The host's name is nobody's business."""
    command = ["python", "-m", "tests.faults.suite"]
    command += [word for name in only or () for word in ("--only", name)]
    command += ["--scale", f"{scale:g}"] if scale != 1 else []
    machine = f"{cpu_device().description}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"
    libraries = f"Python {platform.python_version()}, SQLite {sqlite_module().sqlite_version}"
    return (
        f"Made with `{shlex.join(command)}` on {datetime.now(UTC):%Y-%m-%d}, in {seconds / 60:.0f} minutes, "
        f"on: {machine}; {libraries}.\n\n{table(rows)}\n"
    )


def write_page(page: Path, figures: str) -> None:
    """Put the figures between the page's marks."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{figures}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
