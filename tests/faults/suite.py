"""The fault suite: `python -m tests.faults.suite [--quick] [--only NAME] [--minutes N]`.

Hurts real workers in every way that docs/reliability.md lists, prints the figures, and exits with 1 if any of them
breaks the promise. What was found is kept: stopped and started again, it goes on where it was. Once all was tried, it
writes the figures into the page.
"""

import argparse
import contextlib
import math
import os
import platform
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import replace
from datetime import UTC, datetime
from importlib import import_module
from pathlib import Path

from orchestrator.store.opening.engine import sqlite_module
from tests.faults.harness import QUICK_SCALE, ROOT, Ground
from tests.faults.report import FaultRow, table
from tests.faults.results import MARK, Part, Results, product_commit
from tests.heeded_signals import heed_hang_ups
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
# How workers die in the field; `make test` has tests of its own for these.
FIELD = ("file_replaced", "code_edited", "closed_streams", "hang_up", "broken_host", "growth", "searching")
EVERY = (*FAULTS, *FIELD)
# Long faults are tried in parts: how many, and the share of a fault's own count in each. Together: 2,500 landed
# SIGKILLs, 216 zombies with the fence, 100,000 claims.
PARTS = {"sigkill": (10, 0.2), "no_fence": (9, 1.0), "claimers": (5, 1.0)}
RESULTS = ROOT / "fault-results.jsonl"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the suite; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.faults.suite")
    parser.add_argument("--quick", action="store_true", help="a short draw of each fault; nothing is kept")
    parser.add_argument("--only", choices=EVERY, action="append", help="this fault alone; may be repeated")
    parser.add_argument("--lanes", type=int, default=3, help="how many faults are tried at the same time")
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin nothing new after this long")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the file that keeps what was found")
    given = parser.parse_args(arguments)
    heed_hang_ups()
    commit, results = product_commit(), Results(Path(os.devnull) if given.quick else given.results)
    names = given.only or EVERY
    parts = [(name, seed) for name in names for seed in range(1 if given.quick else PARTS.get(name, (1, 1.0))[0])]
    until = time.monotonic() + 60 * given.minutes
    with prepared_ground() as ground, ThreadPoolExecutor(given.lanes) as lanes:
        scales = {name: QUICK_SCALE if given.quick else PARTS.get(name, (1, 1.0))[1] for name in names}
        tried = {
            lanes.submit(_try, part, scales[part[0]], ground, until): part for part in parts if part not in results.done
        }
        try:
            for future in as_completed(tried):
                if rows := future.result():
                    results.add(tried[future], commit, rows)
        except KeyboardInterrupt:
            print("stopped: what is being tried ends and is not kept; the same command goes on", file=sys.stderr)
            lanes.shutdown(cancel_futures=True)
    rows = results.rows(EVERY, commit)
    page = published(rows, commit)
    print(page)
    left = [part for part in parts if part not in results.done]
    if left:
        print(f"{len(left)} of {len(parts)} parts are left; the same command goes on", file=sys.stderr)
    elif not given.quick and not given.only:
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


def _try(part: Part, scale: float, ground: Ground, until: float) -> list[FaultRow]:
    """A part's rows; none once the time is up. What goes wrong in the suite itself counts as broken."""
    name, seed = part
    if time.monotonic() > until:
        return []
    print(f"{datetime.now(UTC):%H:%M:%S} {name} {seed} ...", file=sys.stderr, flush=True)
    run: Callable[[float, Ground], list[FaultRow]] = import_module(f"tests.faults.{name}").run
    try:
        rows = run(scale, replace(ground, seed=seed))
    except Exception as error:  # whatever it is, the other faults are still tried
        traceback.print_exc()
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        rows = [FaultRow(fault=name, database="", broken=(f"the suite could not go on: {first}",))]
    for row in rows:
        print(f"  {'ok    ' if row.kept else 'BROKEN'} {' | '.join(row.cells())}", file=sys.stderr, flush=True)
    return rows


def published(rows: Sequence[FaultRow], commit: str) -> str:
    """The table with what one must know to judge it. The host's name is nobody's business."""
    system = f"{platform.system()} {'.'.join(platform.release().split('.')[:2])}"
    machine = f"{cpu_device().description}, {os.cpu_count()} cores, {system}"
    libraries = f"Python {platform.python_version()}, SQLite {sqlite_module().sqlite_version}"
    when = f"up to {datetime.now(UTC):%Y-%m-%d}, in {sum(row.seconds for row in rows) / 60:.0f} minutes of work"
    marked = any(row.code.endswith(MARK) for row in rows)
    note = f" Rows with{MARK} were made, in part or whole, with other code than the newest, {commit}." if marked else ""
    return f"Made with `python -m tests.faults.suite`, {when}, on: {machine}; {libraries}.{note}\n\n{table(rows)}\n"


def write_page(page: Path, figures: str) -> None:
    """Put the figures between the page's marks."""
    text = page.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    page.write_text(f"{before}{BEGIN}\n{figures}{END}{after}", encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
