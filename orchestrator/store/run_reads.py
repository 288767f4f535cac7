"""What people and programs read. Nothing here writes; every read is short."""

import functools
import heapq
import itertools
import json
import operator
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy import func, literal_column, select

from orchestrator.queue.records import AttemptRecord, CompletedRun, EventRecord, RunFilter, RunRecord
from orchestrator.queue.states import State
from orchestrator.store.base import StoreBase
from orchestrator.store.filters import conditions, one_of_texts
from orchestrator.store.rows import RUN_ROWS, attempt_record, read_code, run_record
from orchestrator.store.tables import arms, attempts, events, members, runs

_RUNS_A_PAGE = 1_000
_NUMBER = operator.attrgetter("id")


class RunReadStore(StoreBase):
    """Reads of runs, attempts and events."""

    def run(self, number_or_uid: int | str) -> RunRecord | None:
        """The run of that number or uid, or None."""
        number = int(number_or_uid) if str(number_or_uid).isdecimal() else None
        if number is not None and number >= 2**63:
            return None
        which = runs.c.uid == str(number_or_uid) if number is None else runs.c.id == number
        with self._read() as connection:
            row = connection.execute(RUN_ROWS.where(which)).first()
            return None if row is None else run_record(row)

    def runs(self, wanted: RunFilter, *, limit: int | None = None, after_id: int = 0) -> Iterator[RunRecord]:
        """The runs that match, by number, beginning after `after_id`; read page by page, in constant memory."""
        size = _RUNS_A_PAGE if limit is None else min(limit, _RUNS_A_PAGE)
        found = self._pages(wanted, size, after_id)
        if wanted.with_members:
            lent = [self._pages(wanted, size, after_id, lent_to=sweep_id) for sweep_id in wanted.sweep_ids]
            by_number = heapq.merge(found, *lent, key=_NUMBER)
            # A run may be one sweep's own and lent to another.
            found = (next(same) for _, same in itertools.groupby(by_number, _NUMBER))
        yield from itertools.islice(found, limit)

    def _pages(self, wanted: RunFilter, size: int, after_id: int, *, lent_to: int | None = None) -> Iterator[RunRecord]:
        """The sweeps' own runs, or those lent to one of them; either way in the order of an index."""
        rows, number = RUN_ROWS, runs.c.id
        if lent_to is not None:
            wanted = replace(wanted, sweep_ids=())
            rows = rows.join(members, members.c.run_id == runs.c.id).where(members.c.sweep_id == lent_to)
            number = members.c.run_id
        page: list[RunRecord] = []
        while size and (not page or len(page) == size):
            with self._read() as connection:
                query = rows.where(*conditions(connection, wanted), number > after_id).order_by(number).limit(size)
                page = [run_record(row) for row in connection.execute(query)]
            if not page:
                return
            yield from page
            after_id = page[-1].id

    def running(self, wanted: RunFilter) -> list[RunRecord]:
        """The runs that match and are running, by number."""
        with self._read() as connection:
            query = RUN_ROWS.where(
                runs.c.state == literal_column("'running'"), *conditions(connection, wanted)
            ).order_by(runs.c.id)
            return [run_record(row) for row in connection.execute(query)]

    def counts(self, wanted: RunFilter) -> Mapping[State, int]:
        """How many runs match, by state; every state is named. Without filters it reads one index alone."""
        found = dict.fromkeys(State, 0)
        with self._read() as connection:
            # By sweep too, because that is the order of the index: nothing is sorted.
            query = select(runs.c.state, func.count().label("number")).where(*conditions(connection, wanted))
            for row in connection.execute(query.group_by(runs.c.sweep_id, runs.c.state)):
                found[State(row.state)] += row.number
        return found

    def completed(self, arm_keys: Iterable[str], seeds: range) -> list[CompletedRun]:
        """The completed runs of all sweeps that have one of these arm keys and one of these seeds."""
        with self._read() as connection:
            query = (
                select(runs.c.id, arms.c.key, runs.c.seed, runs.c.facts, runs.c.code)
                .select_from(arms)
                .join(runs, runs.c.arm_id == arms.c.id)
                .where(
                    one_of_texts(connection, arms.c.key, arm_keys),
                    runs.c.state == State.COMPLETED.value,
                    runs.c.seed.between(seeds.start, seeds.stop - 1),
                )
            )
            return _completed_runs(connection.execute(query))

    def attempts(self, run_id: int) -> list[AttemptRecord]:
        """All attempts of a run, first to last."""
        with self._read() as connection:
            query = select(attempts).where(attempts.c.run_id == run_id).order_by(attempts.c.fence)
            return [attempt_record(row) for row in connection.execute(query)]

    def events(
        self, run_id: int | None = None, sweep_id: int | None = None, limit: int = 100, actor: str = ""
    ) -> Sequence[EventRecord]:
        """The newest events, newest first: of one run, of one sweep, or of all; with `actor` those of this one."""
        query = select(events).order_by(events.c.id.desc()).limit(limit)
        if run_id is not None:
            query = query.where(events.c.run_id == run_id)
        if sweep_id is not None:
            query = query.where(events.c.sweep_id == sweep_id)
        if actor:
            query = query.where(events.c.actor == actor)
        with self._read() as connection:
            return [EventRecord(**row._asdict()) for row in connection.execute(query)]


def _completed_runs(rows: Iterable[Any]) -> list[CompletedRun]:
    """The rows as records. The runs of a sweep share most of their JSON, so that each text is read once."""

    @functools.cache
    def fingerprint(facts: str | None) -> str:
        return str(json.loads(facts or "{}").get("data_fingerprint") or "")

    return [
        CompletedRun(id=run_id, arm_key=key, seed=seed, data_fingerprint=fingerprint(facts), code=read_code(code))
        for run_id, key, seed, facts, code in rows
    ]
