"""Reading many runs by rising number, page by page: every statement that does so.

A page begins after the last number of the page before, and an index gives it in that order: a statement that sorted
would sort all that is left for each page. A test reads the plans of all of PAGED on both databases.
ArmReader gives the runs of a page the settings that they share.
"""

import json
import sys
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Text, and_, cast, func, or_, select

from hlbgpt_core.points import Split
from orchestrator.queue.runs import RunFilter, RunRecord
from orchestrator.store.filters import ENDED, conditions, one_of
from orchestrator.store.rows import RUNS_OF_ARMS, run_record
from orchestrator.store.tables import arms, members, points, runs, sync_marks

_NEWEST_ARMS = 4_096
_MOST_VALUES = 100_000

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


@dataclass(frozen=True, kw_only=True)
class Paged:
    """A statement of runs, and by which column's index they come in the order of their numbers."""

    rows: Select[Any]
    number: ColumnElement[int] = runs.c.id


PAGED: Mapping[str, Paged] = {
    "runs": Paged(rows=RUNS_OF_ARMS),
    # Runs that other sweeps lend to one.
    "members": Paged(rows=RUNS_OF_ARMS.join(members, members.c.run_id == runs.c.id), number=members.c.run_id),
    "unsent": Paged(rows=_unsent()),
}


def chosen(connection: Connection, name: str, wanted: RunFilter) -> Select[Any]:
    """A statement of PAGED, of the runs that match. `wanted` names one sweep at most; for members it must name one."""
    rows = PAGED[name].rows
    if name == "members":
        rows, wanted = rows.where(members.c.sweep_id == wanted.sweep_ids[0]), replace(wanted, sweep_ids=())
    return rows.where(*conditions(connection, wanted, by_number=True))


def next_page(name: str, query: Select[Any], *, after_id: int, size: int) -> Select[Any]:
    """The next `size` rows of what `chosen` returned."""
    number = PAGED[name].number
    return query.where(number > after_id).order_by(number).limit(size)


def by_sweep(wanted: RunFilter) -> Sequence[RunFilter]:
    """The filter for each of its sweeps: an index gives the runs of one in order, and never those of several."""
    return [replace(wanted, sweep_ids=(sweep_id,)) for sweep_id in sorted(set(wanted.sweep_ids))] or [wanted]


class ArmSettings(dict[str, Any]):
    """An arm's settings, which its runs share; can be referred to weakly."""


class ArmReader:
    """Settings by arm, read and parsed once for all runs that are read together.

    The newest arms are kept, and those of runs that anybody still holds: memory does not grow with what is only
    streamed. Equal values are one object in all arms.
    """

    def __init__(self) -> None:
        self._held: weakref.WeakValueDictionary[int, ArmSettings] = weakref.WeakValueDictionary()
        self._newest: deque[ArmSettings] = deque(maxlen=_NEWEST_ARMS)
        self._values: dict[tuple[type, Any], Any] = {}

    def records(self, connection: Connection, query: Select[Any]) -> list[RunRecord]:
        """The runs of a query of RUNS_OF_ARMS."""
        rows = connection.execute(query).all()
        arm_ids = {row.arm_id for row in rows}
        settings = {arm_id: known for arm_id in arm_ids if (known := self._held.get(arm_id)) is not None}
        if missing := arm_ids - settings.keys():
            asked = select(arms.c.id, arms.c.settings).where(one_of(connection, arms.c.id, missing))
            for arm_id, text in connection.execute(asked):
                settings[arm_id] = self._held[arm_id] = json.loads(text, object_pairs_hook=self._shared)
            self._newest.extend(settings[arm_id] for arm_id in missing)
        return [run_record(row, settings[row.arm_id]) for row in rows]

    def _shared(self, pairs: Sequence[tuple[str, Any]]) -> ArmSettings:
        if len(self._values) > _MOST_VALUES:
            self._values.clear()
        return ArmSettings(
            (sys.intern(name), self._values.setdefault((type(value), value), value)) for name, value in pairs
        )
