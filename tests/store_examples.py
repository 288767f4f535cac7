"""Small sweeps, points and workers for tests of the store."""

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
from sqlalchemy import Connection, select

from hlbgpt_core.points import Facts, Phase, Point, Progress, SavedCheckpoint, Split
from hlbgpt_core.settings import Settings
from orchestrator.errors import DatabaseBusyError
from orchestrator.queue.attempts import Claim, Ending
from orchestrator.queue.points import StoredPoint
from orchestrator.queue.runs import Bookkeeping, RunFilter
from orchestrator.queue.states import Limits, Reason
from orchestrator.queue.sweeps import NewArm, NewRun, NewSweep, SweepRecord
from orchestrator.queue.workers import WorkerIdentity
from orchestrator.store import Store
from orchestrator.store.filters import conditions
from orchestrator.store.points import read_point
from orchestrator.store.tables import points, runs

ALL = RunFilter()


def arm(depth: int = 2, **settings: Any) -> NewArm:
    """An arm with true settings and made-up sizes."""
    resolved = Settings.from_dict({"depth": depth, "width": 64, **settings})
    return NewArm(key=resolved.key(), settings=resolved.to_dict(), num_params=depth, num_non_embedding_params=depth)


@contextlib.contextmanager
def commits_unanswered(store: Store, patched: pytest.MonkeyPatch) -> Iterator[None]:
    """The store's transactions are committed, and then the connection breaks."""
    writing = store._write

    @contextlib.contextmanager
    def unanswered() -> Iterator[Connection]:
        with writing() as connection:
            yield connection
        raise DatabaseBusyError("the connection broke", "Try again.")

    with patched.context() as for_now:
        for_now.setattr(store, "_write", unanswered)
        yield


def new_sweep(*, depths: Sequence[int] = (2,), seeds: int = 1, limits: Limits | None = None, **rest: Any) -> NewSweep:
    """Arms that differ in depth, each with the same seeds from 100 on, numbered seed by seed."""
    runs = [NewRun(arm=at, run_num=num, seed=99 + num) for num in range(1, seeds + 1) for at in range(len(depths))]
    bookkeeping = Bookkeeping(limits=limits or Limits())
    return NewSweep(arms=[arm(depth) for depth in depths], runs=runs, bookkeeping=bookkeeping, **rest)


def submit(store: Store, **asked: Any) -> SweepRecord:
    """Submit `new_sweep(**asked)`."""
    return store.submit(new_sweep(**asked))


def identity(number: int = 1, *, device: str = "cpu", **rest: Any) -> WorkerIdentity:
    """A worker on the one host of these tests."""
    return WorkerIdentity(host="boot:1", hostname="here", pid=number, start_ticks=number, device=device, **rest)


def register(store: Store, number: int = 1, **rest: Any) -> int:
    """Register a worker; returns its number."""
    return store.register_worker(identity(number, **rest), lease_seconds=60)


def claim(store: Store, worker_id: int, **rest: Any) -> Claim:
    """Claim a run that must be there."""
    taken = store.claim(worker_id, **rest)
    assert taken is not None
    return taken


def point(step: int, split: Split = Split.TRAIN, **changed: Any) -> Point:
    """A point whose loss tells its step."""
    values: dict[str, Any] = {
        "loss": 10.0 - step / 100,
        "acc": 0.25,
        "pplx": 2.5,
        "cumulative_time": step * 0.5,
        "tokens_seen": step * 1024,
        "epoch": step / 1000,
        "batch_size": 8,
        "seq_length": 128,
        "lr": 1e-3,
        "weight_decay": 16.0,
    }
    return Point(split=split, step=step, **(values | changed))


def progress(step: int) -> Progress:
    """Progress at a step."""
    return Progress(phase=Phase.TRAIN, step=step, fraction=0.5, tokens_per_second=1000.0, tokens_seen=step * 1024)


def facts(**changed: Any) -> Facts:
    """What a trainer tells at its start."""
    values: dict[str, Any] = {
        "data_fingerprint": "abc",
        "train_tokens": 1000,
        "val_tokens": 100,
        "val_bytes": 400,
        "device": "cpu",
        "device_name": "a processor",
        "precision": "float32",
        "path": "plain",
        "threads": 1,
        "deterministic": True,
        "provenance": {"git": "1234"},
    }
    return Facts(**(values | changed))


def saved(step: int) -> SavedCheckpoint:
    """A checkpoint's pointer."""
    return SavedCheckpoint(path=f"checkpoints/{step}", sha256=f"{step:064x}", step=step)


def ending(reason: Reason, **rest: Any) -> Ending:
    """How an attempt ended."""
    return Ending(reason=reason, **rest)


def steps(store: Store, run_id: int, split: Split | None = None) -> list[int]:
    """The steps of a run's stored points."""
    return [one.point.step for one in stored(store, run_id, split)]


def stored(store: Store, run_id: int, split: Split | None = None) -> list[StoredPoint]:
    """A run's stored points."""
    return stored_points(store, RunFilter(run_ids=(run_id,)), split)


def stored_points(store: Store, wanted: RunFilter = ALL, split: Split | None = None) -> list[StoredPoint]:
    """The stored points of the runs that pass `wanted`, by run, split and step."""
    splits = [one.value for one in Split if split in (None, one)]
    with store._read() as connection:
        query = select(points).join(runs).where(points.c.split.in_(splits), *conditions(connection, wanted))
        return [read_point(row) for row in connection.execute(query.order_by(*points.primary_key))]
