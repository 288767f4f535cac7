"""The store: every SQL statement of hlbq, a method a transition, the same for SQLite and PostgreSQL.

`open_store` opens a database; `Store` joins the parts, by subject:

    opening/      where a database is, connecting to it, whose and which one it is, its schema
    changing/     what people change: sweeps, control, deletion, labels, policies
    working/      what workers write: claims, runs that they hold, how runs end, workers, devices
    outgoing/     what goes out, and how far: CSV files, notices, W&B
    reading/      runs, curves, and what `status` and the dashboard ask for again and again
    code.py       the code that computed runs
    events.py     who moved what, when and why
    maintenance.py  info, integrity_check, backup

and what they share: base.py (transactions), tables.py, rows.py and points.py (rows to records and back),
filters.py (conditions), known.py (sweeps and runs that must be there).

A Store may be used by several threads; each of its methods is one short transaction.
"""

from collections.abc import Callable

from orchestrator.store.changing.control import ControlStore
from orchestrator.store.changing.deletion import DeletionStore
from orchestrator.store.changing.labels import LabelStore
from orchestrator.store.changing.policies import PolicyStore
from orchestrator.store.changing.sweeps import SweepStore
from orchestrator.store.code import CodeStore
from orchestrator.store.events import EventStore
from orchestrator.store.maintenance import MaintenanceStore
from orchestrator.store.opening.engine import BUSY_TIMEOUT_SECONDS, OpenMode, has_wal_fault, make_engine, plain_errors
from orchestrator.store.opening.identity import check_file_is_ours, guard_connections
from orchestrator.store.opening.location import StoreLocation, parse_location
from orchestrator.store.opening.schema import CURRENT, Schema, prepare
from orchestrator.store.opening.sqlite_file import check_file, make_file
from orchestrator.store.outgoing.csv_files import CsvStore
from orchestrator.store.outgoing.notices import NoticeStore
from orchestrator.store.outgoing.sync import SyncStore
from orchestrator.store.reading.dashboard import DashboardReadStore
from orchestrator.store.reading.status import StatusReadStore
from orchestrator.store.working.claims import ClaimStore
from orchestrator.store.working.devices import DeviceStore
from orchestrator.store.working.held_run import HeldRunStore
from orchestrator.store.working.workers import WorkerStore

__all__ = ["OpenMode", "Store", "StoreLocation", "has_wal_fault", "open_store", "parse_location"]


class Store(
    SweepStore,
    CsvStore,
    ClaimStore,
    HeldRunStore,
    WorkerStore,
    ControlStore,
    DeletionStore,
    LabelStore,
    StatusReadStore,
    SyncStore,
    NoticeStore,
    PolicyStore,
    DashboardReadStore,
    DeviceStore,
    EventStore,
    CodeStore,
    MaintenanceStore,
):
    """An open database. A context manager; `close` may be called twice."""

    def close(self) -> None:
        """Close the connections."""
        self._engine.dispose()

    def __enter__(self) -> "Store":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_store(
    location: str | None,
    *,
    mode: OpenMode,
    clock: Callable[[], float] | None = None,
    busy_timeout_seconds: float = BUSY_TIMEOUT_SECONDS,
    schema: Schema = CURRENT,
) -> Store:
    """Open the database at `location`: a path or URL; None is $HLBQ_DB, else hlbq.db here.

    `clock` gives seconds since the epoch, for what people read; by default this machine's, and for beats a server's
    own. Raises the subclasses of DatabaseError: for a place that can't hold a database, one that is missing,
    damaged, newer, or can't be reached.
    """
    place, may_create = parse_location(location), mode in (OpenMode.CREATE, OpenMode.FILL)
    if place.path is not None:
        there = check_file(place.path, display=place.display, may_create=may_create, writes=mode is not OpenMode.READ)
        if there:
            check_file_is_ours(place.path, place.display, must_hold_tables=not may_create)
        else:
            make_file(place.path)
    engine = make_engine(place, mode=mode, busy_timeout_seconds=busy_timeout_seconds)
    try:
        with plain_errors(place):
            uid = prepare(engine, place, mode, schema)
    except BaseException:
        engine.dispose()
        raise
    if uid:
        guard_connections(engine, place, uid)
    return Store(engine, place, clock, uid=uid, schema=schema)
