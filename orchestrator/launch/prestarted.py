"""Workers that start up while a sweep is still being planned and stored.

A worker's trainer process takes seconds to load torch, and needs no sweep for that. Nothing is trained before `go`.
Workers that never get it end at once with the `with` block.
"""

import contextlib
import json
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from orchestrator.launch.stop_signals import interrupts_withheld

LAST_WORDS_CHARACTERS = 2_000


class PrestartedWorkers:
    """Worker processes started by a command that ends in `--prestarted`, as a context manager."""

    def __init__(self, command: Sequence[str], count: int, *, environment: Mapping[str, str] | None = None) -> None:
        self._early = tempfile.TemporaryFile()  # noqa: SIM115  (closed in __exit__)
        words = self._early
        # In their own process group: a terminal's Ctrl-C reaches them only through this process, and so counts once.
        with interrupts_withheld():
            self.processes = [
                subprocess.Popen(
                    command, stdin=subprocess.PIPE, stdout=words, stderr=words, env=environment, process_group=0
                )
                for _ in range(count)
            ]
        self._log: Path | None = None

    def __enter__(self) -> "PrestartedWorkers":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes:
            if process.poll() is None:
                process.kill()  # its trainer goes with it
            process.wait()
            self._close_order(process)
        self._early.close()

    def go(self, sweep_id: int, log: Path) -> None:
        """Make them train a stored sweep; their output goes to `log` from now on."""
        self._log = log
        order = json.dumps({"sweep": sweep_id, "log": str(log)}).encode() + b"\n"
        for process in self.processes:
            assert process.stdin is not None
            with contextlib.suppress(OSError):  # it could not work; see `broken`
                process.stdin.write(order)
            self._close_order(process)

    def send_signal(self, number: int) -> None:
        """Pass a signal on to those that are running."""
        for process in self.processes:
            if process.poll() is None:
                process.send_signal(number)

    def at_work(self, wait_seconds: float) -> bool:
        """Whether any is still running, after waiting this long for one to end."""
        until = time.monotonic() + wait_seconds
        for process in self.processes:
            try:
                process.wait(max(0.0, until - time.monotonic()))
            except subprocess.TimeoutExpired:
                return True
        return False

    def broken(self) -> str:
        """The last output of workers that could not work (a missing device, for instance); empty if all could."""
        if all(process.poll() in (None, 0, 1, 130) for process in self.processes):
            return ""
        self._early.seek(0)
        words = self._early.read().decode(errors="replace")
        if self._log is not None:
            words += self._log.read_text(errors="replace")
        return words[-LAST_WORDS_CHARACTERS:].strip()

    @staticmethod
    def _close_order(process: "subprocess.Popen[bytes]") -> None:
        assert process.stdin is not None
        with contextlib.suppress(OSError):  # the pipe's reader has gone
            process.stdin.close()
