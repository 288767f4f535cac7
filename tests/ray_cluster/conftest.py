"""A Ray cluster of four nodes on this machine, cut off from every network: `make test-ray` starts these tests so."""

import os
import signal
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.faults.harness import ROOT

# The head has no place for workers; each of the others passes for a machine with one GPU.
GPU_NODES = 3


@dataclass(frozen=True, kw_only=True)
class RayCluster:
    """The cluster under test. `folder` holds all of Ray's logs."""

    cluster: Any
    folder: Path

    @property
    def address(self) -> str:
        """What `--address` takes."""
        return str(self.cluster.address)

    def add_node(self) -> None:
        """One more machine with a GPU."""
        self.cluster.add_node(num_cpus=2, num_gpus=1, object_store_memory=80 * 2**20)

    def kill_node(self, node_id: str) -> None:
        """What a power cut does: everything of the node is gone at once, workers and trainers included."""
        (node,) = [one for one in self.cluster.worker_nodes if one.node_id == node_id]
        (raylet,) = node.all_processes["raylet"]
        # Stopped from the top down, so that nobody has time to say farewell or to start another.
        doomed = [raylet.process.pid]
        for pid in doomed:
            os.kill(pid, signal.SIGSTOP)
            doomed += _children(pid)
        for pid in doomed:
            os.kill(pid, signal.SIGKILL)
        self.cluster.remove_node(node, allow_graceful=False)


def _children(pid: int) -> list[int]:
    """The child processes of all threads of a process."""
    found = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    return [int(child) for some in found for child in some]


def _alone() -> bool:
    """Whether this process sees the loopback interface only."""
    return [name for _, name in socket.if_nameindex()] == ["lo"]


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[RayCluster]:
    """One cluster for all tests: it takes 20 s to start."""
    if not _alone():
        pytest.fail("Ray's servers are started in a network namespace only: make test-ray")
    # Ray's sockets have long names, and names of sockets must be short.
    with tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as folder:
        os.environ |= {
            "RAY_TMPDIR": folder,
            "RAY_USAGE_STATS_ENABLED": "0",
            "PYTHONPATH": str(ROOT),
            "OMP_NUM_THREADS": "1",
        }
        from ray.cluster_utils import Cluster

        head = {"num_cpus": 0, "num_gpus": 0, "include_dashboard": False, "object_store_memory": 80 * 2**20}
        made = RayCluster(cluster=Cluster(initialize_head=True, head_node_args=head), folder=Path(folder))
        try:
            for _ in range(GPU_NODES):
                made.add_node()
            yield made
        finally:
            made.cluster.shutdown()


@pytest.fixture
def database(postgresql_server: Any) -> Iterator[str]:
    """An empty database for one test; the server asks for no password, and so takes any."""
    with postgresql_server.lend_database() as url:
        yield url.replace("hlbq@", "hlbq:open-sesame@")
