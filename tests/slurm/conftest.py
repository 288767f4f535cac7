"""A Slurm cluster for the session, and for each test a database and a folder in which `hlbq launch slurm` is typed."""

import contextlib
import os
import shlex
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orchestrator.store import OpenMode, Store, open_store
from tests.faults.harness import wait_until, with_stand_in
from tests.postgresql_server import PostgresqlServer
from tests.slurm.cluster import NoClusterError, SlurmCluster, one_node_cluster
from tests.stand_in_trainer import Plan

PASSWORD = "s3cret-of-the-database"
PATIENCE_SECONDS = 120.0


@pytest.fixture(scope="session")
def cluster() -> Iterator[SlurmCluster]:
    """One cluster for all tests."""
    with contextlib.ExitStack() as stack:
        try:
            started = stack.enter_context(one_node_cluster())
        except NoClusterError as error:
            if os.environ.get("CI") == "true":
                pytest.fail(f"{error}, and with CI=true that is a failure")
            pytest.skip(str(error))
        yield started


@dataclass(frozen=True, kw_only=True)
class Login:
    """A login node: a folder, a database whose URL holds a password, and the cluster's commands."""

    folder: Path
    db: str
    cluster: SlurmCluster

    @property
    def state(self) -> Path:
        """The state folder."""
        return self.folder / "state"

    def hlbq(self, line: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Type a line of `hlbq`, with the database in the environment. Jobs inherit that."""
        return subprocess.run(
            [sys.executable, "-P", "-m", "orchestrator.cli.main", *shlex.split(line)],
            cwd=self.folder,
            env={**os.environ, **self.cluster.environment, "HLBQ_DB": self.db, **environment},
            capture_output=True,
            text=True,
            timeout=120,
        )

    def launch(self, line: str, plan: Plan | None = None, *, gpus: int = 0, **environment: str) -> str:
        """Launch workers, with stand-ins for trainers where they have a plan; returns the number that their jobs
        begin with."""
        environment |= with_stand_in(plan, driver=gpus > 0) if plan is not None else {}
        options = f"--gpus_per_worker {gpus} --state_dir {self.state}"
        done = self.hlbq(f"launch slurm {options} {line}", **environment)
        assert done.returncode == 0, done.stderr
        return done.stderr.partition("Slurm jobs ")[2].split()[0].rstrip(",").partition("_")[0]

    def store(self) -> Store:
        """The database, for looking."""
        return open_store(self.db, mode=OpenMode.READ)

    def wait(self, condition: Callable[[], bool], what: str, seconds: float = PATIENCE_SECONDS) -> None:
        """Wait on a condition; shows what jobs and Slurm said where it does not come."""
        try:
            wait_until(condition, seconds=seconds, what=what)
        except AssertionError:
            for path in sorted(self.state.glob("launch/*_log.*")):
                print(f"--- {path.name}\n{path.read_text(errors='replace')[-2000:]}", file=sys.stderr)
            print(f"{self.cluster.jobs()}\n{self.cluster.log()}", file=sys.stderr)
            raise

    def active(self) -> dict[str, str]:
        """The jobs that wait or run."""
        over = ("COMPLETED", "FAILED", "CANCELLED", "TIMEOUT", "NODE_FAIL")
        return {job: state for job, state in self.cluster.jobs().items() if state not in over}


@pytest.fixture
def login(tmp_path: Path, cluster: SlurmCluster, postgresql_server: PostgresqlServer) -> Iterator[Login]:
    with postgresql_server.lend_database() as url:
        made = Login(folder=tmp_path, db=url.replace("hlbq@", f"hlbq:{PASSWORD}@"), cluster=cluster)
        yield made
        cluster.run("scancel", "--user=root")
        wait_until(lambda: not made.active(), seconds=60, what="the cluster is idle again")
