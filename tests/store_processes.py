"""Many processes at one database at once."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason
from orchestrator.store import OpenMode, open_store
from orchestrator.store.opening.schema import Schema
from tests.ready_processes import ready_context
from tests.store_examples import ending, point, register

TIMEOUT_SECONDS = 120


def run_at_once(count: int, function: Callable[..., Any], *arguments: object) -> list[Any]:
    """Call `function(number, barrier, *arguments)` in `count` processes; returns their answers.

    An error in one of them is raised here.
    """
    context = ready_context()
    with context.Manager() as manager, context.Pool(count) as pool:
        barrier = manager.Barrier(count)
        waiting = [pool.apply_async(function, (number, barrier, *arguments)) for number in range(count)]
        return [each.get(TIMEOUT_SECONDS) for each in waiting]


def open_at_once(number: int, barrier: Any, location: str) -> str:
    """Make the tables of one database; the answer is their version."""
    barrier.wait(TIMEOUT_SECONDS)
    with open_store(location, mode=OpenMode.CREATE) as store:
        return store.info().schema_version


def claim_until_empty(number: int, barrier: Any, location: str) -> Sequence[tuple[int, int]]:
    """Claim, write and end runs until there are none; the answer is each claim's run and fence.

    Every fifth run is released instead, and every seventh attempt ends because the worker is taken for dead.
    """
    claims: list[tuple[int, int]] = []
    with open_store(location, mode=OpenMode.WRITE, busy_timeout_seconds=TIMEOUT_SECONDS) as store:
        worker = register(store, number)
        barrier.wait(TIMEOUT_SECONDS)
        while (taken := store.claim(worker)) is not None:
            claims.append((taken.lease.run_id, taken.lease.fence))
            store.flush(taken.lease, points=[point(taken.lease.fence)])
            if len(claims) % 7 == 0:
                store.reap(worker, seen_beat=0, why="taken for dead")
                worker = register(store, number)
            elif len(claims) % 5 == 0:
                store.finish(taken.lease, ending(Reason.RELEASED))
            else:
                store.finish(taken.lease, ending(Reason.FINISHED))
    return claims


def open_schema_at_once(number: int, barrier: Any, location: str, head: str, scripts: Path) -> tuple[str, int]:
    """Bring one database up to date; the answer is its version and how many runs it holds."""
    barrier.wait(TIMEOUT_SECONDS)
    with open_store(location, mode=OpenMode.UPGRADE, schema=Schema(head=head, scripts=scripts)) as store:
        return store.info().schema_version, store.matching(RunFilter())
