"""A whole database into another, on the same engine or the other: `hlbq db copy`.

Tables are copied in the order of their references, in pages. Each page is one transaction with a row that records the
progress, so a killed copy goes on from the last page. Until all tables have arrived with the source's digests, the
destination has a schema revision that every program refuses.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, Column, Connection, MetaData, Table, Text, delete, func, insert, select, text, update

from orchestrator.copying.digests import TableDigest, digest_of, key_of, pages, without_zero_bytes
from orchestrator.errors import DatabaseBusyError, DatabaseError
from orchestrator.queue.attempts import Ending
from orchestrator.queue.states import Reason, State
from orchestrator.store import Store
from orchestrator.store.base import Author, insert_many, is_sqlite
from orchestrator.store.events import highest_number
from orchestrator.store.opening.identity import stored_revision
from orchestrator.store.opening.location import StoreLocation
from orchestrator.store.opening.schema import CURRENT, UNFINISHED_COPY, alembic_version
from orchestrator.store.tables import LIVE, RUNNING, database_identity, metadata, runs, workers
from orchestrator.store.working.endings import end_attempt, lock_runs
from orchestrator.wording.commands import database_option
from orchestrator.wording.numbers import counted

# A copy is a database of its own, with a uid of its own.
TABLES: Sequence[Table] = [table for table in metadata.sorted_tables if table is not database_identity]

# Exists only while a copy is under way.
_progress_metadata = MetaData()
copy_progress = Table(
    "copy_progress",
    _progress_metadata,
    Column("table_name", Text, primary_key=True),
    Column("source", Text, nullable=False),
    Column("last_key", Text, nullable=False, doc="JSON of the primary key of the last row copied"),
    Column("rows", BigInteger, nullable=False),
    Column("digest", Text, nullable=False, doc="of the copied rows, as the source had them"),
)

# How long PostgreSQL keeps the source's snapshot while the other side is busy.
_SNAPSHOT_IDLE_SECONDS = 900

# Any number will do that schema.py does not use.
_COPY_LOCK = 0x686C6272

Report = Callable[[str, int, int], None]
"""Told of a table, the rows copied or compared so far, and all of them."""


@dataclass(frozen=True, kw_only=True)
class TableCheck:
    """A table's rows and digest on both sides."""

    table: str
    source_rows: int
    rows: int
    source_digest: str
    digest: str

    @property
    def equal(self) -> bool:
        """Whether both sides hold the same."""
        return (self.source_rows, self.source_digest) == (self.rows, self.digest)


@dataclass(frozen=True, kw_only=True)
class CopyReport:
    """What a copy did: the tables on both sides, and the runs that went back into the copy's queue."""

    tables: Sequence[TableCheck]
    released_runs: int = 0

    @property
    def equal(self) -> bool:
        """Whether every table holds the same on both sides."""
        return all(table.equal for table in self.tables)


def copy_database(source: Store, destination: Store, *, release: bool = False, report: Report) -> CopyReport:
    """Copy every row of `source` into `destination` (opened to FILL), compare, and make the copy fit for use.

    `release` copies a database that is in use: in the copy its workers have ended and their runs are back in the queue.
    Raises DatabaseError if the destination holds anything else, the source is in use, or the digests differ;
    DatabaseBusyError if a side stops answering (call it again to go on).
    """
    with source._read() as reader:
        _hold_snapshot(reader)
        if not release:
            _refuse_if_in_use(reader, source.location)
        _claim_destination(destination, source.location.display)
        _discard_what_changed(reader, destination)
        sent = {
            table.name: _copy_table(reader, destination, table, source.location.display, report) for table in TABLES
        }
    checks = _compare(sent, _digests(destination, report))
    if not all(check.equal for check in checks):
        return CopyReport(tables=checks)
    return CopyReport(tables=checks, released_runs=_finish(destination, source.location.display))


