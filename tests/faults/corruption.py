"""Damaged checkpoints fall back to the one before; damaged and newer databases are refused and left as they were."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from hlbgpt_core.errors import HlbqError
from orchestrator.errors import DatabaseCorruptError, DatabaseVersionError
from orchestrator.queue.runs import RunFilter, RunRecord
from orchestrator.store import OpenMode, open_store
from orchestrator.store.opening.engine import sqlite_module
from tests.faults.harness import ROOT, Fleet, Ground, is_short, new_sweep, read_ledger, submit, wait_until
from tests.faults.report import FaultRow
from tests.faults.sigkill import real_sweep, undisturbed_curves
from tests.faults.worker_under_fault import Faults
from tests.stand_in_trainer import Plan

# At first slowly: two checkpoints at once are stored as one.
PLAN = Plan(steps=100, step_seconds=0.05, checkpoint_every=5, hold_after=95)


def truncate(path: Path) -> None:
    """Half of the file is gone."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def flip_a_bit(path: Path) -> None:
    """One bit in the middle is another."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def remove(path: Path) -> None:
    """The file is gone."""
    path.unlink()


DAMAGES: tuple[Callable[[Path], None], ...] = (truncate, flip_a_bit, remove)


def run(scale: float, ground: Ground) -> list[FaultRow]:
    """Checkpoints of the stand-in, those of the real trainer unless the draw is short, and databases."""
    rows = [_stand_in_checkpoints(ground, (False,) if is_short(scale) else (False, True))]
    if not is_short(scale):
        rows.append(_real_checkpoints(ground))
    return [*rows, _databases(ground)]


def _stand_in_checkpoints(ground: Ground, how_many: tuple[bool, ...]) -> FaultRow:
    """Each damage to the newest; then both damaged, which leads back to step 0."""
    began = time.monotonic()
    broken: list[str] = []
    tried = 0
    for damage in DAMAGES:
        for both in how_many:
            folder = ground.place("checkpoint")
            tried += 1
            broken += _damaged(folder, damage, both=both, files=("state.json",), real=False)
    return FaultRow(
        fault="checkpoint truncated, bit-flipped, missing",
        database="SQLite",
        landed=tried,
        besides="stand-in; one damaged: the one before; both: step 0; the same points as undisturbed",
        seconds=time.monotonic() - began,
        broken=tuple(broken),
    )


def _real_checkpoints(ground: Ground) -> FaultRow:
    """Each damage to one of the newest's files in turn."""
    began = time.monotonic()
    broken: list[str] = []
    files = ("manifest.json", "model.safetensors", "optimizer.safetensors")
    for damage, file in zip(DAMAGES, files, strict=True):
        broken += _damaged(ground.place("checkpoint"), damage, both=False, files=(file,), real=True)
    return FaultRow(
        fault="checkpoint truncated, bit-flipped, missing",
        database="SQLite",
        landed=len(DAMAGES),
        besides="real trainer; falls back to the one before; the same points as undisturbed",
        seconds=time.monotonic() - began,
        broken=tuple(broken),
    )


def _damaged(
    folder: Path, damage: Callable[[Path], None], *, both: bool, files: tuple[str, ...], real: bool
) -> list[str]:
    """Kill a worker that has two checkpoints, damage them, go on; returns what went wrong."""
    db = str(folder / "hlbq.db")
    curves = undisturbed_curves(folder, runs=1) if real else None
    submit(db, real_sweep(1) if real else new_sweep(1))
    go = folder / "go"
    plan = replace(PLAN, go=str(go))
    with Fleet(db=db, folder=folder, workers=1, plan=plan, faults=Faults(real_trainer=real)) as fleet:
        worker = fleet.start_one()
        with open_store(db, mode=OpenMode.READ) as store:

            def has_two() -> bool:
                run = store.run(1)
                return run is not None and run.previous_checkpoint is not None

            wait_until(has_two, seconds=120, what="the run has two checkpoints")
            os.kill(worker.pid, signal.SIGKILL)
            worker.wait()
            go.touch()
            fleet.plan = replace(plan, step_seconds=0.0)
            run = store.run(1)
        assert run is not None and run.checkpoint is not None and run.previous_checkpoint is not None
        hurt = (run.checkpoint, run.previous_checkpoint) if both else (run.checkpoint,)
        for checkpoint in hurt:
            for name in files:
                damage(folder / "state" / checkpoint.path / name)
        fleet.drain(seconds=120)
        fleet.stop()
        complaints = fleet.complaints()
    ledger = read_ledger(db, None if real else PLAN, curves=curves)
    wanted = 0 if both else run.previous_checkpoint.step
    return _verdict(db, run, wanted, f"{damage.__name__} {' '.join(files)}", complaints, clean=ledger.clean)


