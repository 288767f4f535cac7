"""Which devices workers drive, told without torch: the trainer process is the only one to load that."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from hlbgpt_core.errors import DeviceError
from orchestrator.launch.python_process import python_module_argv

_SMI = "nvidia-smi"
# One of them is there wherever CUDA can work; a machine without pays for no look at the driver's library.
_DRIVER_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))
ALL_GPUS = "all"
# Schedulers that may show each of their jobs its own GPU as number 0.
_RENUMBERING_SCHEDULERS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device of this host. `torch_device` is its name inside the trainer, which sees no GPU but this one.

    `gpu` is the driver's number of it, None for the CPU; `uuid` the driver's name of a GPU, empty for the CPU.
    """

    name: str
    description: str
    torch_device: str
    gpu: int | None = None
    environment: tuple[tuple[str, str], ...] = ()
    uuid: str = ""


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU as the driver lists it."""

    index: int
    description: str
    uuid: str


def list_gpus() -> tuple[Gpu, ...]:
    """The host's NVIDIA GPUs by the driver's own tool, or its library; empty where there is no driver."""
    rows = _ask_driver("index,name,uuid") if shutil.which(_SMI) is not None else _ask_library()
    return tuple(
        Gpu(index=int(row[0]), description=row[1], uuid=row[2]) for row in rows if len(row) == 3 and row[0].isdecimal()
    )


def free_memory_bytes(gpu_uuid: str) -> int | None:
    """Memory that nobody holds on a GPU; None where the driver does not say."""
    rows = _ask_driver("uuid,memory.free", "nounits")
    free = [row[1] for row in rows if len(row) == 2 and row[0] == gpu_uuid]
    return int(free[0]) * 2**20 if free and free[0].isdecimal() else None


def _ask_driver(fields: str, *flags: str) -> list[list[str]]:
    """The driver's table of these fields, a row a GPU; empty where there is no driver."""
    if shutil.which(_SMI) is None:
        return []
    query = [_SMI, f"--query-gpu={fields}", ",".join(["--format=csv", "noheader", *flags])]
    try:
        listing = subprocess.run(query, capture_output=True, text=True, timeout=30, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [[cell.strip() for cell in line.split(",")] for line in listing.splitlines()]


def _ask_library() -> list[list[str]]:
    """The same three fields of each GPU where the tool is not installed, as in some containers that have GPUs."""
    if not any(path.exists() for path in _DRIVER_FILES):
        return []
    # A process of its own, and before anything hides a GPU: a worker that has asked CUDA itself holds memory there.
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    try:
        done = subprocess.run(
            python_module_argv("worker.devices.driver_library"),
            capture_output=True,
            text=True,
            timeout=30,
            check=True,
            env={**environment, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"},
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.split("\t") for line in done.stdout.splitlines()]


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
        visible = _visible(gpus)
        return gpu_device(visible[0]) if visible else cpu_device()
    return gpu_device(_gpu_numbered(gpu, gpus))


def choose_gpus(asked: str) -> tuple[Gpu, ...]:
    """The GPUs that `--gpus` asks for: `all` that this process may use, or numbers such as `0,2`.

    Raises DeviceError for one that is not there or is named twice, and where there is none at all.
    """
    gpus = list_gpus()
    if asked.strip() == ALL_GPUS:
        found = tuple(_visible(gpus))
        if not found:
            hidden = f"; CUDA_VISIBLE_DEVICES hides {len(gpus)}" if gpus else ""
            raise DeviceError(
                f"--gpus all: there is no GPU on this machine that the NVIDIA driver lists{hidden}",
                "Use --device cpu, or see `hlbq doctor`.",
            )
        return found
    words = asked.replace(",", " ").split()
    wrong = [word for word in words if not word.isdecimal()]
    if wrong or not words:
        raise DeviceError(
            f"--gpus {asked}: '{' '.join(wrong)}' is no GPU's number", "For instance: --gpus 0,2 or --gpus all"
        )
    numbers = [int(word) for word in words]
    if len(set(numbers)) < len(numbers):
        raise DeviceError(f"--gpus {asked} names a GPU twice", "Several workers on each GPU: --slots 2")
    return tuple(_gpu_numbered(number, gpus) for number in numbers)


def _gpu_numbered(number: int, gpus: Sequence[Gpu]) -> Gpu:
    found = [one for one in gpus if one.index == number]
    if not found:
        there = ", ".join(f"{one.index} ({one.description})" for one in gpus) or "none"
        raise DeviceError(
            f"there is no GPU {number} on this machine; GPUs that the NVIDIA driver lists: {there}",
            "Use another number, or --device cpu.",
        )
    return found[0]


def gpu_device(gpu: Gpu) -> Device:
    """The device of one GPU: pinned by its UUID, so that the order of devices can't mislead."""
    pinned = (("CUDA_VISIBLE_DEVICES", gpu.uuid), ("CUDA_DEVICE_ORDER", "PCI_BUS_ID"))
    name = f"gpu{gpu.index}"
    renumbered = any(os.environ.get(variable) for variable in _RENUMBERING_SCHEDULERS)
    if renumbered or gpu.uuid.startswith("MIG-"):
        # Two jobs on one host may both see their GPU as number 0, and must not be taken for sharing it.
        name = f"{name}-{gpu.uuid.removeprefix('GPU-').removeprefix('MIG-')[:8]}"
    return Device(
        name=name,
        description=gpu.description,
        torch_device="cuda:0",
        gpu=gpu.index,
        environment=pinned,
        uuid=gpu.uuid,
    )


def cpu_device() -> Device:
    """The processor as a device; GPUs are hidden from the trainer."""
    return Device(name="cpu", description=_processor(), torch_device="cpu", environment=(("CUDA_VISIBLE_DEVICES", ""),))


def _visible(gpus: Sequence[Gpu]) -> list[Gpu]:
    """The GPUs that the environment lets this process use (a cluster's scheduler sets that)."""
    allowed = os.environ.get("CUDA_VISIBLE_DEVICES")
    if allowed is None:
        return list(gpus)
    names = [name.strip() for name in allowed.split(",") if name.strip()]
    return [one for one in gpus if any(_is_named(one, name) for name in names)] or _slices(gpus, names)


def _is_named(gpu: Gpu, name: str) -> bool:
    """Whether CUDA knows the GPU by this name: its number, or its UUID, of which the beginning is enough."""
    return name == str(gpu.index) or (name.startswith("GPU-") and gpu.uuid.startswith(name))


def _slices(gpus: Sequence[Gpu], names: Sequence[str]) -> list[Gpu]:
    """The slice of a GPU (MIG) that a scheduler gave to this process; CUDA shows a process the first one alone."""
    slices = [name for name in names if name.startswith("MIG-")]
    if not gpus or not slices:
        return []
    return [Gpu(index=gpus[0].index, description=f"{gpus[0].description} (MIG slice)", uuid=slices[0])]


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return "CPU"
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "CPU")