def compare_databases(source: Store, destination: Store, *, report: Report) -> CopyReport:
    """Compare every table of two databases; nothing is written."""
    return CopyReport(tables=_compare(_digests(source, report), _digests(destination, report)))


def refuse_if_in_use(source: Store) -> None:
    """Raise DatabaseError if the source has live workers: a copy would miss what they write meanwhile."""
    with source._read() as reader:
        _refuse_if_in_use(reader, source.location)


def _hold_snapshot(reader: Connection) -> None:
    """Make every statement of this transaction see the same moment, as SQLite always does."""
    if not is_sqlite(reader):
        reader.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
        reader.execute(text(f"SET LOCAL idle_in_transaction_session_timeout = '{_SNAPSHOT_IDLE_SECONDS}s'"))


def _refuse_if_in_use(reader: Connection, source: StoreLocation) -> None:
    running = reader.execute(select(func.count()).select_from(runs).where(RUNNING)).scalar_one()
    live = reader.execute(select(func.count()).select_from(workers).where(LIVE)).scalar_one()
    if running or live:
        raise DatabaseError(
            f"'{source.display}' is in use by {counted(live, 'worker')} ({counted(running, 'run')} running): the copy "
            "would miss what they write from now on",
            "Stop the workers first (Ctrl-C once: they release their runs). "
            f"List them: hlbq status{database_option(source.display)}   If they are gone for "
            "good, add --release: their runs go back into the copy's queue.",
        )


def _claim_destination(destination: Store, source: str) -> None:
    """Mark an empty destination as an unfinished copy; refuse one that holds anything else."""
    name = destination.location.display
    with destination._write() as writer:
        _one_at_a_time(writer)
        if stored_revision(writer, destination.location) == CURRENT.head:
            filled = [table.name for table in TABLES if writer.execute(select(table).limit(1)).first() is not None]
            if filled:
                raise DatabaseError(
                    f"'{name}' holds data already (in {', '.join(filled)}); a copy needs an empty database",
                    "It is unchanged. Name a new file, or make a database: createdb NAME. To check a copy, add "
                    "--verify_only.",
                )
            writer.execute(update(alembic_version).values(version_num=UNFINISHED_COPY))
        _progress_metadata.create_all(writer)
        other = writer.execute(select(copy_progress.c.source).where(copy_progress.c.source != source).limit(1)).scalar()
        if other is not None:
            raise DatabaseError(
                f"'{name}' holds an unfinished copy of '{other}', not of '{source}'",
                "Finish that copy, or name an empty database.",
            )


def _discard_what_changed(reader: Connection, destination: Store) -> None:
    """Remove from an unfinished copy what has changed in the source: the first such table and all after it."""
    with destination._read() as connection:
        progress = {row.table_name: row for row in connection.execute(select(copy_progress))}
    for place, table in enumerate(TABLES):
        if (row := progress.get(table.name)) is None:
            continue
        found = digest_of(reader, table, up_to=tuple(json.loads(row.last_key)))
        if (found.rows, found.digest) != (row.rows, row.digest):
            with destination._write() as writer:
                for later in reversed(TABLES[place:]):
                    writer.execute(delete(later))
                    writer.execute(delete(copy_progress).where(copy_progress.c.table_name == later.name))
            return


def _copy_table(reader: Connection, destination: Store, table: Table, source: str, report: Report) -> TableDigest:
    """Copy the rest of a table; returns the digest of the whole table in the source."""
    total = reader.execute(select(func.count()).select_from(table)).scalar_one()
    with destination._read() as connection:
        row = connection.execute(select(copy_progress).where(copy_progress.c.table_name == table.name)).first()
    last = tuple(json.loads(row.last_key)) if row is not None else None
    sent = TableDigest(table) if row is None else TableDigest(table, row.rows, row.digest)
    report(f"copying {table.name}", sent.rows, total)
    for page in pages(reader, table, after=last):
        before = sent.rows
        sent.add(page)
        _write_page(destination, table, page, before, sent, source)
        report(f"copying {table.name}", sent.rows, total)
    return sent


