"""Finding a Ray cluster, and whether it has room. Every failure is one line with a way out."""

import contextlib
import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import LaunchError, UsageError
from orchestrator.wording.numbers import counted

NAMESPACE = "hlbq"
LOCAL = "local"
AUTO = "auto"
REACH_SECONDS = 5.0
JOIN_SECONDS = 15.0
_STARTING_SECONDS = 90.0


@dataclass(frozen=True, kw_only=True)
class Node:
    """A machine of a cluster, and how many CPUs and GPUs Ray may give away there."""

    address: str
    cpus: float
    gpus: float


@dataclass(frozen=True, kw_only=True)
class Need:
    """What one worker occupies: at least one CPU, and a GPU, a part of one, or none."""

    cpus: float
    gpus: float


def chosen_address(given: str | None, environment: Mapping[str, str]) -> str:
    """The cluster's address: `given`, else $RAY_ADDRESS, else the Ray running on this machine. Raises UsageError for
    Ray Client's addresses, and for anything that is not an address."""
    address = given or environment.get("RAY_ADDRESS") or AUTO
    if address in (LOCAL, AUTO):
        return address
    if "://" in address:
        raise UsageError(
            f"'{address}' is not the address of a node",
            "Run this on a machine of the cluster, with --address auto or HOST:6379.",
        )
    host, colon, port = address.rpartition(":")
    if not host or not colon or not port.isdecimal() or not 0 < int(port) < 65_536:
        raise UsageError(
            f"'{address}' is not the address of a Ray cluster", "Use HOST:PORT (default port 6379), or auto."
        )
    return address


@contextlib.contextmanager
def joined(address: str, *, most_local_workers: int = 1) -> Iterator[None]:
    """Join the cluster at `address` as a driver, for the block; "local" starts one for the block.

    Raises LaunchError if Ray is not installed, not running, or of another version. If Ray neither accepts nor refuses
    this program, the process ends with a message after a limit: Ray itself would wait for minutes.
    """
    ray = _import_ray()
    if address not in (LOCAL, AUTO):
        _check_that_it_answers(address)
    limit = _STARTING_SECONDS if address == LOCAL else JOIN_SECONDS
    watchdog = threading.Timer(limit, _give_up, args=(address, limit))
    watchdog.daemon = True
    watchdog.start()
    own = {"num_cpus": max(most_local_workers, os.cpu_count() or 1), "include_dashboard": False}
    try:
        ray.init(
            address=address,
            namespace=NAMESPACE,
            log_to_driver=False,
            logging_level=logging.ERROR,
            **(own if address == LOCAL else {}),
        )
    except (ConnectionError, RuntimeError, ValueError, TimeoutError, OSError) as error:
        raise _refused(address, error) from None
    finally:
        watchdog.cancel()
    try:
        yield
    finally:
        ray.shutdown()


def living_nodes() -> list[Node]:
    """The machines of the joined cluster."""
    import ray

    return [
        Node(
            address=str(node["NodeManagerAddress"]),
            cpus=float(node["Resources"].get("CPU", 0.0)),
            gpus=float(node["Resources"].get("GPU", 0.0)),
        )
        for node in ray.nodes()
        if node["Alive"]
    ]


def places(nodes: Sequence[Node], need: Need) -> int:
    """How many workers the cluster holds at once, if nothing else runs there. A worker must fit on one node."""
    return sum(_places_on(node, need) for node in nodes)


def _places_on(node: Node, need: Need) -> int:
    by_cpus = node.cpus // need.cpus
    # Workers may share a GPU, but none spans two. (1e-9: three thirds fit in one.)
    by_gpus = node.gpus // 1 * ((1 + 1e-9) // need.gpus) if need.gpus else by_cpus
    return int(min(by_cpus, by_gpus))


def check_room(nodes: Sequence[Node], need: Need, workers: int) -> None:
    """Raise UsageError, with the largest possible number, if the cluster cannot hold that many workers."""
    room = places(nodes, need)
    if room >= workers:
        return
    gpus, cpus = sum(node.gpus for node in nodes), sum(node.cpus for node in nodes)
    wanted = f"{workers * need.gpus:g} GPUs and {workers * need.cpus:g} CPUs"
    there = f"{counted(len(nodes), 'node')} with {gpus:g} GPUs and {cpus:g} CPUs"
    grows = "add --wait_for_nodes if the cluster autoscales"
    if room:
        hint = f"Use --workers {room}, or {grows}."
    elif need.gpus and gpus == 0:
        hint = f"Use --gpus_per_worker 0 to train on CPUs, or {grows}."
    else:
        hint = f"No node has room for one: lower --gpus_per_worker or --cpus_per_worker, or {grows}."
    needs = f"{counted(workers, 'worker')} need{'s' if workers == 1 else ''}"
    raise UsageError(f"{needs} {wanted}, but the cluster has {there}: room for {room}", hint)


def _import_ray() -> Any:
    # By default Ray reports usage statistics to its makers; our users did not ask for that.
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError:
        raise LaunchError("Ray is not installed", "pip install 'hlbq[ray]'") from None
    return ray


def _check_that_it_answers(address: str) -> None:
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=REACH_SECONDS).close()
    except OSError as error:
        raise LaunchError(
            f"no Ray cluster answers at {address}: {error.strerror or error}",
            "Find the address with `ray status` on its head node, or start one: ray start --head",
        ) from None


def _refused(address: str, error: Exception) -> LaunchError:
    words = " ".join(str(error).split())
    if address == AUTO and isinstance(error, ConnectionError):
        return LaunchError(
            "Ray is not running on this machine",
            "Name a cluster with --address HOST:PORT, or start one: ray start --head",
        )
    if "ersion mismatch" in words:
        return LaunchError(f"the Ray cluster at {address} is of another version: {words}", "Use the cluster's version.")
    return LaunchError(f"Ray at {address} refused: {words}", "Does `ray status` work on this machine?")


def _give_up(address: str, seconds: float) -> None:
    # Ray waits inside its C++ code and ignores our exceptions: only ending the process stops it.
    print(
        f"error: Ray at {address} did not let this program in within {seconds:.0f} s\n"
        "Run this on a machine of the cluster. Check that it is one: ray status",
        file=sys.stderr,
        flush=True,
    )
    os._exit(2)
