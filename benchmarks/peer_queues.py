"""Claims a second of other queues, run by the peers' Python (see peers.py):

    python -m benchmarks.peer_queues huey|optuna FILE --queue 100000 --claimers 4 --claims 200

Huey as its documentation advises for SQLite: SqliteHuey in WAL mode; with fsync=True, because a claim of hlbq is on
disk when it returns. Its queue records no attempts: a taken task is gone. Optuna: a study in its RDB storage on SQLite,
with enqueued trials that `ask` takes, and RDBStorage's own durability (SQLite's default: FULL, no WAL). Both queues are
filled by rows written straight into their tables, as their own calls would write them.
"""

import argparse
import json
import multiprocessing
import sqlite3
import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any


def fill_huey(file: str, queue: int) -> None:
    """Add `count` different tasks."""
    from huey import SqliteHuey

    huey = SqliteHuey("runs", filename=file, fsync=False)
    train = huey.task(name="train")(train_nothing)
    rows = [("runs", huey.serialize_task(train.s(number)), 0.0) for number in range(queue)]
    with sqlite3.connect(file) as connection:
        connection.execute("DELETE FROM task")
        connection.executemany("INSERT INTO task (queue, data, priority) VALUES (?, ?, ?)", rows)
    connection.close()


def claim_huey(file: str) -> Callable[[], object]:
    """A claimer: what it returns names what was taken."""
    from huey import SqliteHuey

    huey = SqliteHuey("runs", filename=file, fsync=True, timeout=20)
    huey.task(name="train")(train_nothing)  # so that its messages are known
    return lambda: huey.dequeue().id


def train_nothing(number: int) -> int:
    """The task."""
    return number


# Its messages name it by module, so fix the name for any process that runs this file.
train_nothing.__module__ = "benchmarks.peer_queues"


def fill_optuna(file: str, queue: int) -> None:
    """As many waiting trials as asked for."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(study_name="runs", storage=f"sqlite:///{file}", load_if_exists=True)
    study.enqueue_trial({"x": 0.0})  # as a pattern
    with sqlite3.connect(file) as connection:
        (study_id,) = connection.execute("SELECT study_id FROM trials").fetchone()
        rows = [(number, study_id) for number in range(1, queue)]
        connection.executemany("INSERT INTO trials (number, study_id, state) VALUES (?, ?, 'WAITING')", rows)
        connection.execute(
            "INSERT INTO trial_system_attributes (trial_id, key, value_json) "
            "SELECT trial_id, 'fixed_params', '{\"x\": 0.0}' FROM trials WHERE number > 0"
        )
    connection.close()


def claim_optuna(file: str) -> Callable[[], object]:
    """A claimer with its own study."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.load_study(study_name="runs", storage=f"sqlite:///{file}")
    return lambda: study.ask().number


PEERS = {"huey": (fill_huey, claim_huey), "optuna": (fill_optuna, claim_optuna)}


def claimer(peer: str, file: str, claims: int, barrier: Any, answers: Any) -> None:
    """One process: a first claim that counts for nothing, then as many as asked for."""
    claim = PEERS[peer][1](file)
    taken = [claim()]
    barrier.wait()
    start = time.perf_counter()
    taken += [claim() for _ in range(claims)]
    answers.put((start, time.perf_counter(), taken))


def main() -> None:
    """Print the rate of all claimers together, and how often something was taken twice."""
    parser = argparse.ArgumentParser()
    parser.add_argument("peer", choices=PEERS)
    parser.add_argument("file")
    parser.add_argument("--fill", type=int, default=0, help="only fill the queue")
    parser.add_argument("--claimers", type=int, default=1)
    parser.add_argument("--claims", type=int, default=200)
    given = parser.parse_args()
    if given.fill:
        PEERS[given.peer][0](given.file, given.fill)
        print(json.dumps({"version": version(given.peer)}))
        return
    context = multiprocessing.get_context("spawn")
    barrier, answers = context.Barrier(given.claimers), context.Queue()
    processes = [
        context.Process(target=claimer, args=(given.peer, given.file, given.claims, barrier, answers))
        for _ in range(given.claimers)
    ]
    for process in processes:
        process.start()
    found = [answers.get(timeout=240) for _ in processes]
    for process in processes:
        process.join()
    taken = [one for _, _, names in found for one in names]
    seconds = max(end for _, end, _ in found) - min(start for start, _, _ in found)
    print(json.dumps({"rate": given.claimers * given.claims / seconds, "doubles": len(taken) - len(set(taken))}))


if __name__ == "__main__":
    main()
