"""The GPUs of this host as CUDA's own library lists them: `python -m worker.devices.cuda_library`.

A line a GPU on stdout: number, name and UUID, a tab between them. Nothing, and exit code 1, where there is no driver.
For where NVML, which is asked first, is not installed.
"""

import ctypes
import sys
import uuid

_LIBRARY = "libcuda.so.1"
_NAME_BYTES = 256


class DriverError(Exception):
    """The library is not there, or a call of it failed."""


def gpus() -> list[tuple[int, str, str]]:
    """Number, name and UUID of each GPU. Raises DriverError where the driver does not say."""
    try:
        library = ctypes.CDLL(_LIBRARY)
    except OSError as error:
        raise DriverError(str(error)) from error

    def call(name: str, *arguments: object) -> None:
        code = getattr(library, name)(*arguments)
        if code:
            raise DriverError(f"{name} failed with {code}")

    call("cuInit", 0)
    count = ctypes.c_int()
    call("cuDeviceGetCount", ctypes.byref(count))
    found = []
    for number in range(count.value):
        device, name, unique = ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES), (ctypes.c_ubyte * 16)()
        call("cuDeviceGet", ctypes.byref(device), number)
        call("cuDeviceGetName", name, _NAME_BYTES, device)
        call("cuDeviceGetUuid", ctypes.byref(unique), device)
        found.append((number, name.value.decode(errors="replace"), f"GPU-{uuid.UUID(bytes=bytes(unique))}"))
    return found


def main() -> int:
    """Print the list; returns the exit code."""
    try:
        found = gpus()
    except (DriverError, AttributeError) as error:
        print(error, file=sys.stderr)
        return 1
    for row in found:
        print(*row, sep="\t")
    return 0


if __name__ == "__main__":
    sys.exit(main())
