"""The supervisor's hold on its trainer process: start it, send to it, end it; and the inbox where all arrives."""

import contextlib
import os
import queue
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hlbgpt_core.errors import HlbqError
from orchestrator.launch.python_process import python_module_argv
from orchestrator.launch.worker_command import WorkerOptions
from worker.trainer.messages import LoadFailed, Message, ProtocolError, Ready, ShutDown, decode, encode
from worker.trainer.run_log import open_log


class TrainerStartError(HlbqError):
    """The system cannot start a trainer process."""


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


def trainer_command(device: str, options: WorkerOptions) -> Sequence[str]:
    """The command of the real trainer process, on torch's `device`; its start adds the pipes' options."""
    return python_module_argv("worker.trainer", "--device", device, *options.to_words(for_trainer=True))


class TrainerHandle:
    """One trainer process. What it says arrives in `inbox`, its death included."""

    def __init__(
        self, command: Sequence[str], environment: Mapping[str, str], log_path: Path | None, inbox: Inbox
    ) -> None:
        """Start the process. What it prints before its first run goes to `log_path`; None is our own stderr.

        Raises TrainerStartError where the system has no room for another process.
        """
        self.ready: Ready | None = None
        self.load_failed = False
        self._inbox = inbox
        self._lock = threading.Lock()
        ours: list[int] = []
        theirs: list[int] = []
        try:
            for down in (True, False):
                read, write = os.pipe()
                ours.append(write if down else read)
                theirs.append(read if down else write)
            theirs.append(open_log(log_path) if log_path is not None else os.dup(2))
            pipes = ("--read-fd", str(theirs[0]), "--write-fd", str(theirs[1]), "--parent-pid", str(os.getpid()))
            self._process = subprocess.Popen(
                [*command, *pipes],
                pass_fds=theirs[:2],
                stdin=subprocess.DEVNULL,
                stdout=theirs[2],
                stderr=theirs[2],
                env={**os.environ, **environment},
                process_group=0,
            )
        except OSError as error:
            for descriptor in ours:
                os.close(descriptor)
            raise _cannot_start(error) from None
        finally:
            for descriptor in theirs:
                os.close(descriptor)
        self._down = os.fdopen(ours[0], "wb", buffering=0)
        self._up = os.fdopen(ours[1], "rb")
        self._reader = threading.Thread(target=self._read, name=f"trainer-{self.pid}", daemon=True)
        try:
            self._reader.start()
            threading.Thread(target=self._end_group, name=f"trainer-{self.pid}-end", daemon=True).start()
        except RuntimeError as error:  # a thread counts as a process
            self.kill()
            self._process.wait()
            self._down.close()
            self._up.close()
            raise _cannot_start(error) from None

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
        if self._process.returncode is None:  # else its number may be another's by now
            self._kill_group()

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)

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

    def _end_group(self) -> None:
        """Once the process has ended, end what it started: a fork of it would hold the pipe open, and hide its end."""
        with contextlib.suppress(ChildProcessError):  # reaped already
            os.waitid(os.P_PID, self.pid, os.WEXITED | os.WNOWAIT)
        self._kill_group()

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


def _cannot_start(error: OSError | RuntimeError) -> TrainerStartError:
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return TrainerStartError(
        f"the trainer process cannot be started: {reason}",
        "Look for what uses up memory, processes or files (ulimit -a), then start the worker again.",
    )
