"""What killed processes left behind is found and removed; what somebody holds or wants to keep is not."""

import fcntl
import os
import sqlite3
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine

from hlbgpt_core.points import SavedCheckpoint
from orchestrator.errors import DatabaseError
from orchestrator.files import locks
from orchestrator.files.locks import lock_at_once, try_lock
from orchestrator.leftovers import find_leftovers, remove_leftovers
from orchestrator.queue.states import Reason
from orchestrator.store import Store
from orchestrator.store.opening.schema import copy_sqlite
from orchestrator.wandb_sync.leases import OwnFolder, bury, dead_syncs
from tests import store_examples


def clean(store: Store, state: Path) -> list[str]:
    found = find_leftovers(store, state)
    remove_leftovers(store, found)
    return [one.path.name for one in found]


@pytest.mark.parametrize(
    ("kept", "left"), [({}, []), ({"keep_checkpoints": True}, ["1-9"]), ({"keep_best": True}, ["best"])]
)
def test_checkpoints_of_a_completed_run_go_but_for_those_to_keep(
    store: Store, tmp_path: Path, kept: dict[str, bool], left: list[str]
) -> None:
    sweep = store_examples.new_sweep()
    store.submit(replace(sweep, bookkeeping=replace(sweep.bookkeeping, **kept)))
    worker = store_examples.register(store)
    claim = store_examples.claim(store, worker)
    folder = tmp_path / "checkpoints" / claim.run.uid
    for name in ("1-5", "1-9", "best", ".1-10.partial-77"):
        (folder / name).mkdir(parents=True)
        (folder / name / "model").write_bytes(b"x" * 100)
    saved = SavedCheckpoint(path=f"checkpoints/{claim.run.uid}/1-9", sha256="0" * 64, step=9)
    store.commit_checkpoint(claim.lease, saved)
    assert clean(store, tmp_path) == []  # it is still at work
    store.finish(claim.lease, store_examples.ending(Reason.FINISHED))
    assert clean(store, tmp_path)
    assert (sorted(one.name for one in folder.iterdir()) if folder.exists() else []) == left
    assert clean(store, tmp_path) == []


def test_exports_that_were_killed_go_and_those_at_work_stay(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dead, alive, new, other = (
        tmp_path / name
        for name in (".r.csv.12-0a1b2c3d.tmp", ".r.csv.13-0a1b2c3d.tmp", ".r.csv.14-0a1b2c3d.tmp", ".a-somebody.tmp")
    )
    for path in (dead, alive, new, other):
        path.write_text("x")
    for path in (dead, alive, other):
        os.utime(path, (1, 1))
    with alive.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert clean(store, tmp_path) == [dead.name]
    assert [path.exists() for path in (dead, alive, new, other)] == [False, True, True, True]


def test_backups_that_were_killed_go_and_those_at_work_stay(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    dead, alive, other = (tmp_path / name for name in (".hlbq.db.12.partial", ".b.db.13.partial", ".mine.partial"))
    for path in (dead, alive, other):
        path.write_text("x")
        os.utime(path, (1, 1))
    with alive.open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert clean(store, tmp_path) == [dead.name]
    assert [path.exists() for path in (dead, alive, other)] == [False, True, True]


def test_a_backup_replaces_no_file_that_came_meanwhile(tmp_path: Path) -> None:
    engine, target = create_engine(f"sqlite:///{tmp_path / 'a.db'}"), tmp_path / "b.db"
    target.write_text("another's")
    with engine.connect() as connection, pytest.raises(DatabaseError, match="File exists"):
        copy_sqlite(connection, target)
    assert target.read_text() == "another's" and not list(tmp_path.glob(".*"))


def test_a_backup_on_a_full_disk_is_refused_in_words(tmp_path: Path) -> None:
    """SQLite's own backup tells of it by an error without a code."""

    class Full(sqlite3.Connection):
        def backup(self, target: sqlite3.Connection, **more: Any) -> None:  # type: ignore[override]
            raise sqlite3.OperationalError("database or disk is full")

    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(tmp_path / "a.db", factory=Full))
    with engine.connect() as connection, pytest.raises(DatabaseError, match="disk is full"):
        copy_sqlite(connection, tmp_path / "b.db")
    assert not list(tmp_path.glob("*b.db*"))


def test_a_backup_at_work_is_locked(tmp_path: Path) -> None:
    """The copy is asked about while it is written: after it every lock is gone."""
    source = sqlite3.connect(tmp_path / "a.db")
    source.execute("CREATE TABLE t (x)")
    seen: list[bool] = []

    class Copied(sqlite3.Connection):
        def backup(self, target: sqlite3.Connection, **more: Any) -> None:  # type: ignore[override]
            [partial] = tmp_path.glob(".b.db.*.partial")
            with partial.open() as file:
                seen.append(lock_at_once(file.fileno()))
            source.backup(target)

    engine = create_engine("sqlite://", creator=lambda: sqlite3.connect(tmp_path / "a.db", factory=Copied))
    with engine.connect() as connection:
        copy_sqlite(connection, tmp_path / "b.db")
    assert seen == [False] and (tmp_path / "b.db").stat().st_size > 0
    source.close()


def test_folders_of_dead_syncs_go_and_their_leases_with_them(store: Store, tmp_path: Path) -> None:
    processes = tmp_path / "wandb" / "processes"
    for name in ("dead", "alive", "beginning"):
        (processes / name).mkdir(parents=True)
    (processes / "dead" / "lock").touch()
    with try_lock(processes / "alive" / "lock"):
        assert clean(store, tmp_path) == ["dead"]
    assert sorted(one.name for one in processes.iterdir()) == ["alive", "beginning"]


def test_a_sync_that_was_taken_for_dead_before_it_was_locked_takes_another_name(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own, lock, others = OwnFolder(tmp_path), locks.lock_at_once, ExitStack()
    first = own.path

    def late(descriptor: int) -> bool:
        monkeypatch.setattr(locks, "lock_at_once", lock)
        assert dead_syncs(tmp_path) == [first]
        others.enter_context(try_lock(first / "lock"))  # another process begins to bury it
        return lock(descriptor)

    monkeypatch.setattr(locks, "lock_at_once", late)
    with own:
        others.close()
        bury(first, store)
        assert own.path != first and own.path.name == own.owner
        assert dead_syncs(tmp_path) == [] and [one.name for one in own.path.parent.iterdir()] == [own.owner]


def test_a_dead_sync_may_be_buried_twice(store: Store, tmp_path: Path) -> None:
    dead = tmp_path / "processes" / "dead"
    dead.mkdir(parents=True)
    (dead / "lock").touch()
    for _ in range(2):
        bury(dead, store)
    assert not dead.exists()


def test_a_sync_may_leave_while_others_look_for_dead_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own, exists = OwnFolder(tmp_path), Path.exists
    own.__enter__()

    def leaves(self: Path) -> bool:
        found = exists(self)
        own.__exit__()
        return found

    monkeypatch.setattr(Path, "exists", leaves)
    assert dead_syncs(tmp_path) == []
