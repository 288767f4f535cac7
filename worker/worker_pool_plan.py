"""From what was asked for (`--gpus`, `--slots`) to the places of a crew: which devices, and how many slots fit."""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Sequence

from orchestrator.queue.records import ArmMemory
from orchestrator.store import OpenMode, open_store
from orchestrator.wording.numbers import counted
from worker.devices.devices import Device, choose_device, choose_gpus, gpu_device
from worker.devices.slot_memory import free_bytes_of, plan_slots
from worker.worker_pool import Place


def plan_places(given: argparse.Namespace, say: Callable[[str], None]) -> list[Place]:
    """A place for each slot of each device, fewer slots where the memory does not hold them; says so.

    Raises DeviceError for a device that is not there, and DatabaseError where the queue can't be read.
    """
    devices = devices_of(given)
    plans = [plan_slots(given.slots, arms, free, device) for device, arms, free in _facts(given, devices)]
    for plan in plans:
        if plan.note:
            say(plan.note)
    places = [
        Place(name=_name(device, slot, plan.slots), argv=_argv(given, device, slot, plan.slots))
        for device, plan in zip(devices, plans, strict=True)
        for slot in range(plan.slots)
    ]
    say(f"{counted(len(places), 'worker')}: {', '.join(place.name for place in places)}")
    return places


def devices_of(given: argparse.Namespace) -> tuple[Device, ...]:
    """The devices that were asked for. Raises DeviceError for one that is not there."""
    if given.gpus:
        return tuple(gpu_device(gpu) for gpu in choose_gpus(given.gpus))
    return (choose_device(given.gpu, given.device),)


def _facts(
    given: argparse.Namespace, devices: Sequence[Device]
) -> Iterator[tuple[Device, Sequence[ArmMemory], int | None]]:
    """Each device with the arms that wait and its free memory; neither is looked up for a single slot."""
    if given.slots == 1 or given.no_memory_check:
        yield from ((device, (), None) for device in devices)
        return
    with open_store(given.db, mode=OpenMode.WRITE) as store:
        for device in devices:
            arms = store.memory_of_waiting_arms(device.description, given.sweep)
            yield device, arms, free_bytes_of(device)


def _argv(given: argparse.Namespace, device: Device, slot: int, slots: int) -> list[str]:
    """The command of one worker. The database comes by the environment."""
    # -P: a file named like one of our packages in the user's folder must not take its place.
    argv = [sys.executable, "-P", "-m", "worker", "--with-parent", str(os.getpid())]
    argv += ["--slot", str(slot), "--slots", str(slots), "--label", f"{_name(device, slot, slots)}: "]
    argv += ["--threads", str(given.threads), "--count", str(given.count)]
    argv += ["--device", "cpu"] if device.gpu is None else ["--gpu", str(device.gpu)]
    if given.state_dir:
        argv += ["--state_dir", given.state_dir]
    for sweep_id in given.sweep:
        argv += ["--sweep", str(sweep_id)]
    argv += [flag for flag, wanted in (("--watch", given.watch), ("--deterministic", given.deterministic)) if wanted]
    argv += [f"--{given.path}"] if given.path else []
    argv += ["--compile", given.compile]
    return argv


def _name(device: Device, slot: int, slots: int) -> str:
    return device.name if slots == 1 else f"{device.name} slot {slot + 1} of {slots}"
