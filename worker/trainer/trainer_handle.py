"""The supervisor's hold on its trainer process: start it, send to it, receive from it, end it."""

import os
import queue
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.launch.python_process import python_module_argv
from orchestrator.launch.worker_command import WorkerOptions
from worker.trainer.messages import LoadFailed, Message, ProtocolError, Ready, ShutDown, decode, encode
from worker.trainer.run_log import open_log


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
Inbox = queue.SimpleQueue[Arrival]


def trainer_command(device: str, options: WorkerOptions) -> Sequence[str]:
    """The command of the real trainer process, on torch's `device`; its start adds the pipes' options."""
    return python_module_argv("worker.trainer", "--device", device, *options.to_words(for_trainer=True))


class TrainerHandle:
    """One trainer process. What it says arrives in `inbox`, its death included."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log_path: Path | None, inbox: Inbox
    ) -> None:
        """Start the process. What it prints before its first run goes to `log_path`; None is our own stderr."""
        read_down, write_down = os.pipe()
        read_up, write_up = os.pipe()
        pipes = ("--read-fd", str(read_down), "--write-fd", str(write_up), "--parent-pid", str(os.getpid()))
        log = open_log(log_path) if log_path is not None else os.dup(2)
        try:
            self._process = subprocess.Popen(
                [*command, *pipes],
                pass_fds=(read_down, write_up),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
                process_group=0,
            )
        finally:
            for descriptor in (read_down, write_up, log):
                os.close(descriptor)
        self.ready: Ready | None = None
        self.load_failed = False
        self._down = os.fdopen(write_down, "wb", buffering=0)
        self._up = os.fdopen(read_up, "rb")
        self._inbox = inbox
        self._lock = threading.Lock()
        self._reader = threading.Thread(target=self._read, name=f"trainer-{self.pid}", daemon=True)
        self._reader.start()

    @property
    def pid(self) -> int:
        """The process id of the trainer."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def send(self, message: Message) -> None:
        """Send a message; one to a dead trainer is dropped, its death arrives in the inbox."""
        with self._lock:
            try:
                self._down.write(encode(message))
            except (OSError, ValueError):
                pass

    def kill(self) -> None:
        """End the process at once, stopped or not, with what it may have started."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass

    def shut_down(self, grace_seconds: float) -> None:
        """Ask the process to end, then make sure. One that still loads its libraries has nothing to put in order."""
        if self.ready is None:
            self.kill()
        self.send(ShutDown())
        try:
            self._process.wait(timeout=grace_seconds)
        except subprocess.TimeoutExpired:
            self.kill()
        self._process.wait()
        self._reader.join(timeout=grace_seconds)
        with self._lock:
            self._down.close()

    def _read(self) -> None:
        with self._up:
            for line in self._up:
                try:
                    message = decode(line)
                except ProtocolError:
                    continue  # a line cut off by the process's death; its death follows
                if isinstance(message, Ready):
                    self.ready = message
                self.load_failed |= isinstance(message, LoadFailed)
                self._inbox.put(message)
        returncode = self._process.wait()
        self._inbox.put(TrainerDied(pid=self.pid, returncode=returncode, loaded=self.ready is not None))
