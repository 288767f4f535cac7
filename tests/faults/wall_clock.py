"""The wall clock moved by a day each way, as the workers see it: nobody's run may be given away for that."""

import os
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

from orchestrator.queue.runs import RunFilter
from orchestrator.queue.workers import WorkerRecord
from orchestrator.store import OpenMode, Store, open_store
from tests.faults.harness import (
    Fleet,
    Ground,
    drained,
    is_short,
    is_shortest,
    new_sweep,
    read_ledger,
    scaled,
    submit,
    wait_until,
)
from tests.faults.report import FaultRow
from tests.faults.worker_under_fault import Faults
from tests.stand_in_trainer import Plan

MOVES = 20
DAY = 86_400
WORKERS = 4
PLAN = Plan(steps=60, step_seconds=0.02, checkpoint_every=10)


def run(scale: float, ground: Ground) -> list[FaultRow]:
    """Workers of one host and of hosts of their own, half of them by a clock that is moved."""
    library = faketime_library()
    if library is None:
        return [FaultRow(fault="wall clock moved a day", database="", skipped="libfaketime is not installed")]
    moves = scaled(MOVES, scale, least=2)
    return [
        _moved(moves, kind, db, folder, library, elsewhere=elsewhere)
        for elsewhere in ((True,) if is_short(scale) else (False, True))
        for kind, db, folder in ground.databases("wall-clock", sqlite_alone=is_shortest(scale))
    ]


def faketime_library() -> Path | None:
    """The library to preload, from the package libfaketime; the package itself is never imported."""
    spec = find_spec("libfaketime")
    if spec is None or spec.origin is None:
        return None
    return next(Path(spec.origin).parent.glob("vendor/libfaketime/src/libfaketime.so.1"), None)


def _moved(moves: int, kind: str, db: str, folder: Path, library: Path, *, elsewhere: bool) -> FaultRow:
    began = time.monotonic()
    stamp = folder / "clock"
    _set_clock(stamp, 0)
    moved = {
        "LD_PRELOAD": str(library),
        "FAKETIME_TIMESTAMP_FILE": str(stamp),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    # A lease that a busy machine does not use up by itself: that would be another fault. Whoever judged by wall
    # clocks would see a day gone by at the first look.
    timing = {"lease_seconds": 20.0, "self_fence_seconds": 15.0}
    faults = Faults(host="host-#/1" if elsewhere else "", timing=timing)
    submit(db, new_sweep(WORKERS))
    landed, seen, days = 0, 0, [1, 0, -1, 0]
    with Fleet(db=db, folder=folder, workers=0, plan=PLAN, faults=faults) as fleet:
        for number in range(WORKERS):
            fleet.environment = moved if number % 2 else {}
            fleet.start_one()
        with open_store(db, mode=OpenMode.WRITE) as store:
            for move in range(moves):
                wait_until(lambda: _many_train(store), seconds=120, what="workers train")
                day = days[move % len(days)]
                landed += sum(one.run_id is not None for one in store.workers())
                _set_clock(stamp, day)
                wait_until(lambda: _seen(store, day), seconds=120, what=f"the clock is {day} days off")  # noqa: B023
                seen += 1
                _let_them_judge(store.workers, beats=8)
            wait_until(lambda: drained(store), seconds=120, what="every run ends")
        crashed = fleet.dead()
        fleet.stop()
        ledger = read_ledger(db, PLAN)
        reclaims = ledger.landed
        broken = [*ledger.problems, *fleet.complaints()]
        if reclaims:
            broken.append(f"{reclaims} false reclaims")
        if crashed:
            broken.append(f"{crashed} workers crashed")
        where = "hosts of their own" if elsewhere else "one host"
        return FaultRow(
            fault="wall clock moved a day each way",
            database=kind,
            landed=landed,
            lost=ledger.lost + ledger.wrong_points,
            finished_twice=ledger.finished_twice,
            stale_rows=ledger.stale_rows,
            besides=f"workers on {where}, half of them by the moved clock; {seen} moves; {reclaims} false reclaims",
            seconds=time.monotonic() - began,
            broken=tuple(broken),
        )


def _many_train(store: Store) -> bool:
    """Whether nearly all workers hold a run; sees to it that there is work for them."""
    if not store.waiting():
        store.submit(new_sweep(2 * WORKERS))
    return len(store.running(RunFilter())) >= WORKERS - 1


def _set_clock(stamp: Path, days: int) -> None:
    """What libfaketime reads: an offset. Written aside and renamed, since it is read at every call."""
    aside = stamp.with_name(f"{stamp.name}.{os.getpid()}")
    aside.write_text(f"{days * DAY:+d}\n")
    aside.replace(stamp)


def _seen(store: Store, days: int) -> bool:
    """Whether some worker tells the time as it was set, and (if that is off) another the true one.

    PostgreSQL dates beats by its own clock, so the starts of runs count too; hence the work for new claims.
    """
    _many_train(store)
    told = [one.beat_at for one in store.workers()]
    told += [run.started_at for run in store.running(RunFilter()) if run.started_at is not None]
    offs = [one - time.time() for one in told]
    return any(abs(off - days * DAY) < 3_600 for off in offs) and any(abs(off) < 3_600 for off in offs)


def _let_them_judge(workers: Callable[[], list[WorkerRecord]], *, beats: int) -> None:
    """Wait until every worker has beaten some more, and so looked at all the others as often."""
    first = {one.id: one.beat for one in workers()}
    wait_until(
        lambda: all(one.beat >= first.get(one.id, 0) + beats for one in workers()),
        seconds=120,
        what="every worker beats on",
    )
