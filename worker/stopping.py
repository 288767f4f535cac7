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
        self.why = ""
        self._hurrying = {signal.SIGINT, signal.SIGQUIT} if in_job else {signal.SIGINT, signal.SIGQUIT, signal.SIGTERM}
        self._clock, self._wake = clock, wake
        self._requests = 0
        self._since = 0.0

    @property
    def wanted(self) -> bool:
        """Whether the worker is to stop."""
        return self._requests > 0

    @property
    def at_once(self) -> bool:
        """Whether it is to stop without a checkpoint."""
        return self._requests > 1

    def seconds_since(self) -> float:
        """How long ago the first request came."""
        return self._clock() - self._since

    def heed_signals(self) -> None:
        """Have the signals that ask to stop stop this worker in good order."""
        for number in (*heeded_stop_signals(), signal.SIGUSR1):
            signal.signal(number, self.note_signal)

    def note_signal(self, number: int, frame: FrameType | None = None) -> None:
        """A signal came."""
        if self.wanted and number not in self._hurrying:
            return
        why = "its time is nearly up" if number == signal.SIGUSR1 else "asked to stop"
        self._note(why, requests=2 if number == signal.SIGQUIT else 1)

    def ask(self) -> None:
        """Stop in good order, for a reason of the worker's own."""
        if not self.wanted:
            self._note("asked to stop", requests=1)

    def _note(self, why: str, *, requests: int) -> None:
        if not self.wanted:
            self.why, self._since = why, self._clock()
        self._requests += requests
        self._wake()
