"""Which devices workers use, found without torch: only the trainer process loads that."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hlbgpt_core.errors import DeviceError
from orchestrator.launch.worker_command import gpu_numbers
from orchestrator.queue.workers import CPU
from worker.devices.driver import Gpu, list_gpus

# Schedulers that may show each of their jobs its own GPU as number 0.
_RENUMBERING_SCHEDULERS = ("SLURM_JOB_ID", "PBS_JOBID", "LSB_JOBID")


@dataclass(frozen=True, kw_only=True)
class Device:
    """A device of this host. `gpu` is the driver's number of it, None for the CPU; `uuid` the driver's name of a GPU,
    empty for the CPU."""

    name: str
    description: str
    gpu: int | None = None
    uuid: str = ""

    @property
    def torch_device(self) -> str:
        """Its name inside the trainer, which sees no GPU but this one."""
        return "cpu" if self.gpu is None else "cuda:0"

    @property
    def environment(self) -> Mapping[str, str]:
        """Shows the trainer this GPU alone, by its UUID, so that the order of devices can't mislead; or none."""
        return {"CUDA_VISIBLE_DEVICES": self.uuid, "CUDA_DEVICE_ORDER": "PCI_BUS_ID"}


def choose_device(gpu: int | None, device: str | None) -> Device:
    """The device that `--gpu` and `--device` ask for, checked options; with neither, the first GPU, else the CPU.

    Raises DeviceError for a GPU that is not there.
    """
    if device == "cpu":
        return cpu_device()
    gpus = list_gpus()
    if gpu is None:
        visible = _visible(gpus)
        return gpu_device(visible[0]) if visible else cpu_device()
    return gpu_device(_gpu_numbered(gpu, gpus))


def choose_gpus(asked: Sequence[str]) -> tuple[Gpu, ...]:
    """The GPUs that `--gpus` asks for: `all` that this process may use, or numbers such as `0,2`.

    Raises UsageError for what names none, and DeviceError for one that is not there, and where there is none at all.
    """
    numbers, gpus = gpu_numbers(asked), list_gpus()
    if numbers is not None:
        return tuple(_gpu_numbered(number, gpus) for number in numbers)
    found = tuple(_visible(gpus))
    if not found:
        hidden = f"; CUDA_VISIBLE_DEVICES hides {len(gpus)}" if gpus else ""
        raise DeviceError(
            f"--gpus all: the NVIDIA driver lists no GPU on this machine{hidden}",
            "Use --device cpu, or find out why: hlbq doctor",
        )
    return found


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
    """The device of one GPU."""
    name = f"gpu{gpu.index}"
    renumbered = any(os.environ.get(variable) for variable in _RENUMBERING_SCHEDULERS)
    if renumbered or gpu.uuid.startswith("MIG-"):
        # Two jobs on one host may both see their GPU as number 0, and must not be taken for sharing it.
        name = f"{name}-{gpu.uuid.removeprefix('GPU-').removeprefix('MIG-')[:8]}"
    return Device(name=name, description=gpu.description, gpu=gpu.index, uuid=gpu.uuid)


def cpu_device() -> Device:
    """The processor as a device; GPUs are hidden from the trainer."""
    return Device(name=CPU, description=_processor())


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
