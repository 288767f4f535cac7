"""Running out of memory: recognise it, and say what would fit."""

import math

import torch

from hlbgpt_core.device import device_facts
from hlbgpt_core.errors import OutOfMemoryError
from hlbgpt_core.recipes import get_recipe
from hlbgpt_core.settings import Settings

# The recipes' microbatch at gpu_capacity_scalar 1 is made for this much memory, in numbers of two bytes.
REFERENCE_MEMORY_BYTES = 40e9
REFERENCE_BYTES_PER_NUMBER = 2
# Texts of plain RuntimeErrors: from the CPU's allocators, from a GPU full of neighbours (where libraries find no room
# to start), and from torch's compiler, which wraps the original error.
MESSAGES = (
    "can't allocate memory",
    "not enough memory",
    "CUDA error: out of memory",
    "CUDA out of memory",
    "CUBLAS_STATUS_ALLOC_FAILED",
)


def is_out_of_memory(error: BaseException) -> bool:
    """Whether `error` says that the device's memory was too small."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(message in str(error) for message in MESSAGES)


def out_of_memory(error: BaseException, settings: Settings, device: torch.device, dtype: torch.dtype) -> Exception:
    """The error for people: what ran out, and a gpu_capacity_scalar that would fit, if one can."""
    facts = device_facts(device)
    detail = str(error).strip().split("\n", 1)[0]
    message = (
        f"out of memory on {device} ({facts.name}, {facts.memory_bytes / 1e9:.1f} GB) "
        f"at gpu_capacity_scalar {settings.gpu_capacity_scalar:g}" + (f": {detail}" if detail else "")
    )
    fitting = capacity_for(settings, facts.memory_bytes, dtype.itemsize)
    if fitting is not None:
        return OutOfMemoryError(message, f"Try --gpu_capacity_scalar {fitting:g}, or a smaller model.")
    least = get_recipe(settings.recipe).least_capacity(settings)
    return OutOfMemoryError(
        message,
        f"No smaller --gpu_capacity_scalar helps: below {least:.2g} a microbatch would not hold a sequence of "
        f"{settings.max_sequence_length} tokens. Lower --max_sequence_length, or use a smaller model.",
    )


def capacity_for(settings: Settings, memory_bytes: int, bytes_per_number: int) -> float | None:
    """A gpu_capacity_scalar for a device with this much memory, at most half of the failed one.

    The capacity of the recipes' own device is scaled by memory and by the width of the numbers. None if the result
    would not hold a sequence of full length.
    """
    by_memory = memory_bytes / REFERENCE_MEMORY_BYTES * REFERENCE_BYTES_PER_NUMBER / bytes_per_number
    fitting = min(by_memory or math.inf, settings.gpu_capacity_scalar / 2)
    two_digits = 10.0 ** (math.floor(math.log10(fitting)) - 1)
    fitting = round(math.floor(fitting / two_digits + 1e-9) * two_digits, 12)
    return fitting if fitting >= get_recipe(settings.recipe).least_capacity(settings) else None
