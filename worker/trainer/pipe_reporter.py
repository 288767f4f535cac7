"""The trainer's end of the pipes: what it says goes through an outbox, what the supervisor wants lies in a control."""

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import IO

from hlbgpt_core.points import Directive, Facts, Phase, Point, Progress, SavedCheckpoint, Split
from worker.trainer.messages import (
    CheckpointMade,
    Direct,
    FactsFound,
    Message,
    Noted,
    PointMade,
    ProgressMade,
    Resumed,
    Start,
    encode,
)

PROGRESS_SECONDS = 0.5
GATHER_SECONDS = 0.05
# How long a run waits at a rung for the word on it. A worker that is cut off from the database goes on training.
RUNG_SECONDS = 10.0


class Outbox:
    """Messages on their way to the supervisor, written by a thread of their own so that training never waits.

    Points and progress may lie here for GATHER_SECONDS: waking the thread for each would cost a short step more than
    all else about a point. Other messages take what lies here with them at once.
    """

    def __init__(self, pipe: IO[bytes]) -> None:
        self._pipe = pipe
        self._queue: deque[Message] = deque()
        self._wake = threading.Event()
        self._sleeps = self._closing = False
        self._thread = threading.Thread(target=self._write, name="outbox", daemon=True)
        self._thread.start()

    def put(self, message: Message) -> None:
        """Queue a message; returns at once."""
        self._queue.append(message)
        if self._sleeps or not isinstance(message, PointMade | ProgressMade):
            self._wake.set()

    def close(self) -> None:
        """Write what is queued, then stop."""
        self._closing = True
        self._wake.set()
        self._thread.join()

    def _write(self) -> None:
        try:
            while not self._closing or self._queue:
                self._wait()
                self._pipe.write(b"".join(encode(self._queue.popleft()) for _ in range(len(self._queue))))
                self._pipe.flush()
        except OSError:
            os._exit(1)  # nobody reads any more: the supervisor is gone

    def _wait(self) -> None:
        """Come back after a moment if messages lie here then, else with the next one."""
        self._wake.wait(GATHER_SECONDS)
        self._wake.clear()
        # In this order: whoever adds a message after the check of the queue finds us asleep, and wakes us.
        self._sleeps = True
        if not self._queue and not self._closing:
            self._wake.wait()
            self._wake.clear()
        self._sleeps = False


class Control:
    """What the supervisor wants of the run at hand, set by the reading thread and asked by the trainer."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._directive = Directive.CONTINUE
        self._paused = False
        self._lease: tuple[int, int] | None = None
        self._heard = threading.Event()

    def begin(self, run_id: int, fence: int) -> None:
        """A new run: wishes for an earlier one no longer count."""
        with self._condition:
            self._lease, self._directive = (run_id, fence), Directive.CONTINUE

    def direct(self, message: Direct) -> None:
        """Note a wish, if it is for the run at hand."""
        with self._condition:
            if self._lease == (message.run_id, message.fence):
                # To go on is the word at a rung. It takes back no other: somebody may have asked to stop meanwhile.
                if message.directive is not Directive.CONTINUE:
                    self._directive = message.directive
                self._heard.set()
                self._condition.notify_all()

    def pause(self, paused: bool) -> None:
        """Stop before the next step, or go on."""
        with self._condition:
            self._paused = paused
            self._condition.notify_all()

    def await_word(self, ask: Callable[[], None]) -> None:
        """Ask, and wait until the next directive comes, or for RUNG_SECONDS."""
        self._heard.clear()
        ask()
        self._heard.wait(RUNG_SECONDS)

    def wanted(self) -> Directive:
        """The directive in force; waits as long as the run is paused. A checkpoint is asked for once."""
        with self._condition:
            while self._paused and self._directive in (Directive.CONTINUE, Directive.CHECKPOINT):
                self._condition.wait()
            directive = self._directive
            if directive is Directive.CHECKPOINT:
                self._directive = Directive.CONTINUE
            return directive


class PipeReporter:
    """The trainer's Reporter that speaks to the supervisor."""

    def __init__(self, start: Start, outbox: Outbox, control: Control, provenance: dict[str, object]) -> None:
        self._run = {"run_id": start.run_id, "fence": start.fence}
        self._outbox, self._control, self._provenance = outbox, control, provenance
        self._last_sent, self._last_phase = float("-inf"), Phase.DATA
        self._rungs = list(start.rungs)

    def resumed(self, checkpoint: SavedCheckpoint | None) -> None:
        self._outbox.put(Resumed(**self._run, checkpoint=checkpoint))

    def facts(self, facts: Facts) -> None:
        known = replace(facts, provenance={**facts.provenance, **self._provenance})
        self._outbox.put(FactsFound(**self._run, facts=known))

    def note(self, action: str, text: str) -> None:  # an event of the run
        self._outbox.put(Noted(**self._run, action=action, text=text))

    def point(self, point: Point) -> None:
        made = PointMade(**self._run, point=point)
        if point.split is Split.VAL and self._rungs and point.tokens_seen >= self._rungs[0]:
            self._rungs = [rung for rung in self._rungs if rung > point.tokens_seen]
            self._control.await_word(lambda: self._outbox.put(made))
        else:
            self._outbox.put(made)

    def progress(self, progress: Progress) -> Directive:
        now = time.monotonic()
        if progress.phase is not self._last_phase or now - self._last_sent >= PROGRESS_SECONDS:
            self._last_sent, self._last_phase = now, progress.phase
            self._outbox.put(ProgressMade(**self._run, progress=progress))
        return self._control.wanted()

    def checkpoint(self, checkpoint: SavedCheckpoint) -> None:
        self._outbox.put(CheckpointMade(**self._run, checkpoint=checkpoint))
