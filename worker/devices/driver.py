"""What the NVIDIA driver reports of this host's GPUs, by its management library (NVML): no torch, no CUDA context."""

import contextlib
import os
import subprocess
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.launch.python_process import python_module_argv
from orchestrator.queue.workers import DeviceReading

# One of them is there wherever CUDA can work; without them CUDA's library is not asked.
_DRIVER_FILES = (Path("/dev/nvidiactl"), Path("/dev/dxg"))

WATCH_EVERY_SECONDS = 10.0

Answer = TypeVar("Answer")


@dataclass(frozen=True, kw_only=True)
class Gpu:
    """One GPU as the driver lists it."""

    index: int
    description: str
    uuid: str


def list_gpus() -> tuple[Gpu, ...]:
    """The host's NVIDIA GPUs, by NVML or else by CUDA's library; empty where there is no driver."""
    found = _ask(_listed)
    return _list_by_cuda() if found is None else found


def free_memory_bytes(gpu_uuid: str) -> int | None:
    """Memory that nobody holds on a GPU, or on a slice of one (MIG); None where the driver does not say."""
    return _ask(lambda nvml: int(nvml.nvmlDeviceGetMemoryInfo(nvml.nvmlDeviceGetHandleByUUID(gpu_uuid)).free))


def read_gpu(gpu_uuid: str) -> DeviceReading:
    """The GPU's temperature, use and memory now; None for what the driver does not say."""

    def gpu(nvml: Any) -> Any:
        return nvml.nvmlDeviceGetHandleByUUID(gpu_uuid)

    return DeviceReading(
        temperature_celsius=_ask(
            lambda nvml: float(nvml.nvmlDeviceGetTemperature(gpu(nvml), nvml.NVML_TEMPERATURE_GPU))
        ),
        use_percent=_ask(lambda nvml: float(nvml.nvmlDeviceGetUtilizationRates(gpu(nvml)).gpu)),
        memory_bytes=_ask(lambda nvml: int(nvml.nvmlDeviceGetMemoryInfo(gpu(nvml)).used)),
    )


class DeviceWatch:
    """Keeps the newest reading of the GPU with this UUID, for people who watch; of a CPU (an empty one) there is none.

    A separate thread asks: if a driver hangs, a number is missing on a screen, but no beat is late.
    """

    def __init__(self, uuid: str, *, every_seconds: float = WATCH_EVERY_SECONDS) -> None:
        self._uuid, self._every_seconds = uuid, every_seconds
        self._reading = DeviceReading()
        self._stop = threading.Event()
        if uuid:
            threading.Thread(target=self._watch, name="device-watch", daemon=True).start()

    def reading(self) -> DeviceReading:
        """The newest reading; at once."""
        return self._reading

    def close(self) -> None:
        """Ask no more."""
        self._stop.set()

    def _watch(self) -> None:
        while not self._stop.is_set():
            self._reading = read_gpu(self._uuid)
            self._stop.wait(self._every_seconds)


def _ask(question: Callable[[Any], Answer]) -> Answer | None:
    """NVML's answer; None where there is no driver, or where it does not answer this."""
    import pynvml

    try:
        pynvml.nvmlInit()
        try:
            return question(pynvml)
        finally:
            pynvml.nvmlShutdown()
    except pynvml.NVMLError:
        return None


def _listed(nvml: Any) -> tuple[Gpu, ...]:
    found = []
    for index in range(nvml.nvmlDeviceGetCount()):
        with contextlib.suppress(nvml.NVMLError):  # one that is lost, or not ours, must not hide the others
            gpu = nvml.nvmlDeviceGetHandleByIndex(index)
            found.append(Gpu(index=index, description=nvml.nvmlDeviceGetName(gpu), uuid=nvml.nvmlDeviceGetUUID(gpu)))
    return tuple(found)


def _list_by_cuda() -> tuple[Gpu, ...]:
    """The GPUs where NVML is not installed, as in containers that were given CUDA alone."""
    if not any(path.exists() for path in _DRIVER_FILES):
        return ()
    # A process of its own, and before anything hides a GPU: a worker that has asked CUDA itself holds memory there.
    environment = {name: value for name, value in os.environ.items() if name != "CUDA_VISIBLE_DEVICES"}
    environment["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID"
    command = python_module_argv("worker.devices.cuda_library")
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True, env=environment)
    except (OSError, subprocess.SubprocessError):
        return ()
    rows = [line.split("\t") for line in done.stdout.splitlines()]
    return tuple(Gpu(index=int(index), description=name, uuid=uuid) for index, name, uuid in rows)
