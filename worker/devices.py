"""Which device a worker drives, told without torch: the trainer process is the only one to load that."""

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from hlbgpt_core.errors import DeviceError

_QUERY = ["nvidia-smi", "--query-gpu=index,name,uuid", "--format=csv,noheader"]


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device of this host. `torch_device` is its name inside the trainer, which sees only this one GPU.

    `uuid` is the driver's name of a GPU; empty for a CPU.
    """

    name: str
    description: str
    torch_device: str
    environment: tuple[tuple[str, str], ...] = ()
    uuid: str = ""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU as the driver lists it."""

    index: int
    description: str
    uuid: str


def list_gpus() -> tuple[Gpu, ...]:
    """The host's NVIDIA GPUs by the driver's own tool; empty where there is no driver."""
    if shutil.which(_QUERY[0]) is None:
        return ()
    try:
        listing = subprocess.run(_QUERY, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [[cell.strip() for cell in line.split(",")] for line in listing.splitlines()]
    return tuple(Gpu(index=int(row[0]), description=row[1], uuid=row[2]) for row in rows if len(row) == 3)


def choose_device(gpu: int | None, device: str | None) -> Device:
    """The device that `--gpu` and `--device` ask for; with neither, the first GPU, else the CPU.

    Raises DeviceError for a GPU that is not there, and for both options at once.
    """
    if gpu is not None and device is not None:
        raise DeviceError(f"both --gpu {gpu} and --device {device} were given", "Use one of them.")
    if device is not None and device not in ("cpu", "auto"):
        raise DeviceError(f"there is no device '{device}'", "Use --device cpu, or --gpu N for a GPU.")
    if device == "cpu":
        return cpu_device()
    gpus = list_gpus()
    if gpu is None:
        return gpu_device(_visible(gpus)[0]) if _visible(gpus) else cpu_device()
    found = [one for one in gpus if one.index == gpu]
    if not found:
        there = ", ".join(f"{one.index} ({one.description})" for one in gpus) or "none"
        raise DeviceError(
            f"there is no GPU {gpu} on this machine; GPUs that the NVIDIA driver lists: {there}",
            "Use another --gpu, or --device cpu.",
        )
    return gpu_device(found[0])


def gpu_device(gpu: Gpu) -> Device:
    """The device of one GPU: pinned by its UUID, so that the order of devices can't mislead."""
    pinned = (("CUDA_VISIBLE_DEVICES", gpu.uuid), ("CUDA_DEVICE_ORDER", "PCI_BUS_ID"))
    return Device(
        name=f"gpu{gpu.index}", description=gpu.description, torch_device="cuda:0", environment=pinned, uuid=gpu.uuid
    )


def cpu_device() -> Device:
    """The processor as a device; GPUs are hidden from the trainer."""
    return Device(name="cpu", description=_processor(), torch_device="cpu", environment=(("CUDA_VISIBLE_DEVICES", ""),))


def _visible(gpus: tuple[Gpu, ...]) -> list[Gpu]:
    """The GPUs that the environment lets this process use (a cluster's scheduler sets that)."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return list(gpus)
    names = [name.strip() for name in allowed.split(",")]
    return [one for one in gpus if str(one.index) in names or one.uuid in names]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "CPU"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")
