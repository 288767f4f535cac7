"""The device and the number format of a run, and facts about them."""

import contextlib
import os
import platform
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from hlbgpt_core.code_version import core_version
from hlbgpt_core.errors import DeviceError


@dataclass(frozen=True, kw_only=True)
class DeviceFacts:
    """A device's name as its maker gives it, and its memory in bytes (a CPU's is the machine's)."""

    name: str
    memory_bytes: int


def resolve_device(name: str) -> torch.device:
    """The device called `name`: cpu, cuda or cuda:N. Raises DeviceError if it does not exist."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise DeviceError(f"there is no device '{name}'", "Use cpu, or cuda:N for the GPU number N.") from None
    if device.type == "cpu":
        return torch.device("cpu")
    if device.type != "cuda":
        raise DeviceError(f"device '{name}' is not supported", "Use cpu, or cuda:N for the GPU number N.")
    if not torch.cuda.is_available():
        built = f"This torch ({torch.__version__}) was built for CUDA {torch.version.cuda}; is the driver installed?"
        without = f"This torch ({torch.__version__}) was built without CUDA: install one with it, or use --device cpu."
        raise DeviceError(f"device '{name}': no GPU is to be seen", built if torch.version.cuda else without)
    index = device.index or 0
    count = torch.cuda.device_count()
    if index >= count:
        raise DeviceError(f"device '{name}': there are only {count} GPUs", f"Use cuda:0 to cuda:{count - 1}.")
    return torch.device("cuda", index)


def resolve_precision(precision: str, device: torch.device) -> str:
    """`precision`, where `auto` is bfloat16 on a GPU and float32 on a CPU."""
    if precision != "auto":
        return precision
    return "float32" if device.type == "cpu" else "bfloat16"


def dtype_of(precision: str) -> torch.dtype:
    """The torch type of a resolved precision."""
    return {"bfloat16": torch.bfloat16, "float32": torch.float32, "float64": torch.float64}[precision]


def device_facts(device: torch.device) -> DeviceFacts:
    """Name and memory of `device`."""
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        return DeviceFacts(name=properties.name, memory_bytes=properties.total_memory)
    return DeviceFacts(name=_processor_name(), memory_bytes=_machine_memory_bytes())


def memory_in_use_bytes(device: torch.device) -> int:
    """The peak memory of this process so far; on a GPU, of its allocator. Does not synchronise the device."""
    if device.type == "cuda":
        # The value of max_memory_reserved, without sorting its many counters: this runs at every microbatch.
        counted = torch.cuda.memory_stats_as_nested_dict(device)
        return int(counted["reserved_bytes"]["all"]["peak"]) if counted else 0
    try:
        import resource
    except ImportError:  # Windows
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if platform.system() == "Darwin" else 1024 * peak


def provenance(device: torch.device) -> dict[str, Any]:
    """What computed the numbers: code, versions, host, and the device with its memory in bytes."""
    facts, code = device_facts(device), core_version()
    return {
        "package_version": code.package,
        "git_commit": code.git_commit,
        "git_dirty": code.git_dirty,
        "python": platform.python_version(),
        "torch": str(torch.__version__),
        "numpy": np.__version__,
        "cuda": torch.version.cuda,
        "driver": driver_version() if device.type == "cuda" else None,
        "host": platform.node(),
        "platform": platform.platform(),
        "device_name": facts.name,
        "device_memory_bytes": facts.memory_bytes,
        "threads": torch.get_num_threads(),
    }


def driver_version(told_by: Path = Path("/proc/driver/nvidia/version")) -> str | None:
    """The version of the NVIDIA driver from its kernel module, such as 570.86.15; None if unknown."""
    try:
        found = re.search(r"\b\d{3,}\.\d+(?:\.\d+)?\b", told_by.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return None
    return found.group() if found else None


@contextlib.contextmanager
def reproducible(device: torch.device, *, deterministic: bool) -> Iterator[None]:
    """With `deterministic`, only operations that give the same bits each time, for the block.

    A CPU does not need this: with the same thread count its results repeat.
    """
    if not deterministic or device.type == "cpu":
        yield
        return
    # Read by cuBLAS when its first handle is made.
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    from torch.nn.attention import SDPBackend, sdpa_kernel

    before = torch.are_deterministic_algorithms_enabled()
    torch.use_deterministic_algorithms(True)
    try:
        # The fused attention kernels add up a mask's gradient in any order.
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.use_deterministic_algorithms(before)


@contextlib.contextmanager
def kept_threads(device: torch.device, threads: object) -> Iterator[None]:
    """On a CPU: use as many threads as the run's first attempt (None: keep the number) for the block, since the last
    bits depend on it."""
    before = torch.get_num_threads()
    if device.type != "cpu" or not isinstance(threads, int) or threads == before:
        yield
        return
    torch.set_num_threads(threads)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def attention_kernels(device: torch.device) -> Iterator[None]:
    """On a GPU: flash attention, or other kernels for what it does not support, such as float32 and masks.

    By default torch may prefer cuDNN's kernels. Those plan again for every shape, within training time, and have no
    gradient for a mask, so the plain path's position bias would not learn.
    """
    if device.type == "cpu":
        yield
        return
    from torch.nn.attention import SDPBackend, sdpa_kernel

    with sdpa_kernel([SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]):
        yield


def _processor_name() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _machine_memory_bytes() -> int:
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # not on this system
        return 0
