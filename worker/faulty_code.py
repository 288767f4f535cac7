"""A core that cannot be imported: no run is claimed until it changes on disk."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any


@dataclass(kw_only=True)
class FaultyCode:
    """What is known of the core on disk. `code` gives it in a form that can be compared, such as its digest."""

    code: Callable[[], Any]
    clock: Callable[[], float]
    say: Callable[[str], None]
    _at_start: Any = None
    _error: str = ""
    _since: float = 0.0

    def before_start(self) -> None:
        """A run is about to start. What its trainer cannot import lies on disk by now."""
        self._at_start = self.code()

    def note(self, error: str) -> None:
        """The trainer could not import the core."""
        self._error, self._since = error, self.clock()
        self.say(f"hlbgpt_core cannot be imported: {error}\nruns stay pending; they are taken again once it is mended")

    def stands(self) -> bool:
        """Whether the core on disk is still the one that could not be imported."""
        if self._error and self.code() != self._at_start:
            self._error = ""
        return bool(self._error)

    def why_to_end(self, patience_seconds: float) -> str:
        """What ends a worker that should not wait for ever; empty while it may wait."""
        if not self.stands() or self.clock() - self._since < patience_seconds:
            return ""
        return f"hlbgpt_core cannot be imported: {self._error}"
