"""`hlbq launch ray`: workers on a Ray cluster."""

import os
import secrets
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import typer

from orchestrator.cli.common import DatabaseOption
from orchestrator.cli.option_groups import OptionGroup, option
from orchestrator.cli.output import counted, note, suggest, warn
from orchestrator.errors import DatabaseBusyError, UsageError
from orchestrator.files.state_folder import make_state_folder, state_folder
from orchestrator.launch import ray_cluster
from orchestrator.launch.python_process import hlbq_argv
from orchestrator.launch.ray_cluster import Need
from orchestrator.launch.ray_fleet import POLL_SECONDS, STOP_SECONDS, RayFleet
from orchestrator.launch.ray_worker import WorkerOrder
from orchestrator.launch.reachable_database import check_shared, warning_if_not_shared
from orchestrator.launch.stop_signals import handled
from orchestrator.launch.worker_command import WorkerOptions
from orchestrator.queue.runs import RunFilter
from orchestrator.wording.secrets import without_credentials

if TYPE_CHECKING:
    from orchestrator.store import Store


@dataclass(frozen=True, kw_only=True)
class ClusterOptions(OptionGroup):
    """Which cluster, and how much of it."""

    address: str | None = option(
        None,
        help="The cluster: HOST:PORT, auto (the Ray running on this machine), or local (start a Ray here; "
        "default: $RAY_ADDRESS, else auto).",
    )
    workers: int = option(1, help="How many workers.", minimum=1, maximum=10_000)
    gpus_per_worker: float = option(
        1.0, help="GPUs for each worker: 1, a part of one to share it (0.5), or 0 for the CPU.", minimum=0, maximum=1
    )
    cpus_per_worker: int = option(1, help="CPUs that Ray reserves for each worker.", minimum=1)
    wait_for_nodes: bool = option(False, help="Wait for an autoscaling cluster to add nodes.")


def ray(
    cluster: ClusterOptions,
    what: WorkerOptions,
    database: DatabaseOption,
    detach: bool = option(False, help="Leave the workers to Ray and return at once; --stop ends them."),
    stop: bool = option(False, help="Make all launched workers on the cluster release their runs and end."),
) -> None:
    """Start workers on a Ray cluster, and show their progress until the queue is empty.

    If a node dies, Ray starts its workers again on another. Ctrl-C once releases the runs after a checkpoint; twice
    stops at once. Exit code 1 if a run failed, or a worker could not work.
    """
    address = ray_cluster.chosen_address(cluster.address, os.environ)
    if stop:
        with ray_cluster.joined(address):
            _stop_launched()
        return
    if detach and address == ray_cluster.LOCAL:
        raise UsageError(
            "--detach needs a Ray that keeps running", "Start one (`ray start --head`), and leave --address out."
        )
    _keep_password_out_of_sight(database.db)
    with database.write() as store:
        orders = _orders(store, cluster, what, local=address == ray_cluster.LOCAL, detach=detach)
        need = ray_cluster.Need(cpus=cluster.cpus_per_worker, gpus=cluster.gpus_per_worker)
        with ray_cluster.joined(address, most_local_workers=cluster.workers * cluster.cpus_per_worker):
            _check_cluster(store, cluster, need)
            if detach:
                _detach(orders, need, store, f" --address {cluster.address}" if cluster.address else "")
            else:
                _attend(store, orders, need, what)


def _keep_password_out_of_sight(db: str | None) -> None:
    """If a password was typed in the database's URL, start this command again with the URL in the environment. Anybody
    can read a command line, and Ray shows those of its drivers to everybody."""
    if db is None or without_credentials([db]) == (db,):
        return
    program = hlbq_argv(*_without_option(sys.argv[1:], "--db", db))
    os.execve(program[0], program, {**os.environ, "HLBQ_DB": db})


def _without_option(words: Sequence[str], option: str, value: str) -> list[str]:
    """The words of a command line without `option value` and `option=value`."""
    kept: list[str] = []
    for word in words:
        if word == value and kept and kept[-1] == option:
            kept.pop()
        elif word != f"{option}={value}":
            kept.append(word)
    return kept


def _orders(
    store: "Store", cluster: ClusterOptions, what: WorkerOptions, *, local: bool, detach: bool
) -> list[WorkerOrder]:
    """The order for each worker. Raises UsageError for a database that other machines cannot reach, NotThereError for
    a sweep that does not exist."""
    from orchestrator.store.known import check_named

    if not local:
        check_shared(store.location)
    check_named(store, RunFilter(sweep_ids=what.sweep))
    folder = make_state_folder(state_folder(store.location.names, what.state_dir))
    options = replace(what, state_dir=str(folder))
    launch = f"hlbq-{secrets.token_hex(2)}"
    return [
        WorkerOrder(
            options=options,
            gpus=cluster.gpus_per_worker,
            name=f"{launch}-{number}",
            detached=detach,
            environment={"HLBQ_DB": store.location.private},
        )
        for number in range(1, cluster.workers + 1)
    ]