def _verdict(db: str, run: RunRecord, wanted: int, what: str, complaints: tuple[str, ...], *, clean: bool) -> list[str]:
    with open_store(db, mode=OpenMode.READ) as store:
        start = store.attempts(run.id)[-1].start_step
    found = [f"{what}: {each}" for each in complaints]
    if start != wanted:
        found.append(f"{what}: went on from step {start}, not {wanted}")
    if not clean:
        found.append(f"{what}: the points are not those of an undisturbed run")
    return found


def _databases(ground: Ground) -> FaultRow:
    """Each damage to a database of some size, opened in every mode and by a worker."""
    began = time.monotonic()
    folder = ground.place("databases")
    whole = folder / "whole.db"
    submit(str(whole), new_sweep(2_000, arms=20))
    content = whole.read_bytes()
    broken: list[str] = []
    cases: dict[str, tuple[bytes, type[HlbqError]]] = {
        "not a database": (b"hello, this is no database\n" * 200, DatabaseCorruptError),
        "header flipped": (b"X" + content[1:], DatabaseCorruptError),
        "first page garbled": (content[:100] + b"\xff" * 3_000 + content[3_100:], DatabaseCorruptError),
        "truncated to half": (content[: len(content) // 2], DatabaseCorruptError),
        "truncated in a page": (content[: len(content) // 2 + 1_000], DatabaseCorruptError),
        "truncated in the header": (content[:50], DatabaseCorruptError),
        "of a newer version": (_newer(whole, folder / "newer.db"), DatabaseVersionError),
    }
    paths = {name: folder / f"{name.replace(' ', '-')}.db" for name in cases}
    for name, (damaged, _) in cases.items():
        paths[name].write_bytes(damaged)
    broken += _refused_by_workers(paths)
    for name, (damaged, error) in cases.items():
        broken += _refused(paths[name], damaged, error, name)
    return FaultRow(
        fault="database corrupt, truncated, of a newer version",
        database="SQLite",
        landed=len(cases),
        besides="refused with a message by readers, writers and workers; the file the same byte for byte",
        seconds=time.monotonic() - began,
        broken=tuple(broken),
    )


def _newer(whole: Path, copy: Path) -> bytes:
    copy.write_bytes(whole.read_bytes())
    connection = sqlite_module().connect(str(copy))
    connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.commit()
    connection.close()
    return copy.read_bytes()


# A worker on each database in turn, in one process: seven that load all of it would take longer than the rest.
_WORKERS = """
import json, sys
from worker.__main__ import main
for path in sys.argv[1:]:
    code = main(["--db", path, "--device", "cpu"])
    print(json.dumps([path, code]), file=sys.stderr, flush=True)
"""


def _refused_by_workers(paths: dict[str, Path]) -> list[str]:
    """What went wrong when workers came upon the files."""
    command = [sys.executable, "-c", _WORKERS, *map(str, paths.values())]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, env=environment)
    found, rest = [], done.stderr
    for name, path in paths.items():
        said, _, rest = rest.partition(f"{json.dumps([str(path), 2])}\n")
        if "Traceback" in said or said.count("error:") != 1:
            found.append(f"{name}: a worker did not refuse it with exit code 2: {said[-300:]}")
    return found


def _refused(path: Path, content: bytes, error: type[HlbqError], name: str) -> list[str]:
    """What went wrong when readers and writers came upon the file."""
    found = []
    for mode in OpenMode:
        try:
            with open_store(str(path), mode=mode) as store:
                # What a command does at the least: a damage further in shows only there.
                list(store.runs(RunFilter()))
                list(store.runs_with_curves(RunFilter()))
            found.append(f"{name}: opened to {mode}")
        except error as refusal:
            if not refusal.hint:
                found.append(f"{name}: opened to {mode}, the message says not what to do")
        except Exception as other:
            found.append(f"{name}: opened to {mode}, {type(other).__name__}: {other}")
    if path.read_bytes() != content:
        found.append(f"{name}: the file was changed")
    if litter := [one.name for one in path.parent.glob(f"{path.name}-*")]:
        found.append(f"{name}: left behind {litter}")
    return found
