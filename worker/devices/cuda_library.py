"""The GPUs of this host as CUDA's own library lists them: `python -m worker.devices.cuda_library`.

Prints a line per GPU: number, name and UUID, separated by tabs. Without a driver it prints nothing and exits with 1. It
is the fallback if NVML is not installed.
"""

import ctypes
import uuid

_NAME_BYTES = 256


def main() -> None:
    """Print the list. Raises OSError without the library, RuntimeError where a call of it fails."""
    library = ctypes.CDLL("libcuda.so.1")

    def call(name: str, *arguments: object) -> None:
        if code := getattr(library, name)(*arguments):
            raise RuntimeError(f"{name} failed with {code}")

    call("cuInit", 0)
    count = ctypes.c_int()
    call("cuDeviceGetCount", ctypes.byref(count))
    for number in range(count.value):
        device, name, unique = ctypes.c_int(), ctypes.create_string_buffer(_NAME_BYTES), (ctypes.c_ubyte * 16)()
        call("cuDeviceGet", ctypes.byref(device), number)
        call("cuDeviceGetName", name, _NAME_BYTES, device)
        call("cuDeviceGetUuid", ctypes.byref(unique), device)
        print(number, name.value.decode(errors="replace"), f"GPU-{uuid.UUID(bytes=bytes(unique))}", sep="\t")


if __name__ == "__main__":
    main()
