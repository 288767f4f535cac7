"""Where all arrives that the supervisor waits for: the trainer's messages, its death, and signals."""

import contextlib
import queue
from dataclasses import dataclass

from worker.trainer.messages import Message


@dataclass(frozen=True, kw_only=True)
class TrainerDied:
    """The trainer process is gone; `returncode` is negative for a signal, as in subprocess.

    `loaded` says that it was ready for runs before.
    """

    pid: int
    returncode: int
    loaded: bool = True


@dataclass(frozen=True, kw_only=True)
class WakeUp:
    """Nothing came from the trainer; a signal wants the supervisor's attention."""


Arrival = Message | TrainerDied | WakeUp


class Inbox:
    """Takes what comes from any thread, and from a signal's handler; gives it out in the order of arrival."""

    def __init__(self) -> None:
        self._queue: queue.SimpleQueue[Arrival] = queue.SimpleQueue()

    def put(self, arrival: Arrival) -> None:
        """Add what has come; returns at once."""
        self._queue.put(arrival)

    def next(self, timeout_seconds: float = 0.0) -> Arrival | None:
        """What came first, for which this waits; None where nothing comes in time."""
        with contextlib.suppress(queue.Empty):
            return self._queue.get(timeout=max(0.0, timeout_seconds))
        return None
