"""PostgreSQL as the shared queue: locks of the dead, roles, TLS, connections, servers that do not answer."""

import contextlib
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator.errors import DatabaseBusyError, DatabaseError, DatabaseVersionError
from orchestrator.records import RunFilter
from orchestrator.runs import Reason, State
from orchestrator.store import OpenMode, engine, open_store
from tests.command_line import Hlbq, hlbq_in
from tests.faults.harness import Fleet, drained, new_sweep, read_ledger, wait_until
from tests.faults.worker_under_fault import Faults
from tests.migration.test_migrations import next_schema
from tests.postgresql_server import PostgresqlServer
from tests.stand_in_trainer import Plan
from tests.store_examples import ALL, claim, live, point, register, submit

PAGE = Path(__file__).parents[2] / "docs" / "postgresql.md"
psycopg = pytest.importorskip("psycopg", reason="psycopg is not installed")


@pytest.fixture
def url(postgresql_server: PostgresqlServer) -> Iterator[str]:
    with postgresql_server.lend_database() as lent:
        yield lent


@pytest.fixture
def hlbq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hlbq:
    return hlbq_in(tmp_path, monkeypatch, capsys)


def ask(url: str, query: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url, autocommit=True) as connection:
        return list(connection.execute(query))


# Locks of workers that were stopped, or cut off, inside a transaction.


def test_points_that_a_stopped_worker_never_committed_do_not_hold_its_run_for_good(url: str) -> None:
    with (
        open_store(url, mode=OpenMode.CREATE, busy_timeout_seconds=0.5) as stopped,
        open_store(url, mode=OpenMode.WRITE) as judge,
    ):
        submit(stopped)
        worker = register(stopped)
        lease = claim(stopped, worker).lease
        with contextlib.suppress(DatabaseBusyError), stopped._write() as connection:
            from orchestrator.store.queue import _check_fence, _write_progress

            _check_fence(connection, lease)
            _write_progress(connection, lease, [point(step) for step in range(1, 20)], live(19), None)
            # Here it is stopped. Those that would take its run away must not be held up for their own patience.
            began = time.monotonic()
            with pytest.raises(DatabaseBusyError):
                judge.reap(worker, seen_beat=0, why="a test")
            assert time.monotonic() - began < engine.BUSY_TIMEOUT_SECONDS / 2

            def given_away() -> bool:
                with contextlib.suppress(DatabaseBusyError):
                    return bool(judge.reap(worker, seen_beat=0, why="a test"))
                return False

            wait_until(given_away, seconds=30, what="the server ends the stopped worker's transaction")
            connection.exec_driver_sql("SELECT 1")
        run = judge.run(lease.run_id)
        assert run is not None and (run.state, run.reason) == (State.PENDING, Reason.LOST)
        assert list(judge.points(ALL)) == []
