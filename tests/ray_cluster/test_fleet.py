"""Workers on a Ray cluster whose nodes and actors die: no run is lost, none is finished twice."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path

from orchestrator.launch.ray_cluster import Need, check_room, joined, living_nodes
from orchestrator.launch.ray_fleet import RayFleet
from orchestrator.launch.ray_worker import WorkerOrder
from orchestrator.launch.worker_command import WorkerOptions
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason
from orchestrator.store import OpenMode, Store, open_store
from tests.faults.harness import drained, new_sweep, read_ledger, submit, trainers_of, wait_until
from tests.ray_cluster.conftest import RayCluster
from tests.ray_cluster.stand_in_worker import StandInRayWorker
from tests.stand_in_trainer import Plan

NEED = Need(cpus=1, gpus=1)
# Long enough for a run that was seen to train to be training still when its worker is killed.
PLAN = Plan(steps=160, step_seconds=0.05, checkpoint_every=10)


@contextmanager
def fleet_of(workers: int, cluster: RayCluster, db: str, folder: Path) -> Iterator[RayFleet]:
    """Workers with the stand-in trainer, on nodes of the cluster."""
    environment = {"HLBQ_DB": db, "STAND_IN": json.dumps(asdict(PLAN))}
    options = WorkerOptions(state_dir=str(folder / "state"))
    orders = [
        WorkerOrder(options=options, gpus=1, name=f"test-{number}", environment=environment)
        for number in range(workers)
    ]
    said: list[str] = []
    with joined(cluster.address):
        check_room(living_nodes(), NEED, workers)
        fleet = RayFleet(say=said.append)
        fleet.start(orders, NEED, actor=StandInRayWorker)
        try:
            yield fleet
        finally:
            fleet.close()
            print("\n".join(said))


def wait_for(fleet: RayFleet, condition: Callable[[], bool], *, seconds: float, what: str) -> None:
    """Wait on a condition, and keep hearing from the workers."""

    def holds() -> bool:
        fleet.update()
        return condition()

    wait_until(holds, seconds=seconds, what=what)


def running(store: Store) -> int:
    """How many runs are being trained, past a checkpoint of theirs."""
    runs = store.running(RunFilter())
    return sum(run.checkpoint is not None for run in runs)


def test_a_node_that_dies_loses_no_run(ray_cluster: RayCluster, database: str, tmp_path: Path) -> None:
    submit(database, new_sweep(4))
    with fleet_of(2, ray_cluster, database, tmp_path) as fleet, open_store(database, mode=OpenMode.READ) as store:
        wait_for(fleet, lambda: running(store) == 2, seconds=60, what="both workers train")
        victim = fleet.members[0]
        assert victim.report is not None
        lost_node, lost_pid = victim.report.node_id, victim.report.pid
        assert trainers_of([lost_pid])
        ray_cluster.kill_node(lost_node)
        wait_until(lambda: not trainers_of([lost_pid]), seconds=30, what="the trainer is gone with the node")

        def elsewhere() -> bool:
            return victim.report is not None and victim.report.node_id != lost_node and victim.report.pid > 0

        wait_for(fleet, elsewhere, seconds=60, what="the worker is made anew on another node")
        wait_for(fleet, lambda: drained(store) and not fleet.at_work, seconds=90, what="every run ends")
        assert [member.report.exit_code for member in fleet.members if member.report] == [0, 0]
    ray_cluster.add_node()
    ledger = read_ledger(database, PLAN)
    assert ledger.clean, ledger
    assert ledger.lost_supervisors == 1
    assert ledger.attempts == 5


def test_an_actor_that_dies_leaves_no_trainer_and_its_run_is_released(
    ray_cluster: RayCluster, database: str, tmp_path: Path
) -> None:
    submit(database, new_sweep(1))
    with fleet_of(1, ray_cluster, database, tmp_path) as fleet, open_store(database, mode=OpenMode.READ) as store:
        wait_for(fleet, lambda: running(store) == 1, seconds=60, what="the worker trains")
        (member,) = fleet.members
        assert member.report is not None
        worker_pid = member.report.pid
        actor_pid = int(Path(f"/proc/{worker_pid}/stat").read_text().rpartition(")")[2].split()[1])
        os.kill(actor_pid, signal.SIGKILL)
        wait_until(lambda: not Path(f"/proc/{worker_pid}").exists(), seconds=20, what="its worker ends")
        wait_until(lambda: not trainers_of([worker_pid]), seconds=20, what="its trainer ends with it")
        assert store.attempts(1)[0].reason is Reason.RELEASED
        wait_for(fleet, lambda: drained(store) and not fleet.at_work, seconds=90, what="every run ends")
    assert read_ledger(database, PLAN).clean
