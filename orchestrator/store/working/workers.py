"""Workers: their rows, their beats, and taking runs from those that no longer beat."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    Float,
    Select,
    and_,
    cast,
    extract,
    func,
    insert,
    literal,
    or_,
    select,
    text,
    update,
)

from orchestrator.errors import WorkerGoneError
from orchestrator.queue.runs import RunRecord
from orchestrator.queue.states import Reason
from orchestrator.queue.workers import DeviceEnding, DeviceReading, Watch, WorkerIdentity, WorkerRecord
from orchestrator.store.base import Author, StoreBase, is_sqlite, storable
from orchestrator.store.events import record_event
from orchestrator.store.opening.identity import check_uid
from orchestrator.store.opening.schema import REVISION_AND_UID, check_unchanged
from orchestrator.store.rows import record_of
from orchestrator.store.tables import RUNNING, attempts, runs, workers
from orchestrator.store.working.devices import keep_sample
from orchestrator.store.working.endings import lose_held_runs

_WORKER_ROWS: Select[Any] = select(workers, runs.c.id.label("run_id")).outerjoin(
    runs, and_(runs.c.worker_id == workers.c.id, RUNNING)
)
_LIVES = workers.c.ended_at.is_(None)
# A judge that waits does not beat, and would be judged itself.
_REAP_PATIENCE_MILLISECONDS = 300
# Knuth's multiplicative hash (The Art of Computer Programming, 6.4): numbers in a row, or in steps, spread evenly.
_CIRCLE = 2**32
_SPREAD = 2_654_435_761


def _on_arc(watch: Watch) -> ColumnElement[bool]:
    place = (workers.c.id * _SPREAD + _CIRCLE - int(watch.start * _CIRCLE)) % _CIRCLE
    return place < int(watch.share * _CIRCLE)


class WorkerStore(StoreBase):
    """Rows of workers. Whether one is dead is judged elsewhere, by beats and a monotonic clock."""

    def register_worker(self, identity: WorkerIdentity, *, lease_seconds: float, again: bool = False) -> int:
        """Write a worker's row; returns its number. `again` says that the answer to an earlier call was lost: a row
        that it may have written is ended."""
        now = self._clock()
        with self._write() as connection:
            if again:
                columns = (workers.c.host, workers.c.pid, workers.c.start_ticks)
                same = and_(*(column == getattr(identity, column.name) for column in columns))
                _end(connection, same, self._author(), "registered again")
            beats = {"beat": 0, "beat_at": self._shared_now(connection)}
            row = asdict(identity) | {"lease_seconds": lease_seconds, "started_at": now} | beats
            worker_id: int = connection.execute(insert(workers).values(**row).returning(workers.c.id)).scalar_one()
            author = self._author(worker_id=worker_id)
            record_event(connection, author, "start", why=f"{identity.device} on {identity.hostname}")
            return worker_id

    def beat(self, worker_id: int, reading: DeviceReading = DeviceReading()) -> int:  # noqa: B008 (frozen)
        """Prolong the worker's lease, and note how its device is; returns the new count.

        Raises WorkerGoneError if its row was ended, DatabaseReplacedError in another database, and
        DatabaseVersionError (the beat counts all the same) if the database was upgraded meanwhile.
        """
        now = self._clock()
        with self._write() as connection:
            count = connection.execute(
                update(workers)
                .where(workers.c.id == worker_id, _LIVES)
                .values(beat=workers.c.beat + 1, beat_at=self._shared_now(connection), **asdict(reading))
                .returning(workers.c.beat)
            ).scalar_one_or_none()
            if count is not None:
                keep_sample(connection, worker_id, count, now, reading)
            database = connection.execute(REVISION_AND_UID).one()
            check_uid(database.uid, self.location, self.uid)
        if count is None:
            raise worker_gone(worker_id)
        check_unchanged(database.revision, self.location, self._schema)
        return int(count)

    def end_worker(self, worker_id: int, why: str) -> None:
        """End a worker's row, if nobody did yet. A run that it still holds counts as lost."""
        author = self._author(worker_id=worker_id)
        with self._write() as connection:
            if _end(connection, workers.c.id == worker_id, author, why):
                lose_held_runs(connection, worker_id, author, why)
                record_event(connection, author, "end", why=why)

    def live_workers(self, watch: Watch) -> list[WorkerRecord]:
        """The live workers that `watch` names, by number."""
        if watch.share >= 1:
            return self.workers()
        return self._workers(_LIVES, or_(workers.c.host == watch.host, _on_arc(watch)))

    def workers(self, ended: bool = False) -> list[WorkerRecord]:
        """The live workers, by number; with `ended` those of the past too."""
        return self._workers() if ended else self._workers(_LIVES)

    def _workers(self, *where: ColumnElement[bool]) -> list[WorkerRecord]:
        with self._read() as connection:
            age = (self._shared_now(connection) - workers.c.beat_at).label("beat_age_seconds")
            rows = connection.execute(_WORKER_ROWS.add_columns(age).where(*where).order_by(workers.c.id))
            return [
                record_of(
                    WorkerRecord, row, identity=record_of(WorkerIdentity, row), reading=record_of(DeviceReading, row)
                )
                for row in rows
            ]

    def _shared_now(self, connection: Connection) -> ColumnElement[float]:
        """Now, by a clock that all workers and readers share: the server's own. Those of a file are on one host."""
        if is_sqlite(connection) or self._has_own_clock:
            return literal(self._clock(), Float(53))
        return cast(extract("epoch", func.clock_timestamp()), Float(53))

    def reap(self, worker_id: int, *, seen_beat: int, why: str) -> list[RunRecord]:
        """Take a dead worker's runs from it, unless it has beaten since `seen_beat` or was ended already.

        Returns those runs as they stand afterwards. Of several who reap at once, one succeeds. Raises
        DatabaseBusyError, after no more than a moment on PostgreSQL, where something holds the rows.
        """
        author = self._author("reaper", worker_id=worker_id)
        with self._write() as connection:
            if not is_sqlite(connection):
                # The dead may have left a transaction open that the server has not ended yet: try again later.
                connection.execute(text(f"SET LOCAL lock_timeout = {_REAP_PATIENCE_MILLISECONDS}"))
            if not _end(connection, and_(workers.c.id == worker_id, workers.c.beat == seen_beat), author, why):
                return []
            record_event(connection, author, "reap", why=why)
            return lose_held_runs(connection, worker_id, author, why)

    def recent_endings(self, host: str, device: str, count: int) -> Sequence[DeviceEnding]:
        """How the last `count` attempts on one device of one host ended, newest first. Those that ran out of memory
        beside others are left out: their runs are tried again alone."""
        beside_others = and_(attempts.c.reason == Reason.OOM.value, attempts.c.shared_slots > 1)
        query = (
            select(attempts.c.run_id, runs.c.arm_id, attempts.c.reason, attempts.c.error_type, attempts.c.error_message)
            .join(attempts, attempts.c.run_id == runs.c.id)
            .join(workers, workers.c.id == attempts.c.worker_id)
            .where(workers.c.host == host, workers.c.device == device, attempts.c.reason.is_not(None))
            .where(~beside_others)
            .order_by(attempts.c.id.desc())  # by their begin: a clock may be set back
            .limit(count)
        )
        with self._read() as connection:
            return [record_of(DeviceEnding, row, reason=Reason(row.reason)) for row in connection.execute(query)]


def worker_gone(worker_id: int) -> WorkerGoneError:
    """The error of a worker whose row was ended."""
    return WorkerGoneError(f"worker {worker_id} was taken for dead or has ended", "Start it again: hlbq worker")


def _end(connection: Connection, which: ColumnElement[bool], author: Author, why: str) -> bool:
    """End the row of a worker that lives; whether there was one."""
    ended = update(workers).where(which, _LIVES).values(ended_at=author.now, ended_why=storable(why))
    return connection.execute(ended).rowcount > 0
