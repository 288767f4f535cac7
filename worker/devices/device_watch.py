"""Temperature, use and memory of a GPU, as its driver reports them, for people who watch.

A separate thread asks every few seconds: if a driver hangs, a number is missing on a screen, but no beat is late.
"""

import threading

from orchestrator.queue.workers import DeviceReading
from worker.devices.driver import read_gpu

EVERY_SECONDS = 10.0


class DeviceWatch:
    """Keeps the newest reading of the GPU with this UUID; of a CPU (an empty one) there is none."""

    def __init__(self, uuid: str, *, every_seconds: float = EVERY_SECONDS) -> None:
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
