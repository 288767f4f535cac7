"""A database of many finished runs, made fast: rows straight into the file, points from a formula."""

import json
import math
import random
import sqlite3
from pathlib import Path

from hlbgpt_core.scale import resolve, sizes
from hlbgpt_core.settings import Settings
from orchestrator.queue.sweeps import NewArm, NewRun, NewSweep
from orchestrator.store import OpenMode, open_store
from orchestrator.store.base import to_json

ARMS = [{"depth": depth, "width": width} for depth in (2, 4, 8, 16, 32) for width in (192, 384)]
FACTS = {"data_fingerprint": "f00d", "train_tokens": 10**8, "val_tokens": 10**6, "val_bytes": 10**6}
INSERT_POINT = """INSERT INTO points (run_id, split, step, fence, loss, acc, pplx, cumulative_time, tokens_seen, epoch,
    batch_size, seq_length, lr, weight_decay, grad_norm, microbatches, bits_per_byte, extra)
    VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, 64, 1024, ?, ?, ?, ?, ?, ?)"""


def make_database(path: Path, *, runs: int, points_per_run: int, finished: float = 1.0) -> Path:
    """A sweep of `runs` runs over ten arms; nine points in ten are of the train split. Returns `path`.

    `finished` is the share of the runs that are completed, the first ones.
    """
    seeds = -(-runs // len(ARMS))
    order = [(arm, seed) for seed in range(seeds) for arm in range(len(ARMS))][:runs]
    new_runs = [NewRun(arm=arm, run_num=seed + 1, seed=100 + seed) for arm, seed in order]
    with open_store(str(path), mode=OpenMode.CREATE) as store:
        arms = [_arm(values) for values in ARMS]
        store.submit(NewSweep(name="benchmark", definition={"seed": 100}, arms=arms, runs=new_runs))
    with sqlite3.connect(path) as connection:
        if finished:
            _finish(connection, int(runs * finished))
        for (run_id,) in connection.execute("SELECT id FROM runs ORDER BY id").fetchall() if points_per_run else ():
            connection.executemany(INSERT_POINT, _points(run_id, points_per_run))
    connection.close()
    return path


def _arm(values: dict[str, int]) -> NewArm:
    settings = resolve(Settings.from_dict(values))
    found = sizes(settings)
    return NewArm(
        key=settings.key(),
        settings=settings.to_dict(),
        num_params=found.num_params,
        num_non_embedding_params=found.num_non_embedding_params,
    )


def _finish(connection: sqlite3.Connection, count: int) -> None:
    connection.execute(
        "INSERT INTO workers (host, hostname, pid, start_ticks, device, device_name, slot, slots, program_version, "
        "job, lease_seconds, started_at, beat, beat_at, ended_at) "
        "VALUES ('boot', 'host', 1, 1, 'cpu', 'a CPU', 0, 1, '0', '', 60, 1e9, 1, 1e9, 1e9)"
    )
    connection.execute(
        "INSERT INTO attempts (run_id, fence, worker_id, shared_slots, started_at, ended_at, reason, start_step, step, "
        "log_path, last_val_loss) SELECT id, 1, 1, 1, 1e9, 1e9 + 100, 'finished', 0, 1000, '', '3.5' FROM runs "
        "WHERE id <= ?",
        (count,),
    )
    connection.execute(
        "UPDATE runs SET state = 'completed', reason = 'finished', fence = 1, facts = ?, "
        "started_at = 1e9, ended_at = 1e9 + 100 WHERE id <= ?",
        (json.dumps(FACTS), count),
    )


def _points(run_id: int, count: int) -> list[tuple[object, ...]]:
    rng = random.Random(run_id)
    rows = []
    for index in range(count):
        split, step = ("val", 10 * (index // 10 + 1)) if index % 10 == 9 else ("train", index + 1)
        loss = 3 + 6 / (1 + index / 50) + rng.gauss(0, 0.05)
        extra = {f"lr_{group}": rng.random() for group in ("matrices", "position_bias", "norms", "output")}
        train = split == "train"
        metrics = (loss, rng.random(), math.exp(loss), 0.123 * step, 65536 * step, 1e-3 * step)
        of_train = (rng.random(), 4) if train else (None, None)
        bits_per_byte = None if train else loss / 3
        rows.append(
            (run_id, split, step, *metrics, rng.random(), 16 * rng.random(), *of_train, bits_per_byte, to_json(extra))
        )
    return rows
