"""No room: in the database (max_page_count, a small tmpfs), for checkpoints and for exports."""

import contextlib
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from orchestrator.errors import ExportError
from orchestrator.export.blocks import Layout, Selection
from orchestrator.export.writing import export
from orchestrator.queue.runs import RunFilter
from orchestrator.store import OpenMode, open_store
from orchestrator.store.opening.engine import sqlite_module
from tests.faults.harness import Fleet, Ground, ask, drained, is_short, new_sweep, read_ledger, submit, wait_until
from tests.faults.report import FaultRow
from tests.faults.sigkill import real_sweep, undisturbed_curves
from tests.faults.worker_under_fault import Faults
from tests.stand_in_trainer import Plan

WORKERS = 3
PLAN = Plan(steps=250, checkpoint_every=25, hold_after=10)
NO_LIMIT = 1_073_741_823
# A lease that a full disk does not use up: runs that are given away for it would be another fault.
TIMING = {"lease_seconds": 60.0, "self_fence_seconds": 45.0}


def run(scale: float, ground: Ground) -> list[FaultRow]:
    """Each way to run out of room; a tmpfs can be mounted only by root."""
    rows = [_pages(ground)]
    if os.geteuid() != 0:
        return [*rows, FaultRow(fault="disk full (tmpfs)", database="SQLite", skipped="only root can mount a tmpfs")]
    rows += [_tmpfs_database(ground), _tmpfs_export(ground)]
    if not is_short(scale):  # torch takes longer to load than a short draw may last
        rows.append(_tmpfs_checkpoints(ground))
    return rows


def _pages(ground: Ground) -> FaultRow:
    """SQLite may not grow past a few pages more than it has."""
    folder = ground.place("pages")
    db, limit = str(folder / "hlbq.db"), folder / "pages"
    submit(db, new_sweep(WORKERS))
    _replace(limit, NO_LIMIT)

    def fill() -> None:
        with open_store(db, mode=OpenMode.READ) as store:
            _replace(limit, ask(store, "SELECT page_count FROM pragma_page_count()") + 2)

    faults, name = Faults(pages_file=str(limit), timing=TIMING), "disk full (max_page_count), writing points"
    return _fill_and_free(name, db, folder, faults, lambda: _replace(limit, NO_LIMIT), fill=fill)


def _replace(file: Path, pages: int) -> None:
    """Written aside and renamed: workers read it at every call."""
    aside = file.with_name(f"{file.name}.new")
    aside.write_text(str(pages))
    aside.replace(file)


def _tmpfs_database(ground: Ground) -> FaultRow:
    """The database's own disk is full."""
    folder = ground.place("tmpfs")
    with _tmpfs(folder / "disk", megabytes=12) as disk:
        db = str(disk / "hlbq.db")
        submit(db, new_sweep(WORKERS))
        ballast = disk / "ballast"

        def fill() -> None:
            _cut_log(db)
            fill_disk(ballast, leave=8_192)

        return _fill_and_free(
            "disk full (tmpfs), writing points", db, folder, Faults(timing=TIMING), ballast.unlink, fill=fill
        )


def _cut_log(db: str) -> None:
    """Cut SQLite's log to nothing: one that was long once takes new writes without any more room."""
    connection = sqlite_module().connect(db, timeout=20, isolation_level=None)
    try:
        cut = "PRAGMA wal_checkpoint(TRUNCATE)"
        wait_until(lambda: connection.execute(cut).fetchone()[0] == 0, seconds=120, what="the log is cut")
    finally:
        connection.close()


def _fill_and_free(
    fault: str,
    db: str,
    folder: Path,
    faults: Faults,
    free: Callable[[], object],
    *,
    fill: Callable[[], object],
) -> FaultRow:
    """Workers must say what is wrong, wait, and go on once there is room."""
    began = time.monotonic()
    go = folder / "go"
    with Fleet(db=db, folder=folder, workers=WORKERS, plan=replace(PLAN, go=str(go)), faults=faults) as fleet:
        fleet.keep_up()
        with open_store(db, mode=OpenMode.READ) as store:
            wait_until(lambda: len(store.running(RunFilter())) == WORKERS, seconds=120, what="every worker trains")
            fill()
            go.touch()  # none has ended before: it has most of its points still to write
            wait_until(lambda: fleet.log().count("the disk is full") >= WORKERS, seconds=120, what="all say it is full")
            landed = len(store.running(RunFilter()))
            damaged = store.integrity_check()
            free()
            wait_until(lambda: drained(store), seconds=120, what="they go on when there is room")
        crashed = fleet.dead()
        fleet.stop()
        ledger = read_ledger(db, PLAN)
        broken = [*damaged, *ledger.problems, *fleet.complaints()]
        if crashed:
            broken.append(f"{crashed} workers crashed")
        return FaultRow(
            fault=fault,
            database="SQLite",
            landed=landed,
            lost=ledger.lost + ledger.wrong_points,
            finished_twice=ledger.finished_twice,
            stale_rows=ledger.stale_rows,
            besides=f"{crashed} crashes; integrity check clean while full and after; went on with room",
            seconds=time.monotonic() - began,
            broken=tuple(broken),
        )


