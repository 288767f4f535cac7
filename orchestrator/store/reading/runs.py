"""What people and programs read. Nothing here writes; every read is short."""

import heapq
import itertools
import json
import operator
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Select, func, literal_column, select

from orchestrator.queue.attempts import AttemptRecord, Provenance
from orchestrator.queue.runs import CompletedRun, RunFilter, RunRecord
from orchestrator.queue.states import State
from orchestrator.store.base import StoreBase
from orchestrator.store.filters import OF_NEWEST_ATTEMPT, conditions, one_of
from orchestrator.store.reading.pages import ArmReader, by_sweep, chosen, next_page
from orchestrator.store.rows import RUN_ROWS, RUNS_OF_ARMS, attempt_record, read_code, read_facts, run_record
from orchestrator.store.tables import arms, attempts, runs

_RUNS_A_PAGE = 1_000
_NUMBER = operator.attrgetter("id")


class RunReadStore(StoreBase):
    """Reads of runs and attempts."""

    def run(self, number_or_uid: int | str) -> RunRecord | None:
        """The run of that number or uid, or None."""
        text = str(number_or_uid)
        is_number = text.isdecimal() and len(text) < 19  # a longer one is no run's, and may not even be read
        which = runs.c.id == int(text) if is_number else runs.c.uid == text
        with self._read() as connection:
            row = connection.execute(RUN_ROWS.where(which)).first()
            return None if row is None else run_record(row)

    def runs(self, wanted: RunFilter, *, limit: int | None = None) -> Iterator[RunRecord]:
        """The runs that match, by number; read page by page, in constant memory."""
        size = _RUNS_A_PAGE if limit is None else max(1, min(limit, _RUNS_A_PAGE))
        return itertools.islice(itertools.chain.from_iterable(self.pages_of_runs(wanted, size)), limit)

    def pages_of_runs(self, wanted: RunFilter, size: int) -> Iterator[Sequence[RunRecord]]:
        """The same, page by page, each read when it is asked for."""
        reader = ArmReader()
        names = ["runs", "members"] if wanted.with_members and wanted.sweep_ids else ["runs"]
        streams = [self._pages(name, one, size, reader) for one in by_sweep(wanted) for name in names]
        if len(streams) == 1:
            return streams[0]
        by_number = heapq.merge(*map(itertools.chain.from_iterable, streams), key=_NUMBER)
        # A run may be one sweep's own and lent to another.
        found = (next(same) for _, same in itertools.groupby(by_number, _NUMBER))
        return iter(lambda: list(itertools.islice(found, size)), [])

    def _pages(self, name: str, wanted: RunFilter, size: int, reader: ArmReader) -> Iterator[Sequence[RunRecord]]:
        query, after_id = None, 0
        while True:
            with self._read() as connection:
                query = chosen(connection, name, wanted) if query is None else query
                found = reader.records(connection, next_page(name, query, after_id=after_id, size=size))
            if found:
                yield found
            if len(found) < size:
                return
            after_id = found[-1].id

    def running(self, wanted: RunFilter) -> list[RunRecord]:
        """The runs that match and are running, by number."""
        with self._read() as connection:
            query = RUNS_OF_ARMS.where(
                runs.c.state == literal_column("'running'"), *conditions(connection, wanted)
            ).order_by(runs.c.id)
            return ArmReader().records(connection, query)

    def counts(self, wanted: RunFilter) -> Mapping[State, int]:
        """How many runs match, by state; every state is named. Without filters it reads one index alone."""
        found = dict.fromkeys(State, 0)
        with self._read() as connection:
            # By sweep too, because that is the order of the index: nothing is sorted.
            query = select(runs.c.state, func.count().label("number")).where(*conditions(connection, wanted))
            for row in connection.execute(query.group_by(runs.c.sweep_id, runs.c.state)):
                found[State(row.state)] += row.number
        return found

    def completed(self, arm_keys: Iterable[str], seeds: range) -> set[CompletedRun]:
        """The completed runs of all sweeps that have one of these arm keys and one of these seeds; those that are equal
        count once."""
        with self._read() as connection:
            query = _completed(connection, arm_keys, seeds)
            rows = connection.execute(query.add_columns(runs.c.facts, runs.c.code).distinct())
            return {_completed_run(*row) for row in rows}

    def newest_completed(self, wanted: Collection[CompletedRun]) -> dict[tuple[str, int], int]:
        """The number of the newest run that is equal to one of `wanted`, by arm key and seed."""
        if not wanted:
            return {}
        seeds = [run.seed for run in wanted]
        equal = set(wanted)
        with self._read() as connection:
            query = _completed(connection, {run.arm_key for run in wanted}, range(min(seeds), max(seeds) + 1))
            same = (runs.c.facts, runs.c.code)
            grouped = query.add_columns(*same, func.max(runs.c.id)).group_by(*query.selected_columns, *same)
            found: dict[tuple[str, int], int] = {}
            for *row, number in connection.execute(grouped):
                if (run := _completed_run(*row)) in equal:
                    key = (run.arm_key, run.seed)
                    found[key] = max(found.get(key, 0), number)
            return found

    def data_of(self, run_ids: Collection[int]) -> Mapping[int, str]:
        """The fingerprint of the data of each of these runs, by number; empty where no trainer told it yet."""
        with self._read() as connection:
            rows = connection.execute(select(runs.c.id, runs.c.facts).where(one_of(connection, runs.c.id, run_ids)))
            return {run_id: _fingerprint(facts) for run_id, facts in rows}

    def attempts(self, run_id: int) -> list[AttemptRecord]:
        """All attempts of a run, first to last."""
        with self._read() as connection:
            query = select(attempts).where(attempts.c.run_id == run_id).order_by(attempts.c.fence)
            return [attempt_record(row) for row in connection.execute(query)]

    def provenances(self, run_ids: Collection[int]) -> list[Provenance]:
        """What is recorded of these runs' newest attempts, once for all that share it, by their first run."""
        same = (attempts.c.provenance, attempts.c.shared_slots)
        query = select(*same, func.count()).select_from(runs).join(attempts, OF_NEWEST_ATTEMPT)
        with self._read() as connection:
            query = query.where(one_of(connection, runs.c.id, run_ids)).group_by(*same).order_by(func.min(runs.c.id))
            return [
                Provenance(provenance=json.loads(text), shared_slots=slots, runs=count)
                for text, slots, count in connection.execute(query)
            ]

    def shared_slots(self, run_ids: Collection[int]) -> list[int]:
        """On how many workers a device the attempts of these runs were, rising."""
        with self._read() as connection:
            query = select(attempts.c.shared_slots).distinct().where(one_of(connection, attempts.c.run_id, run_ids))
            return sorted(connection.execute(query).scalars())


def _completed(connection: Connection, arm_keys: Iterable[str], seeds: range) -> Select[Any]:
    """Arm key and seed of completed runs."""
    # Arms by number, which the limit keeps so: their runs then lie beside each other in the file. By key, each run of a
    # long history would be a page of its own.
    those = select(arms.c.id, arms.c.key).where(one_of(connection, arms.c.key, arm_keys))
    listed = those.order_by(arms.c.id).limit(2**62).cte("listed")
    return (
        select(listed.c.key, runs.c.seed)
        .join(runs, runs.c.arm_id == listed.c.id)
        .where(runs.c.state == State.COMPLETED.value, runs.c.seed.between(seeds.start, seeds.stop - 1))
    )


def _completed_run(key: str, seed: int, facts: str | None, code: str | None) -> CompletedRun:
    return CompletedRun(arm_key=key, seed=seed, data_fingerprint=_fingerprint(facts), code=read_code(code))


def _fingerprint(facts: str | None) -> str:
    return str(read_facts(facts).get("data_fingerprint") or "")
