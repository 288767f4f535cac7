"""Temperature and use of a GPU, as its driver tells them, for people who watch.

Asked in a thread of its own every few seconds: a driver that hangs costs a number on a screen, and no beat.
"""

import shutil
import subprocess
import threading

from orchestrator.queue.records import DeviceReading

EVERY_SECONDS = 10.0
_TIMEOUT_SECONDS = 30.0
_TOOL = "nvidia-smi"
_ASKED = ("--query-gpu=temperature.gpu,utilization.gpu", "--format=csv,noheader,nounits")


class DeviceWatch:
    """Keeps the newest reading of the GPU with this UUID; of a CPU (an empty one) there is none."""

    def __init__(self, uuid: str, *, every_seconds: float = EVERY_SECONDS) -> None:
        self._uuid, self._every_seconds = uuid, every_seconds
        self._reading = DeviceReading()
        self._stop = threading.Event()
        if uuid and shutil.which(_TOOL) is not None:
            threading.Thread(target=self._watch, name="device-watch", daemon=True).start()

    def reading(self) -> DeviceReading:
        """The newest reading; at once."""
        return self._reading

    def close(self) -> None:
        """Ask no more."""
        self._stop.set()

    def _watch(self) -> None:
        while not self._stop.is_set():
            self._reading = ask_driver(self._uuid)
            self._stop.wait(self._every_seconds)


def ask_driver(uuid: str) -> DeviceReading:
    """What the driver's own tool tells now; nothing where it fails or knows nothing of the kind."""
    try:
        asked = [_TOOL, f"--id={uuid}", *_ASKED]
        done = subprocess.run(asked, capture_output=True, text=True, timeout=_TIMEOUT_SECONDS, check=True)
    except (OSError, subprocess.SubprocessError):
        return DeviceReading()
    cells = [cell.strip() for cell in done.stdout.split(",")]
    if len(cells) != 2:
        return DeviceReading()
    return DeviceReading(temperature_celsius=_number(cells[0]), use_percent=_number(cells[1]))


def _number(cell: str) -> float | None:
    """A number; None for `[N/A]` and the like."""
    try:
        return float(cell)
    except ValueError:
        return None