def _tmpfs_checkpoints(ground: Ground) -> FaultRow:
    """The real trainer's state folder has no room for a checkpoint: the run goes on, and comes out the same."""
    began = time.monotonic()
    folder = ground.place("tmpfs-checkpoints")
    curves = undisturbed_curves(folder, runs=1)
    db = str(folder / "hlbq.db")
    submit(db, real_sweep(1))
    with _tmpfs(folder / "state", megabytes=8) as disk:
        ballast = disk / "ballast"
        fill_disk(ballast, leave=8_192)
        with Fleet(db=db, folder=folder, workers=1, faults=Faults(real_trainer=True)) as fleet:
            fleet.keep_up()
            warned = lambda: "no checkpoint at step" in fleet.log()  # noqa: E731
            wait_until(warned, seconds=120, what="the trainer says that no checkpoint can be written")
            half = len(list((disk / "checkpoints").glob("*/*"))) if (disk / "checkpoints").exists() else 0
            ballast.unlink()
            fleet.drain(seconds=120)
            fleet.stop()
            broken = list(fleet.complaints())
        ledger = read_ledger(db, None, curves=curves)
        if half:
            broken.append(f"{half} half checkpoints left")
    return FaultRow(
        fault="disk full (tmpfs), writing checkpoints",
        database="SQLite",
        landed=1,
        lost=ledger.lost + ledger.wrong_points,
        finished_twice=ledger.finished_twice,
        besides=f"real trainer; {ledger.attempts} attempt; the same points as undisturbed; no half checkpoint left",
        seconds=time.monotonic() - began,
        broken=(*broken, *ledger.problems),
    )


def _tmpfs_export(ground: Ground) -> FaultRow:
    """A table that does not fit leaves the old one whole."""
    began = time.monotonic()
    folder = ground.place("tmpfs-export")
    db = str(folder / "hlbq.db")
    submit(db, new_sweep(40))
    with Fleet(db=db, folder=folder, workers=2, plan=Plan(steps=50)) as fleet:
        fleet.drain(seconds=120)
    broken = []
    with _tmpfs(folder / "disk", megabytes=1) as disk, open_store(db, mode=OpenMode.READ) as store:
        table, ballast = disk / "results.csv", disk / "ballast"
        table.write_text("what was there before\n")
        fill_disk(ballast, leave=16_384)
        try:
            export(store, table, Selection(runs=RunFilter(), layout=Layout.POINTS))
            broken.append("the export did not notice")
        except ExportError as error:
            said = str(error)
            if "no space left" not in said:
                broken.append(f"the message does not say why: {said}")
        if table.read_text() != "what was there before\n":
            broken.append("the old table was damaged")
        if left := [one.name for one in disk.iterdir() if one.name not in ("results.csv", "ballast")]:
            broken.append(f"left behind: {left}")
        ballast.unlink()
        export(store, table, Selection(runs=RunFilter(), layout=Layout.POINTS))
        rows = len(table.read_text().splitlines()) - 1
    ledger = read_ledger(db, Plan(steps=50))
    if rows != 40 * 51:
        broken.append(f"{rows} rows exported")
    return FaultRow(
        fault="disk full (tmpfs), exporting",
        database="SQLite",
        landed=1,
        lost=ledger.lost,
        besides="a clear message, the old table whole; exported when there was room",
        seconds=time.monotonic() - began,
        broken=tuple(broken),
    )


@contextlib.contextmanager
def _tmpfs(folder: Path, *, megabytes: int) -> Iterator[Path]:
    folder.mkdir(mode=0o700, exist_ok=True)
    size = f"size={megabytes}m,mode=0700"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "hlbq-faults", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def fill_disk(ballast: Path, *, leave: int) -> None:
    """Leave no more than `leave` bytes of the disk that `ballast` is on; others write to it meanwhile."""
    descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT, 0o600)

    def is_full() -> bool:
        disk = os.statvfs(ballast.parent)
        room = disk.f_bavail * disk.f_frsize - leave
        if room <= 0:
            return True
        # Where the others were quicker, nothing at all is taken: then there is less room to ask for.
        with contextlib.suppress(OSError):
            os.posix_fallocate(descriptor, os.fstat(descriptor).st_size, room)
        return False

    try:
        wait_until(is_full, seconds=60, what="the disk is full")
    finally:
        os.close(descriptor)
