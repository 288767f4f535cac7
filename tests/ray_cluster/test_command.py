"""`hlbq launch ray` as a person types it, with the real worker and the real trainer."""

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import State
from orchestrator.store import OpenMode, open_store
from tests.faults.harness import ask, new_sweep, submit, trainers_of, wait_until
from tests.ray_cluster.conftest import RayCluster

HLBQ = str(Path(sys.executable).with_name("hlbq"))
PASSWORD = "open-sesame"


def launch(cluster: RayCluster, db: str, folder: Path, *words: str, gpus: int = 0) -> "subprocess.Popen[str]":
    """Start `hlbq launch ray`; its standard error can be read. The nodes only say that they have GPUs."""
    given = ["--db", db, "--address", cluster.address, "--gpus-per-worker", str(gpus)]
    given += ["--state_dir", str(folder / "state")]
    return subprocess.Popen([HLBQ, "launch", "ray", *given, *words], cwd=folder, stderr=subprocess.PIPE, text=True)


def finished(process: "subprocess.Popen[str]", *, seconds: float = 90) -> tuple[int, str]:
    """The exit code and what was printed."""
    _, said = process.communicate(timeout=seconds)
    print(said)
    return process.returncode, said


def workers_of(db: str) -> list[int]:
    """The process ids of the workers that live, by the database."""
    with open_store(db, mode=OpenMode.READ) as store:
        return [worker.identity.pid for worker in store.workers()]


def wait_for_training(db: str) -> list[int]:
    """Wait until a run is past its first point; returns the workers."""
    with open_store(db, mode=OpenMode.READ) as store:
        wait_until(lambda: ask(store, "SELECT count(*) FROM points") > 0, seconds=90, what="a run is being trained")
    return workers_of(db)


def test_ctrl_c_releases_the_run(ray_cluster: RayCluster, database: str, tmp_path: Path) -> None:
    submit(database, new_sweep(1, max_steps=2_000))
    launcher = launch(ray_cluster, database, tmp_path)
    workers = wait_for_training(database)
    printed = subprocess.run([HLBQ, "status", "--json", "--db", database], capture_output=True, text=True, timeout=60)
    jobs = [worker["job"] for worker in json.loads(printed.stdout)["workers"]]
    assert jobs and all(job.startswith("ray hlbq-") for job in jobs)
    assert commands_that_show(PASSWORD) == []
    launcher.send_signal(signal.SIGINT)
    code, said = finished(launcher)
    assert code == 130, said
    assert PASSWORD not in said
    assert files_that_hold(PASSWORD, ray_cluster.folder) == []
    wait_until(lambda: not trainers_of(workers), seconds=30, what="the trainer ends")
    with open_store(database, mode=OpenMode.READ) as store:
        assert store.counts(RunFilter())[State.PENDING] == 1
        assert ask(store, "SELECT count(*) FROM attempts WHERE reason = 'lost'") == 0


def commands_that_show(word: str) -> list[str]:
    """The command lines of this machine, this test's own children with `--db` left out, that hold `word`."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            command = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if word in command:
            found.append(command)
    return found


def files_that_hold(word: str, folder: Path) -> list[str]:
    """Ray's files (logs, the state of its servers) that hold `word`."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name.startswith("gcs_server") for path in files)
    found = []
    for path in files:
        with contextlib.suppress(FileNotFoundError):  # Ray removes files of its own
            found += [str(path)] if word.encode() in path.read_bytes() else []
    return found


def test_a_launcher_that_is_killed_leaves_nothing_running(
    ray_cluster: RayCluster, database: str, tmp_path: Path
) -> None:
    submit(database, new_sweep(1, max_steps=2_000))
    launcher = launch(ray_cluster, database, tmp_path)
    workers = wait_for_training(database)
    launcher.kill()
    finished(launcher)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), seconds=30, what="the worker ends")
    wait_until(lambda: not trainers_of(workers), seconds=30, what="its trainer ends with it")


def test_detached_workers_stay_until_they_are_stopped(ray_cluster: RayCluster, database: str, tmp_path: Path) -> None:
    submit(database, new_sweep(1, max_steps=2_000))
    code, said = finished(launch(ray_cluster, database, tmp_path, "--detach"))
    assert code == 0
    assert "hlbq launch ray --stop" in said
    workers = wait_for_training(database)
    assert all(Path(f"/proc/{pid}").exists() for pid in workers)
    stopping = subprocess.run(
        [HLBQ, "launch", "ray", "--stop", "--address", ray_cluster.address],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert "stopping 1 worker" in stopping.stderr
    assert workers_of(database) == []
    with open_store(database, mode=OpenMode.READ) as store:
        assert store.counts(RunFilter())[State.PENDING] == 1


def test_a_worker_that_cannot_work_is_told_of(ray_cluster: RayCluster, database: str, tmp_path: Path) -> None:
    submit(database, new_sweep(1))
    code, said = finished(launch(ray_cluster, database, tmp_path, gpus=1))
    assert code == 1
    assert "there is no GPU 0 on this machine" in said


def test_more_gpus_than_there_are(ray_cluster: RayCluster, database: str, tmp_path: Path) -> None:
    submit(database, new_sweep(1))
    code, said = finished(launch(ray_cluster, database, tmp_path, "--workers", "8", gpus=1))
    assert code == 2
    assert "8 workers need 8 GPUs and 8 CPUs, but the cluster has 4 nodes with 3 GPUs and 6 CPUs: room for 3" in said
    assert "Use --workers 3" in said


def test_no_cluster_at_the_address(database: str, tmp_path: Path) -> None:
    submit(database, new_sweep(1))
    given = ["--db", database, "--address", "127.0.0.1:9", "--state_dir", str(tmp_path)]
    done = subprocess.run([HLBQ, "launch", "ray", *given], capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert done.stderr.splitlines()[0] == "error: no Ray cluster answers at 127.0.0.1:9: Connection refused"


def test_something_else_at_the_address(database: str, tmp_path: Path) -> None:
    """The database itself stands in for a server that is no Ray: it takes the connection, and says nothing to it."""
    submit(database, new_sweep(1))
    server = database.rpartition("@")[2].partition("/")[0]
    given = ["--db", database, "--address", server, "--state_dir", str(tmp_path)]
    environment = {**os.environ, "RAY_BACKEND_LOG_LEVEL": "fatal"}
    done = subprocess.run([HLBQ, "launch", "ray", *given], capture_output=True, text=True, timeout=60, env=environment)
    assert done.returncode == 2
    assert f"Ray at {server} did not let this program in within 15 s" in done.stderr
    assert "Traceback" not in done.stderr
