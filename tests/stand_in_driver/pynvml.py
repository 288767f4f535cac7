"""On the PYTHONPATH of a test's processes, in the place of nvidia-ml-py: a driver that lists two GPUs.

Tests in one process put this module into `sys.modules`, and change `driver`.
"""

from dataclasses import dataclass, field
from types import SimpleNamespace

NVML_TEMPERATURE_GPU = 0


class NVMLError(Exception):
    """The driver is not there, or does not answer."""


@dataclass(kw_only=True)
class StandInGpu:
    """What the driver reports of a GPU or a slice of one; None, or `lost`: it refuses to answer."""

    uuid: str
    free_bytes: int | None = None
    used_bytes: int | None = None
    temperature: int | None = None
    use: int | None = None
    lost: bool = False


@dataclass(kw_only=True)
class StandInDriver:
    """The driver. `users` are those who have asked it to start and not to stop."""

    gpus: list[StandInGpu] = field(default_factory=list)
    slices: list[StandInGpu] = field(default_factory=list)
    installed: bool = True
    users: int = 0


driver = StandInDriver(
    gpus=[
        StandInGpu(uuid="GPU-aaaa", free_bytes=30_000 * 2**20, temperature=40, use=0),
        StandInGpu(uuid="GPU-bbbb", free_bytes=40_000 * 2**20, temperature=61, use=98),
    ]
)


@dataclass(frozen=True)
class _Memory:
    """What of a GPU's memory is free and in use; what is not known is not answered."""

    gpu: StandInGpu

    @property
    def free(self) -> int:
        return _answer(self.gpu.free_bytes)

    @property
    def used(self) -> int:
        return _answer(self.gpu.used_bytes)


def nvmlInit() -> None:
    if not driver.installed:
        raise NVMLError("NVML Shared Library Not Found")
    driver.users += 1


def nvmlShutdown() -> None:
    driver.users -= 1


def nvmlDeviceGetCount() -> int:
    _check_started()
    return len(driver.gpus)


def nvmlDeviceGetHandleByIndex(index: int) -> StandInGpu:
    _check_started()
    if driver.gpus[index].lost:
        raise NVMLError("GPU is lost")
    return driver.gpus[index]


def nvmlDeviceGetHandleByUUID(uuid: str) -> StandInGpu:
    _check_started()
    for gpu in (*driver.gpus, *driver.slices):
        if gpu.uuid == uuid:
            return gpu
    raise NVMLError("Not Found")


def nvmlDeviceGetName(gpu: StandInGpu) -> str:
    return "NVIDIA A100-SXM4-40GB"


def nvmlDeviceGetUUID(gpu: StandInGpu) -> str:
    return gpu.uuid


def nvmlDeviceGetMemoryInfo(gpu: StandInGpu) -> SimpleNamespace:
    _check_started()
    return _Memory(gpu)


def nvmlDeviceGetTemperature(gpu: StandInGpu, sensor: int) -> int:
    assert sensor == NVML_TEMPERATURE_GPU
    return _answer(gpu.temperature)


def nvmlDeviceGetUtilizationRates(gpu: StandInGpu) -> SimpleNamespace:
    return SimpleNamespace(gpu=_answer(gpu.use))


def _check_started() -> None:
    if not driver.users:
        raise NVMLError("Uninitialized")


def _answer(value: int | None) -> int:
    _check_started()
    if value is None:
        raise NVMLError("Not Supported")
    return value
