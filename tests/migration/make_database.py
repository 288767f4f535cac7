"""Make the database that tests/migration keeps of the program's schema: `python -m tests.migration.make_database`.

Run it once when a schema is released, and keep the file for good. It holds a run in every state, points with
numbers that are not finite, checkpoints, two attempts at one run, a worker that was taken for dead, a run that
was sent to W&B, a notice that could not be told, the sources of the code, notes and tags, a sample of a device, a
point with its time.
"""

import math
from pathlib import Path

from hlbgpt_core.points import Split
from orchestrator.code.archive import pack
from orchestrator.queue.notices import NotifyMark
from orchestrator.queue.points import ReceivedPoint
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Limits, Reason
from orchestrator.queue.sweeps import CsvTarget
from orchestrator.queue.workers import DeviceReading
from orchestrator.store import OpenMode, Store, open_store
from orchestrator.store.opening.schema import CURRENT
from tests.conftest import VirtualClock
from tests.store_examples import claim, ending, facts, point, progress, register, saved, submit

FOLDER = Path(__file__).parent


def fill(store: Store, clock: VirtualClock) -> None:
    """Let a sweep of six runs see everything once."""
    target = CsvTarget(path="/home/ada/results.csv", append=False, host="here")
    mark = NotifyMark(token="0123456789abcdef", by="ada on here")
    submit(store, depths=(2, 4, 8), seeds=2, name="first", csv=target, limits=Limits(max_attempts=1), notify=mark)
    first, second = register(store, 1), register(store, 2, device="cuda:0")

    finished = claim(store, first).lease
    timed = ReceivedPoint(**vars(point(1)), recorded_at=clock())
    known = facts(provenance={"git_commit": "832bbf9", "core_digest": "3c3b34348d03c2c2"})
    store.flush(finished, points=[timed, point(1, Split.VAL, bits_per_byte=1.5)], progress=progress(1), facts=known)
    store.keep_code(pack("3c3b34348d03c2c2", {"settings.py": b"DEPTH = 8\n"}, git_commit="832bbf9"))
    store.declare_same("3c3b34348d03c2c2", "0123456789abcdef", why="a comment", actor="ada")
    store.commit_checkpoint(finished, saved(1))
    clock.advance(60)
    store.finish(finished, ending(Reason.FINISHED), points=[point(2, extra={"lr_head": 0.5, "odd": -math.inf})])

    failed = claim(store, first).lease
    diverged = point(3, loss=math.nan, pplx=math.inf)
    store.finish(failed, ending(Reason.DIVERGED, error_message="the loss is nan"), points=[diverged])

    lost = claim(store, second).lease
    store.commit_checkpoint(lost, saved(5), points=[point(5)])
    store.commit_checkpoint(lost, saved(9), points=[point(9)])
    store.flush(lost, points=[point(10)])
    store.reap(second, seen_beat=0, why="no beat for 60 s")
    claim(store, first)  # the same run again, its second attempt; it stays running

    store.cancel(RunFilter(run_ids=(4,)), "user")
    store.pause(RunFilter(run_ids=(5,)), "user")
    store.set_priority(RunFilter(run_ids=(6,)), 7, "user")

    [sweep] = store.sweeps()
    store.set_note(sweep, "a first try", "ada")
    store.change_tags(sweep, "ada", add=["paper"], remove=[])
    for run in store.runs(RunFilter(run_ids=(1,))):
        store.set_note(run, "as it should be", "ada")
        store.change_tags(run, "ada", add=["good", "shown"], remove=[])

    store.beat(first, DeviceReading(temperature_celsius=61.0, use_percent=98.0, memory_bytes=2**31))
    [notice] = store.undelivered()
    held = store.take_notice(notice, "here", tries=1)
    assert held is not None
    store.notice_tried(held, "exit code 7")

    uid = finished_uid(store)
    store.take_sync(uid, "a sync")
    store.plan_sync(uid, "a sync", generation=0, step=2, fence=1)
    store.commit_sync(uid, "a sync", rows_sent=3, last_step=2, told="completed finished 1")


def finished_uid(store: Store) -> str:
    """The first run's uid."""
    run = store.run(1)
    assert run is not None
    return run.uid


def main() -> None:
    """Write the file of the program's schema; one that is there is kept."""
    target = FOLDER / f"schema_{CURRENT.head}.sqlite"
    if target.exists():
        raise SystemExit(f"{target} is there already: released schemas are kept as they are")
    clock = VirtualClock()
    with open_store(str(target), mode=OpenMode.CREATE, clock=clock) as store:
        fill(store, clock)
    print(target)


if __name__ == "__main__":
    main()
