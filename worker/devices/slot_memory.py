"""Whether the slots fit a device's memory, judged before the first of them starts.

A slot's need is the peak of earlier runs of the arm on such a device; without those, it is estimated from the settings.
The recipes size a microbatch so that a run at gpu_capacity_scalar 1 fills a card of 40 GB in numbers of two bytes
(hlb-gpt by Fern, tysam-code, 2024); the optimizer's state comes on top.
"""

import operator
from collections.abc import Sequence
from pathlib import Path

from hlbgpt_core.settings import Settings
from orchestrator.queue.workers import ArmMemory
from worker.devices.devices import Device
from worker.devices.driver import free_memory_bytes

REFERENCE_MEMORY_BYTES = 40e9
REFERENCE_BYTES_PER_NUMBER = 2
# Weights, gradients and the optimizer's two averages, in float32.
STATE_BYTES_PER_PARAMETER = 16
# The process itself: libraries, and on a GPU the driver's context.
PROCESS_BYTES = 6e8
# A measured peak is one run's; the next may be a little larger.
MEASURED_MARGIN = 1.1
_BYTES_PER_NUMBER = {"bfloat16": 2, "float32": 4, "float64": 8}


def estimate_bytes(settings: Settings, num_params: int, *, on_gpu: bool) -> float:
    """Memory that a run of resolved `settings` needs, if nothing was measured."""
    precision = settings.precision if settings.precision != "auto" else ("bfloat16" if on_gpu else "float32")
    width = _BYTES_PER_NUMBER.get(precision, 4)
    filled = REFERENCE_MEMORY_BYTES * settings.gpu_capacity_scalar * width / REFERENCE_BYTES_PER_NUMBER
    return filled + STATE_BYTES_PER_PARAMETER * num_params + PROCESS_BYTES


def need_bytes(arm: ArmMemory, *, on_gpu: bool) -> float:
    """Memory that a slot training this arm needs."""
    if arm.measured_bytes:
        return MEASURED_MARGIN * arm.measured_bytes + (PROCESS_BYTES if on_gpu else 0)
    return estimate_bytes(Settings.from_dict(arm.settings), arm.num_params, on_gpu=on_gpu)


def plan_slots(asked: int, arms: Sequence[ArmMemory], free_bytes: int | None, device: Device) -> tuple[int, str]:
    """At most `asked` slots on a device with so much free memory, for the largest of the arms that wait; and what is to
    be said about it (may be empty).

    Fewer than asked for where they would not fit, never fewer than one: a single slot is what it would be anyway.
    """
    if asked <= 1:
        return asked, ""
    if free_bytes is None:
        return asked, f"the free memory of {device.name} is unknown: {asked} slots, unchecked"
    if not arms:
        return asked, f"no waiting run shows how much memory a slot needs: {asked} slots, unchecked"
    on_gpu = device.gpu is not None
    need, largest = max(((need_bytes(arm, on_gpu=on_gpu), arm) for arm in arms), key=operator.itemgetter(0))
    if free_bytes // need >= asked:
        return asked, ""
    slots = max(1, int(free_bytes // need))
    source = "measured" if largest.measured_bytes else "estimated from its settings"
    return slots, (
        f"{slots} instead of {asked} slots on {device.name}: the largest waiting run needs {need / 1e9:.1f} GB "
        f"({source}), but {free_bytes / 1e9:.1f} GB are free. For smaller runs: --gpu_capacity_scalar. To start all: "
        "--no-memory-check"
    )


def free_bytes_of(device: Device) -> int | None:
    """Memory that nobody holds on the device; None where it cannot be told."""
    return free_machine_bytes() if device.gpu is None else free_memory_bytes(device.uuid)


def free_machine_bytes(root: Path = Path("/")) -> int | None:
    """Memory of this machine that is free, or would be freed for who asks; less where a control group caps it."""
    free = [bytes_ for bytes_ in (_available(root / "proc/meminfo"), _left_in_group(root / "sys/fs/cgroup")) if bytes_]
    return min(free) if free else None


def _available(path: Path) -> int | None:
    try:
        lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    except OSError:
        return None
    words = next((line.split() for line in lines if line.startswith("MemAvailable:")), [])
    return int(words[1]) * 1024 if len(words) == 3 else None


def _left_in_group(folder: Path) -> int | None:
    """What the control group (version 2, or 1) leaves; None without a limit."""
    names = (("memory.max", "memory.current"), ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"))
    for limit_name, usage_name in names:
        try:
            limit, usage = (folder / limit_name).read_text().strip(), (folder / usage_name).read_text().strip()
        except OSError:
            continue
        if limit.isdecimal() and usage.isdecimal():
            return max(0, int(limit) - int(usage))
    return None