def _check_cluster(store: "Store", cluster: ClusterOptions, need: Need) -> None:
    nodes = ray_cluster.living_nodes()
    if not cluster.wait_for_nodes:
        ray_cluster.check_room(nodes, need, cluster.workers)
    warning = warning_if_not_shared(store.location)
    if warning and len({node.address for node in nodes}) > 1:
        warn(warning)


def _detach(orders: Sequence[WorkerOrder], need: Need, store: "Store", address_option: str) -> None:
    RayFleet(say=note).start(orders, need)
    note(f"{counted(len(orders), 'worker')} left to Ray: {orders[0].name} to {orders[-1].name.rpartition('-')[2]}")
    stop = f"hlbq launch ray --stop{address_option}"
    suggest(f"They end when the queue is empty. Status: hlbq status   End them: {stop}", store)


def _attend(store: "Store", orders: Sequence[WorkerOrder], need: Need, what: WorkerOptions) -> None:
    """Start the workers, and show a live view until they have ended."""
    from orchestrator.status.live_view import LiveView

    said: list[str] = []
    sweeps = what.sweep
    plain = not sys.stderr.isatty()
    fleet = RayFleet(say=note if plain else said.append)
    came: list[int] = []
    passed_on = 0
    with handled((signal.SIGINT, signal.SIGTERM), came.append):
        fleet.start(orders, need)
        try:
            with LiveView(store, RunFilter(sweep_ids=sweeps if len(sweeps) == 1 else ())) as view:
                while fleet.at_work:
                    fleet.update()
                    passed_on = _obey(fleet, len(came), passed_on)
                    if _nothing_left_for_those_who_wait(store, fleet, sweeps):
                        for member in fleet.waiting:
                            fleet.abandon(member)
                    view.update()
                    time.sleep(POLL_SECONDS)
        except BaseException:
            # Ray would kill the workers with this process, so release their runs first.
            fleet.stop()
            fleet.wait(STOP_SECONDS)
            raise
    note(*said)
    _leave(fleet, interrupted=bool(came))


def _nothing_left_for_those_who_wait(store: "Store", fleet: RayFleet, sweeps: Sequence[int]) -> bool:
    """Whether the placed workers have all ended and no run is left, neither waiting nor held by a dead worker."""
    waiting = fleet.waiting
    if not waiting or len(fleet.at_work) > len(waiting) or len(waiting) == len(fleet.members):
        return False
    try:
        # Those that are held first: one that is given back in between is then among those that wait.
        held = store.running(RunFilter(sweep_ids=tuple(sweeps)))
        return not (held or store.waiting(sweeps) or store.may_grow(sweeps))
    except DatabaseBusyError:
        return False  # asked again next time


def _obey(fleet: RayFleet, came: int, passed_on: int) -> int:
    """Pass on the signals that came since the last check, as a handler must not call Ray. Returns how many came."""
    for number in range(passed_on + 1, came + 1):
        if number == 1:
            note("stopping: the workers release their runs (once more stops at once)")
        if number <= 2:
            fleet.stop()
        else:
            fleet.close()
    return came


def _leave(fleet: RayFleet, *, interrupted: bool) -> None:
    """Report workers that could not work, and exit with the code for the whole launch."""
    for member in fleet.broken:
        words = member.report.last_words if member.report is not None else [member.failure]
        note(f"worker {member.name} could not work:\n" + "\n".join(words))
    if interrupted:
        raise typer.Exit(130)
    codes = {member.report.exit_code for member in fleet.members if member.report is not None}
    if fleet.broken or 1 in codes:
        raise typer.Exit(1)


def _stop_launched() -> None:
    """End the workers of every launch on this cluster."""
    fleet = RayFleet(say=note)
    fleet.adopt_launched()
    if not fleet.members:
        note("there are no launched workers on this cluster")
        return
    note(f"stopping {counted(len(fleet.members), 'worker')}, which release their runs after a checkpoint")
    for member in fleet.members:
        member.actor.stop.remote()
    if not fleet.wait(STOP_SECONDS):
        note(f"{counted(len(fleet.at_work), 'worker')} did not end within {STOP_SECONDS:.0f} s: killed")
        fleet.close()
