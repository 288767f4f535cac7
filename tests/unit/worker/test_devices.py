"""Which device a worker takes, and what it says where there is none."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hlbgpt_core.errors import DeviceError
from tests.stand_in_driver.pynvml import StandInDriver, StandInGpu
from worker.devices import driver as driver_module
from worker.devices.devices import choose_device, choose_gpus
from worker.devices.driver import free_memory_bytes, list_gpus
from worker.processes import cluster_job


@pytest.fixture
def no_gpu(driver: StandInDriver, monkeypatch: pytest.MonkeyPatch) -> None:
    driver.installed = False
    monkeypatch.setattr(driver_module, "_DRIVER_FILES", ())


@pytest.mark.usefixtures("driver")
def test_a_gpu_is_pinned_by_its_uuid() -> None:
    device = choose_device(1, None)
    assert device.name == "gpu1" and device.torch_device == "cuda:0"
    assert device.environment["CUDA_VISIBLE_DEVICES"] == "GPU-bbbb"


@pytest.mark.usefixtures("driver")
def test_without_a_word_the_first_gpu_that_the_environment_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_device(None, None).name == "gpu0"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert choose_device(None, None).name == "gpu1"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    assert choose_device(None, None).name == "cpu"


@pytest.mark.usefixtures("driver")
def test_a_gpu_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(DeviceError, match=r"no GPU 7 .*0 \(NVIDIA A100-SXM4-40GB\), 1 "):
        choose_device(7, None)


@pytest.mark.usefixtures("no_gpu")
def test_without_a_gpu_the_cpu_and_a_clear_word_for_who_asked() -> None:
    assert choose_device(None, None).name == "cpu"
    assert choose_device(None, "cpu").torch_device == "cpu"
    with pytest.raises(DeviceError, match="no GPU 0 on this machine") as refused:
        choose_device(0, None)
    assert "--device cpu" in refused.value.hint


@pytest.mark.usefixtures("driver")
def test_all_gpus_are_those_that_the_environment_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [gpu.index for gpu in choose_gpus(["all"])] == [0, 1]
    assert [gpu.index for gpu in choose_gpus(["1,0"])] == [1, 0]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-bbbb")
    assert [gpu.index for gpu in choose_gpus(["all"])] == [1]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    with pytest.raises(DeviceError, match="CUDA_VISIBLE_DEVICES hides 2"):
        choose_gpus(["all"])


@pytest.mark.usefixtures("driver")
def test_gpus_that_are_not_all_there_are_refused() -> None:
    with pytest.raises(DeviceError, match=r"no GPU 7 .*0 \(NVIDIA"):
        choose_gpus(["0,7"])


@pytest.mark.usefixtures("no_gpu")
def test_all_gpus_of_a_machine_without_any_is_an_error() -> None:
    with pytest.raises(DeviceError, match="no GPU on this machine") as refused:
        choose_gpus(["all"])
    assert "--device cpu" in refused.value.hint


def test_free_memory_is_that_of_the_gpu_or_of_the_slice(driver: StandInDriver) -> None:
    driver.slices = [StandInGpu(uuid="MIG-0123", free_bytes=5 * 2**30)]
    assert free_memory_bytes("GPU-bbbb") == 40_000 * 2**20
    assert free_memory_bytes("MIG-0123") == 5 * 2**30
    assert free_memory_bytes("GPU-cccc") is None
    assert driver.users == 0


def test_a_gpu_that_is_lost_hides_no_other_and_keeps_its_number(driver: StandInDriver) -> None:
    driver.gpus[0].lost = True
    assert [(gpu.index, gpu.uuid) for gpu in list_gpus()] == [(1, "GPU-bbbb")]
    with pytest.raises(DeviceError, match="no GPU 0"):
        choose_device(0, None)


@pytest.mark.usefixtures("driver")
def test_in_a_job_of_a_scheduler_a_gpu_is_told_apart_by_its_uuid(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    assert choose_device(1, None).name == "gpu1-bbbb"


@pytest.mark.parametrize(
    ("environment", "job"),
    [
        ({}, ""),
        ({"SLURM_JOB_ID": "12"}, "slurm 12"),
        ({"SLURM_JOB_ID": "14", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "0"}, "slurm 12_0"),
        ({"HLBQ_JOB": "ray 3f2a", "SLURM_JOB_ID": "14"}, "ray 3f2a"),
    ],
)
def test_a_worker_knows_its_job(environment: dict[str, str], job: str) -> None:
    assert cluster_job(environment) == job


@pytest.mark.usefixtures("driver")
def test_schedulers_name_gpus_in_more_than_one_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-bb")
    assert choose_device(None, None).uuid == "GPU-bbbb"
    # A slice of a GPU: the driver lists the whole one, and nobody may fall back to the processor unasked.
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "MIG-0123456789")
    device = choose_device(None, None)
    assert device.name == "gpu0-01234567" and "MIG" in device.description
    assert device.environment["CUDA_VISIBLE_DEVICES"] == "MIG-0123456789"


CUDA_LIBRARY = """
#include <string.h>
int cuInit(unsigned flags) { return 0; }
int cuDeviceGetCount(int *count) { *count = 2; return 0; }
int cuDeviceGet(int *device, int number) { *device = number; return 0; }
int cuDeviceGetName(char *name, int bytes, int device) { strcpy(name, "NVIDIA H100 80GB HBM3"); return 0; }
int cuDeviceGetUuid(unsigned char *unique, int device) { memset(unique, 0xa0 + device, 16); return 0; }
"""
NVML_LIBRARY = """
#include <string.h>
static long handles[] = {0, 1};
int nvmlInitWithFlags(unsigned flags) { return 0; }
int nvmlShutdown(void) { return 0; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = 2; return 0; }
int nvmlDeviceGetHandleByIndex_v2(unsigned number, long **gpu) { *gpu = &handles[number]; return 0; }
int nvmlDeviceGetHandleByUUID(char *unique, long **gpu) { *gpu = &handles[!strcmp(unique, "GPU-1")]; return 0; }
int nvmlDeviceGetName(long *gpu, char *name, unsigned bytes) { strcpy(name, "NVIDIA H200"); return 0; }
int nvmlDeviceGetUUID(long *gpu, char *unique, unsigned bytes) { strcpy(unique, *gpu ? "GPU-1" : "GPU-0"); return 0; }
int nvmlDeviceGetMemoryInfo(long *gpu, unsigned long long *memory) { memory[1] = 7; return 0; }
int nvmlDeviceGetTemperature(long *gpu, int sensor, unsigned *celsius) { *celsius = 30 + *gpu; return 0; }
int nvmlDeviceGetUtilizationRates(long *gpu, unsigned *rates) { return 3; /* not supported */ }
"""
needs_gcc = pytest.mark.skipif(not shutil.which("gcc"), reason="a stand-in for a library is built with gcc")


def build(library: Path, source: str) -> None:
    code = library.with_suffix(".c")
    code.write_text(source)
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(library), str(code)], check=True)


@needs_gcc
@pytest.mark.usefixtures("no_gpu")
def test_gpus_are_found_by_cudas_library_where_nvml_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build(tmp_path / "libcuda.so.1", CUDA_LIBRARY)
    monkeypatch.setenv("LD_LIBRARY_PATH", str(tmp_path))
    unique = "GPU-a1a1a1a1-a1a1-a1a1-a1a1-a1a1a1a1a1a1"
    assert list_gpus() == ()
    monkeypatch.setattr(driver_module, "_DRIVER_FILES", (tmp_path,))
    assert [gpu.index for gpu in list_gpus()] == [0, 1] and list_gpus()[0].description == "NVIDIA H100 80GB HBM3"
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert choose_device(None, None).uuid == unique
    assert free_memory_bytes(unique) is None


@needs_gcc
def test_nvidias_own_package_is_called_as_it_wants(tmp_path: Path) -> None:
    build(tmp_path / "libnvidia-ml.so.1", NVML_LIBRARY)
    program = (
        "from worker.devices.driver import *; print(*(gpu.uuid for gpu in list_gpus()), list_gpus()[0].description,"
        "free_memory_bytes('GPU-0'), read_gpu('GPU-1').temperature_celsius, read_gpu('GPU-1').use_percent, sep='|')"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env={**os.environ, "LD_LIBRARY_PATH": str(tmp_path)},
    )
    assert done.stdout == "GPU-0|GPU-1|NVIDIA H200|7|31.0|None\n", done.stderr
