"""A database that was removed and made again under its name is another: nothing of the old one is written into it."""

from pathlib import Path

import pytest

from orchestrator.errors import DatabaseError, DatabaseMissingError, DatabaseReplacedError, FencedError
from orchestrator.queue.attempts import Lease
from orchestrator.store import OpenMode, Store, open_store
from tests.postgresql_server import PostgresqlServer
from tests.store_examples import ALL, claim, point, register, stored_points, submit


def writes_of_a_worker(store: Store, worker: int, lease: Lease) -> None:
    """Each of a worker's writes is refused."""
    for write in (
        lambda: store.beat(worker),
        lambda: store.claim(worker),
        lambda: store.flush(lease, points=[point(1)]),
        lambda: store.end_worker(worker, "a test"),
    ):
        with pytest.raises(DatabaseReplacedError, match=r"another database is now(.|\n)*Nothing was written"):
            write()


def made_anew(location: str) -> list[str]:
    """A new database at `location` with a sweep and a worker, so that all numbers are taken; its runs' states."""
    with open_store(location, mode=OpenMode.CREATE) as store:
        submit(store)
        claim(store, register(store))
        return [run.state for run in store.runs(ALL)]


def untouched(location: str) -> bool:
    with open_store(location, mode=OpenMode.READ) as store:
        runs = list(store.runs(ALL))
        return not stored_points(store, ALL) and store.workers()[0].beat == 0 and runs[0].fence == 1


def test_a_file_that_was_made_anew_is_another_database(tmp_path: Path) -> None:
    path = tmp_path / "hlbq.db"
    with open_store(str(path), mode=OpenMode.CREATE) as store:
        submit(store)
        worker = register(store)
        lease = claim(store, worker).lease
        for file in tmp_path.glob("hlbq.db*"):
            file.unlink()
        with pytest.raises(DatabaseMissingError, match="is gone"):
            store.beat(worker)
        made_anew(str(path))
        writes_of_a_worker(store, worker, lease)
        with pytest.raises(DatabaseReplacedError):
            list(store.runs(ALL))
    assert untouched(str(path))


def test_a_servers_database_that_was_dropped_and_made_again_is_another(postgresql_server: PostgresqlServer) -> None:
    psycopg = pytest.importorskip("psycopg")
    with postgresql_server.lend_database() as url, open_store(url, mode=OpenMode.CREATE) as store:
        submit(store)
        worker = register(store)
        lease = claim(store, worker).lease
        name = url.rpartition("/")[2]
        with psycopg.connect(url.replace(name, "postgres"), autocommit=True) as other:
            other.execute(f"DROP DATABASE {name} WITH (FORCE)")
            with pytest.raises(DatabaseError, match="does not exist"):
                store.beat(worker)
            other.execute(f"CREATE DATABASE {name}")
        writes_of_a_worker(store, worker, lease)
        made_anew(url)
        writes_of_a_worker(store, worker, lease)
        assert untouched(url)


def test_tables_that_were_dropped_and_made_again_are_another_database(postgresql_server: PostgresqlServer) -> None:
    psycopg = pytest.importorskip("psycopg")
    with postgresql_server.lend_database() as url, open_store(url, mode=OpenMode.CREATE) as store:
        submit(store)
        worker = register(store)
        lease = claim(store, worker).lease
        with psycopg.connect(url, autocommit=True) as other:
            other.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        made_anew(url)
        for write in (lambda: store.beat(worker), lambda: store.claim(worker)):
            with pytest.raises(DatabaseReplacedError):
                write()
        with pytest.raises(FencedError):
            store.flush(lease, points=[point(1)])
        assert untouched(url)


def test_every_database_has_a_uid_of_its_own(store: Store, tmp_path: Path) -> None:
    with open_store(str(tmp_path / "other.db"), mode=OpenMode.CREATE) as other:
        assert len(store.uid) == 32 and store.uid != other.uid
