"""Databases of any number of runs, made in seconds without training: rows by SQL, points from a formula.

    python -m benchmarks.growing_database FILE [--runs 100000] [--seeds 50] [--points 20] [--sweeps 1]

Works on SQLite and PostgreSQL. Every run has a train and a val point at each of `points / 2` steps.
"""

import argparse
import json
from dataclasses import dataclass

from sqlalchemy import Connection

from hlbgpt_core.scale import resolve, sizes
from hlbgpt_core.settings import Settings
from orchestrator.queue.sweeps import EverySeed, NewArm, NewSweep
from orchestrator.store import OpenMode, Store, open_store

FACTS = {
    "data_fingerprint": "f00d",
    "train_tokens": 10**8,
    "val_tokens": 10**6,
    "val_bytes": 3 * 10**6,
    "device": "cuda:0",
    "device_name": "a GPU",
    "precision": "bfloat16",
    "path": "fast",
    "threads": 1,
    "deterministic": False,
}
CODE = [["0123456789abcdef", 0, "832bbf9"]]
PROVENANCE = {"core_digest": CODE[0][0], "git_commit": CODE[0][2], "python": "3.11.9", "torch": "2.13.0"}
_STEPS = "WITH RECURSIVE steps(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM steps WHERE n < {steps})"
_LOSS = "3.0 + 0.05 * (runs.arm_id % 17) + 6.0 / (1 + n) + 0.0001 * (runs.id * 7919 % 1000)"
_POINTS = """
INSERT INTO points (run_id, split, step, fence, loss, acc, pplx, cumulative_time, tokens_seen, epoch, batch_size,
                    seq_length, lr, weight_decay, grad_norm, microbatches, bits_per_byte)
{steps}
SELECT runs.id, '{split}', 50 * n, 1, {loss}, 0.2, 20.0, 1.25 * n, 65536 * n, 0.001 * n, 64, 1024, 0.001, 16.0,
       {of_train}
FROM runs CROSS JOIN steps WHERE runs.fence > 0 AND runs.sweep_id = {sweep} ORDER BY runs.id, n
"""


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What a database holds. Of each sweep's runs the first `finished` (0 to 1) are completed, the others pending."""

    runs: int
    seeds: int = 50
    points: int = 20
    sweeps: int = 1
    finished: float = 1.0


def fill(store: Store, shape: Shape) -> None:
    """Add the sweeps to an open database."""
    arms = max(1, shape.runs // shape.sweeps // shape.seeds)
    seeds = max(1, shape.runs // shape.sweeps // arms)
    new_arms = [_arm(place) for place in range(arms)]
    with store._write() as connection:
        connection.exec_driver_sql(
            "INSERT INTO workers (host, hostname, pid, start_ticks, device, device_name, slot, slots, program_version, "
            "job, lease_seconds, started_at, beat, beat_at, ended_at) "
            "VALUES ('boot', 'host', 1, 1, 'cuda:0', 'a GPU', 0, 1, '0', '', 60, 1e9, 1, 1e9, 1e9)"
        )
        worker = connection.exec_driver_sql("SELECT max(id) FROM workers").scalar_one()
    for number in range(1, shape.sweeps + 1):
        every = EverySeed(arms=arms, first_seed=100, num_runs=seeds)
        definition = {"axes": {"lr_mult": [arm.settings["lr_mult"] for arm in new_arms]}, "seed": 100}
        sweep = store.submit(NewSweep(name=f"growth {number}", arms=new_arms, runs=every, definition=definition))
        with store._write() as connection:
            _finish(connection, sweep.id, int(arms * seeds * shape.finished), worker)
            if shape.points:
                _add_points(connection, sweep.id, shape.points // 2)


def _arm(place: int) -> NewArm:
    values = {"depth": 2 ** (place % 4 + 1), "width": 192, "warmup_steps": 100 + place % 10}
    settings = resolve(Settings.from_dict({**values, "lr_mult": 1 + place / 1000}))
    found = sizes(settings)
    return NewArm(
        key=settings.key(),
        settings=settings.to_dict(),
        num_params=found.num_params,
        num_non_embedding_params=found.num_non_embedding_params,
    )


def _finish(connection: Connection, sweep_id: int, count: int, worker: int) -> None:
    chosen = f"id IN (SELECT id FROM runs WHERE sweep_id = {sweep_id} ORDER BY id LIMIT {count})"
    connection.exec_driver_sql(
        "UPDATE runs SET state = 'completed', reason = 'finished', fence = 1, started_at = 1e9, ended_at = 1e9 + 100, "
        "checkpoint_path = 'checkpoints/' || uid || '/1-1000', checkpoint_sha256 = uid || uid || uid, "
        f"checkpoint_step = 1000, facts = '{json.dumps(FACTS)}', code = '{json.dumps(CODE)}' WHERE {chosen}"
    )
    connection.exec_driver_sql(
        "INSERT INTO attempts (run_id, fence, worker_id, shared_slots, started_at, ended_at, reason, start_step, step, "
        "log_path, provenance, last_train_loss, last_val_loss) "
        f"SELECT id, 1, {worker}, 1, 1e9, 1e9 + 100, 'finished', 0, 1000, 'logs/' || uid || '/1.log', "
        f"'{json.dumps(PROVENANCE)}', '3.4', '3.5' FROM runs WHERE {chosen}"
    )


def _add_points(connection: Connection, sweep_id: int, steps: int) -> None:
    made = _STEPS.format(steps=steps)
    for split, of_train in (("train", "0.5, 4, NULL"), ("val", "NULL, NULL, 1.2")):
        statement = _POINTS.format(steps=made, split=split, loss=_LOSS, of_train=of_train, sweep=sweep_id)
        # The driver takes % for the mark of a parameter on PostgreSQL.
        connection.exec_driver_sql(statement if connection.dialect.name == "sqlite" else statement.replace("%", "%%"))


def main() -> None:
    """Make one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("file", help="a file that is not there, or postgresql://... of an empty database")
    for name, value in (("runs", 100_000), ("seeds", 50), ("points", 20), ("sweeps", 1)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--finished", type=float, default=1.0)
    given = vars(parser.parse_args())
    with open_store(given.pop("file"), mode=OpenMode.CREATE) as store:
        fill(store, Shape(**given))


if __name__ == "__main__":
    main()
