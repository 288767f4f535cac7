"""What asks a worker to stop: a person, a scheduler, or a terminal that closes."""

import signal
from collections.abc import Callable
from types import FrameType

from orchestrator.launch.stop_signals import heeded_stop_signals


class StopRequests:
    """How often this worker was asked to stop: once to release its run with a checkpoint, twice to stop at once.

    SIGQUIT stops at once by itself. SIGUSR1, by which a scheduler says that time is nearly up, and SIGHUP, which a
    closing terminal sends more than once, release as the first request does and never hurry. Nor does SIGTERM in a
    cluster's job: there every process of the job gets it, and passes it on besides.
    """

    def __init__(self, *, in_job: bool, clock: Callable[[], float], wake: Callable[[], None]) -> None:
        self._hurrying = {signal.SIGINT, signal.SIGQUIT} if in_job else {signal.SIGINT, signal.SIGQUIT, signal.SIGTERM}
        self._clock, self._wake = clock, wake
        # Each request's signal (0: the worker's own) and time. Only ever appended to: Python runs the handler of one
        # signal in the middle of another's, where a count could be raised twice by what is to count once.
        self._requests: list[tuple[int, float]] = []

    @property
    def why(self) -> str:
        """Why it is to stop; empty while nobody asked."""
        if not self.wanted:
            return ""
        return "its time is nearly up" if self._requests[0][0] == signal.SIGUSR1 else "asked to stop"

    @property
    def wanted(self) -> bool:
        """Whether the worker is to stop."""
        return bool(self._requests)

    @property
    def at_once(self) -> bool:
        """Whether it is to stop without a checkpoint."""
        numbers = [number for number, _ in self._requests]
        return signal.SIGQUIT in numbers[:1] or any(number in self._hurrying for number in numbers[1:])

    def seconds_since(self) -> float:
        """How long ago the first request came."""
        return self._clock() - self._requests[0][1]

    def heed_signals(self) -> None:
        """Have the signals that ask to stop stop this worker in good order."""
        for number in (*heeded_stop_signals(), signal.SIGUSR1):
            signal.signal(number, self.note_signal)

    def note_signal(self, number: int, frame: FrameType | None = None) -> None:
        """A signal came."""
        self._requests.append((number, self._clock()))
        self._wake()

    def ask(self) -> None:
        """Stop in good order, for a reason of the worker's own."""
        self.note_signal(0)
