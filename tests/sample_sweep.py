"""Sweeps for tests of the readers: real rows through the store's own methods, points from a formula."""

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import update

from hlbgpt_core.points import Facts, Phase, Point, Progress, Split
from hlbgpt_core.scale import resolve, sizes
from hlbgpt_core.settings import Settings
from orchestrator.queue.attempts import Claim, Ending
from orchestrator.queue.points import ReceivedPoint
from orchestrator.queue.states import Reason
from orchestrator.queue.sweeps import CsvTarget, NewArm, NewRun, NewSweep, SweepRecord
from orchestrator.queue.workers import WorkerIdentity
from orchestrator.store import Store
from orchestrator.store.opening.schema import CURRENT, alembic_version

BASE = {"depth": 2, "width": 128, "tokenizer": "bytes", "dataset": "pystdlib"}


def submit_sweep(
    store: Store,
    arms: Sequence[Mapping[str, Any]] = ({},),
    *,
    seeds: Sequence[int] = (100,),
    name: str = "",
    csv: CsvTarget | None = None,
    with_baseline: bool = False,
) -> SweepRecord:
    """A sweep of `arms` (settings besides BASE), numbered seed by seed; the first may be its baseline."""
    new_arms = []
    for values in arms:
        settings = resolve(Settings.from_dict({**BASE, **values}))
        size = sizes(settings)
        new_arms.append(
            NewArm(
                key=settings.key(),
                settings=settings.to_dict(),
                num_params=size.num_params,
                num_non_embedding_params=size.num_non_embedding_params,
            )
        )
    runs = [
        NewRun(arm=arm, run_num=number, seed=seed)
        for number, seed in enumerate(seeds, start=1)
        for arm in range(len(new_arms))
    ]
    names = dict.fromkeys(name for values in arms for name in values)
    axes = {name: list(dict.fromkeys(values[name] for values in arms if name in values)) for name in names}
    definition: dict[str, Any] = {"axes": axes, "num_runs": len(seeds), "seed": seeds[0]}
    if with_baseline:
        definition["base_arm"] = {**BASE, **arms[0]}
    return store.submit(NewSweep(name=name, arms=new_arms, runs=runs, csv=csv, definition=definition))


def register(store: Store, *, pid: int = 4242, device: str = "cpu", hostname: str = "laptop", job: str = "") -> int:
    """A worker's row."""
    identity = WorkerIdentity(
        host="boot-1", hostname=hostname, pid=pid, start_ticks=1, device=device, device_name="a CPU", job=job
    )
    return store.register_worker(identity, lease_seconds=60.0)


def sample_points(count: int = 4, *, start: float = 5.0, every: int = 10) -> list[Point]:
    """`count` train points, and a val point at every second of them; the loss falls from `start`."""
    points = []
    for index in range(count):
        step = 1 if index == 0 else index * every
        points.append(sample_point(Split.TRAIN, step, loss=start / (1 + index / 10)))
        if index % 2:
            points.append(sample_point(Split.VAL, step, loss=0.1 + start / (1 + index / 10)))
    return points


def sample_point(split: Split, step: int, *, loss: float, extra: Mapping[str, float] | None = None) -> Point:
    """One point; everything but the loss follows from the step."""
    train = split is Split.TRAIN
    return Point(
        split=split,
        step=step,
        loss=loss,
        acc=0.3,
        pplx=math.exp(loss) if loss < 700 else math.inf,
        cumulative_time=0.25 * step,
        tokens_seen=1000 * step,
        epoch=step / 1000,
        batch_size=8,
        seq_length=32,
        lr=0.001 * step,
        weight_decay=16.0,
        grad_norm=1.5 if train else None,
        microbatches=2 if train else None,
        bits_per_byte=None if train else loss / math.log(2),
        extra=extra or {},
    )


def received(points: Sequence[Point], *, began: float) -> list[Point]:
    """The points as a supervisor received them: half a second a step, after two seconds."""
    return [ReceivedPoint(**vars(point), recorded_at=began + 2.0 + 0.5 * point.step) for point in points]


def sample_facts(**changed: Any) -> Facts:
    """What a CPU would report."""
    values: dict[str, Any] = {
        "data_fingerprint": "f00d",
        "train_tokens": 1_000_000,
        "val_tokens": 50_000,
        "val_bytes": 50_000,
        "device": "cpu",
        "device_name": "a CPU",
        "precision": "float32",
        "path": "plain",
        "threads": 1,
        "deterministic": True,
    }
    return Facts(**{**values, **changed})


def work(
    store: Store, worker_id: int, points: Sequence[Point], *, reason: Reason | None = Reason.FINISHED, **ending: Any
) -> Claim:
    """Claim the next run, write `points`, and end it for `reason`; None leaves it running."""
    claim = store.claim(worker_id)
    assert claim is not None, "the queue is empty"
    step = max((point.step for point in points), default=0)
    progress = Progress(phase=Phase.TRAIN, step=step, fraction=0.5, tokens_per_second=1234.0, tokens_seen=1000 * step)
    store.flush(claim.lease, points=points, progress=progress, facts=sample_facts())
    if reason is not None:
        store.finish(claim.lease, Ending(reason=reason, **ending))
    return claim


@contextlib.contextmanager
def upgraded(store: Store) -> Iterator[None]:
    """As if an hlbq newer than any had upgraded the database while `store` has it open."""
    with store._write() as connection:
        connection.execute(update(alembic_version).values(version_num="9999"))
    yield
    with store._write() as connection:
        connection.execute(update(alembic_version).values(version_num=CURRENT.head))
