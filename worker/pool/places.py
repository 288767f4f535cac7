"""From the options (`--gpus`, `--slots`) to the places of a pool: which devices, and how many slots fit."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from orchestrator.launch.worker_command import WorkerOptions
from orchestrator.queue.workers import ArmMemory
from orchestrator.store import OpenMode, open_store
from orchestrator.wording.numbers import counted
from worker.devices.devices import Device, choose_device, choose_gpus, gpu_device
from worker.devices.slot_memory import free_bytes_of, plan_slots
from worker.pool.worker_pool import Place


def plan_places(options: WorkerOptions, say: Callable[[str], None]) -> list[Place]:
    """A place for each slot of each device, fewer slots where the memory does not hold them; says so.

    Raises DeviceError for a device that is not there, and DatabaseError where the queue can't be read.
    """
    if any(options.gpus):
        devices = [gpu_device(gpu) for gpu in choose_gpus(",".join(options.gpus))]
    else:
        devices = [choose_device(options.gpu, options.device)]
    plans = [plan_slots(options.slots, arms, free, device) for device, arms, free in _facts(options, devices)]
    for note in filter(None, (note for _, note in plans)):
        say(note)
    places = [
        Place(name=_name(device, slot, slots), argv=_options_of(options, device, slot, slots).argv())
        for device, (slots, _) in zip(devices, plans, strict=True)
        for slot in range(slots)
    ]
    say(f"{counted(len(places), 'worker')}: {', '.join(place.name for place in places)}")
    return places


def _facts(
    options: WorkerOptions, devices: Sequence[Device]
) -> Iterator[tuple[Device, Sequence[ArmMemory], int | None]]:
    """Each device with the arms that wait and its free memory; neither is looked up for a single slot."""
    if options.slots == 1 or options.no_memory_check:
        yield from ((device, (), None) for device in devices)
        return
    with open_store(options.db, mode=OpenMode.WRITE) as store:
        for device in devices:
            arms = store.memory_of_waiting_arms(device.description, options.sweep)
            yield device, arms, free_bytes_of(device)


def _options_of(options: WorkerOptions, device: Device, slot: int, slots: int) -> WorkerOptions:
    """What one worker is asked to do. The database comes by the environment, the sweep of `hlbq run` is known."""
    return replace(
        options,
        gpu=device.gpu,
        gpus=(),
        device="cpu" if device.gpu is None else None,
        slot=slot,
        slots=slots,
        label=f"{_name(device, slot, slots)}: ",
        prestarted=False,
        db=None,
    ).ending_with_this_process()


def _name(device: Device, slot: int, slots: int) -> str:
    return device.name if slots == 1 else f"{device.name} slot {slot + 1} of {slots}"