def _write_page(
    destination: Store, table: Table, page: Sequence[Sequence[Any]], before: int, sent: TableDigest, source: str
) -> None:
    """Write one page and the copy's progress in one transaction."""
    here = copy_progress.c.table_name == table.name
    with destination._write() as writer:
        _one_at_a_time(writer)
        unfinished = writer.execute(select(alembic_version.c.version_num)).scalar() == UNFINISHED_COPY
        if not unfinished or before != (writer.execute(select(copy_progress.c.rows).where(here)).scalar() or 0):
            raise DatabaseBusyError(
                f"another `hlbq db copy` is writing to '{destination.location.display}'", "Wait until it has ended."
            )
        _insert(writer, table, page)
        values = {"last_key": json.dumps(key_of(table, page[-1])), "rows": sent.rows, "digest": sent.digest}
        if before:
            writer.execute(update(copy_progress).where(here).values(**values))
        else:
            writer.execute(insert(copy_progress).values(table_name=table.name, source=source, **values))


def _one_at_a_time(writer: Connection) -> None:
    """Make copies into one database write in turn, as SQLite always does."""
    if not is_sqlite(writer):
        writer.execute(select(func.pg_advisory_xact_lock(_COPY_LOCK)))


def _insert(writer: Connection, table: Table, page: Sequence[Sequence[Any]]) -> None:
    names = table.c.keys()
    if is_sqlite(writer):
        insert_many(writer, table, names, map(tuple, page))
        return
    # COPY takes a fraction of the time of the same INSERTs.
    cursor: Any = writer.connection.cursor()
    with cursor, cursor.copy(f"COPY {table.name} ({', '.join(names)}) FROM STDIN") as into:
        for row in without_zero_bytes(table, page):
            into.write_row(row)


def _digests(store: Store, report: Report) -> dict[str, TableDigest]:
    """The digest of every table of a database."""
    found = {}
    for table in TABLES:
        with store._read() as connection:
            total = connection.execute(select(func.count()).select_from(table)).scalar_one()
            digest = TableDigest(table)
            for page in pages(connection, table):
                digest.add(page)
                report(f"reading {table.name} of {store.location.display}", digest.rows, total)
        found[table.name] = digest
    return found


def _compare(sent: dict[str, TableDigest], arrived: dict[str, TableDigest]) -> list[TableCheck]:
    return [
        TableCheck(
            table=table.name,
            source_rows=sent[table.name].rows,
            rows=arrived[table.name].rows,
            source_digest=sent[table.name].digest,
            digest=arrived[table.name].digest,
        )
        for table in TABLES
    ]


def _finish(destination: Store, source: str) -> int:
    """Make a complete copy fit for use in one transaction; returns how many runs went back into its queue."""
    with destination._write() as writer:
        if destination.location.path is None:
            _advance_sequences(writer)
        released = _end_workers(writer, destination._clock(), f"copied from {source}")
        _progress_metadata.drop_all(writer)
        writer.execute(update(alembic_version).values(version_num=CURRENT.head))
        return released


def _advance_sequences(writer: Connection) -> None:
    """Set PostgreSQL's sequences past the numbers of the copied rows, deleted ones too, which they did not assign."""
    for table in TABLES:
        if "id" in table.c:
            top = highest_number(writer, table)
            if top:
                sequence = func.pg_get_serial_sequence(table.name, "id")
                writer.execute(select(func.setval(sequence, top)))


def _end_workers(writer: Connection, now: float, why: str) -> int:
    """Mark every worker in the copy as ended: none of them works on it."""
    author = Author(actor="copy", now=now)
    held = lock_runs(writer, runs.c.state == State.RUNNING.value)
    for run_id in held:
        end_attempt(writer, run_id, Ending(reason=Reason.RELEASED, error_message=why), author)
    writer.execute(update(workers).where(LIVE).values(ended_at=now, ended_why=why))
    return len(held)
