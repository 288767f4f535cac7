"""The worker of the fault suite (a real supervisor, a stand-in trainer, short intervals), kept by a Ray actor.

Each Ray node passes for a host of its own: no worker may ask the kernel about another's process, only the lease tells.
"""

import json
import signal
import sys

from orchestrator.launch.ray_worker import RayWorker
from tests.faults.harness import SHORT
from tests.faults.worker_under_fault import main
from worker.processes import die_with_parent

# Ray's start of an actor keeps both cores busy: a worker that waits for its turn meanwhile must not pass for dead.
TIMING = {**SHORT, "self_fence_seconds": 4.0, "lease_seconds": 5.0}


class StandInRayWorker(RayWorker):
    """The actor under test, but for the command of its worker."""

    def arguments(self) -> list[str]:
        """This module's program, told what the real worker would be."""
        command = super().arguments()
        faults = json.dumps({"host": f"node {self._node_id}", "timing": TIMING})
        given = {name: command[command.index(name) + 1] for name in ("--state_dir", "--with-parent")}
        url = self._order.environment["HLBQ_DB"]
        program = [sys.executable, "-m", "tests.ray_cluster.stand_in_worker", given["--with-parent"]]
        return [*program, "--db", url, "--state_dir", given["--state_dir"], "--faults", faults]


if __name__ == "__main__":
    die_with_parent(int(sys.argv.pop(1)), signal.SIGTERM)
    sys.exit(main())
