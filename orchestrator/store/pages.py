"""Reading many runs by rising number, page by page: every statement that does so.

A page begins after the last number of the page before, and an index gives it in that order: a statement that sorted
would sort all that is left for each page. A test reads the plans of all of PAGED on both databases.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Select, Text, and_, cast, func, or_, select

from hlbgpt_core.points import Split
from orchestrator.queue.records import RunFilter
from orchestrator.queue.states import TERMINAL
from orchestrator.store.filters import conditions
from orchestrator.store.rows import RUNS_OF_ARMS
from orchestrator.store.tables import points, runs, sync_marks

ENDED = runs.c.state.in_([state.value for state in TERMINAL])
# What W&B is told of a run's end: another end of the same run (after a retry) reads otherwise.
ENDING = runs.c.state + " " + func.coalesce(runs.c.reason, "") + " " + cast(runs.c.fence, Text)


def _unsent() -> Select[Any]:
    """Runs with something to send to W&B: points up to their checkpoint, or their end."""
    last_step = func.coalesce(sync_marks.c.last_step, 0)
    newer = select(points.c.step).where(
        points.c.run_id == runs.c.id,
        points.c.split.in_([split.value for split in Split]),
        points.c.step > last_step,
        points.c.step <= runs.c.checkpoint_step,
    )
    untold = func.coalesce(sync_marks.c.told, "") != ENDING
    marked = select(runs.c.id).outerjoin(sync_marks, sync_marks.c.run_uid == runs.c.uid)
    return marked.where(
        runs.c.fence > 0,
        or_(and_(ENDED, untold), and_(~ENDED, runs.c.checkpoint_step > last_step, newer.exists())),
    )


PAGED: Mapping[str, Select[Any]] = MappingProxyType(
    {"runs": RUNS_OF_ARMS, "numbers": select(runs.c.id), "unsent": _unsent()}
)


def page(connection: Connection, name: str, wanted: RunFilter, *, after_id: int, size: int) -> Select[Any]:
    """The next `size` rows of a statement of PAGED, of the runs that match; `wanted` names one sweep at most."""
    where = conditions(connection, wanted, by_number=True)
    return PAGED[name].where(*where, runs.c.id > after_id).order_by(runs.c.id).limit(size)


def by_sweep(wanted: RunFilter) -> Sequence[RunFilter]:
    """The filter for each of its sweeps: an index gives the runs of one in order, and never those of several."""
    return [replace(wanted, sweep_ids=(sweep_id,)) for sweep_id in sorted(set(wanted.sweep_ids))] or [wanted]
