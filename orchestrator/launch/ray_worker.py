"""The Ray actor that keeps one hlbq worker: it starts the process, passes signals on, and reports how it ended.

If the node dies, Ray makes a new actor elsewhere. Its worker claims whatever is pending; the dead node's run comes back
when its lease expires. Nothing here imports Ray at the top, to keep the queue light.
"""

import os
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import IO

from orchestrator.launch.worker_command import WorkerOptions

LAST_LINES = 20
LAST_WORDS_SECONDS = 1.0
MOST_CRASHES_IN_A_ROW = 5
FIRST_PAUSE_SECONDS = 1.0
STEADY_SECONDS = 600.0
# Exit codes that `hlbq worker` chooses; anything else is a crash.
_OWN_CODES = (0, 1, 2, 130)


@dataclass(frozen=True, kw_only=True)
class WorkerOrder:
    """What one actor has to run. `environment` is added to the node's own; it may hold a password."""

    options: WorkerOptions
    gpus: float
    name: str
    detached: bool = False
    environment: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, kw_only=True)
class WorkerReport:
    """The state of a worker. `exit_code` is None while it runs; `last_words` is the end of its output."""

    hostname: str
    node_id: str
    pid: int
    crashes: int = 0
    exit_code: int | None = None
    last_words: Sequence[str] = ()


class RayWorker:
    """One worker process while it runs. Every method returns at once."""

    def __init__(self, order: WorkerOrder) -> None:
        self._order = order
        self._node_id, self._options = self._place()
        self._words: deque[str] = deque(maxlen=LAST_LINES)
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._exit_code: int | None = None
        self._crashes = 0
        self._stopping = threading.Event()
        # The worker asks the kernel for a signal when its parent dies. The kernel means the thread that started it, so
        # one thread starts it, waits for it and outlives it.
        threading.Thread(target=self._keep, name="hlbq-worker", daemon=True).start()

    def report(self) -> WorkerReport:
        """The worker's state now."""
        with self._lock:
            pid = self._process.pid if self._process is not None else 0
            return WorkerReport(
                hostname=os.uname().nodename,
                node_id=self._node_id,
                pid=pid,
                crashes=self._crashes,
                exit_code=self._exit_code,
                last_words=tuple(self._words),
            )

    def stop(self) -> None:
        """Make the worker release its run and end; the second time, end at once."""
        with self._lock:
            # In a cluster's job no SIGTERM hurries a worker; a second SIGINT does.
            number = signal.SIGINT if self._stopping.is_set() else signal.SIGTERM
            self._stopping.set()
            if self._process is not None and self._process.poll() is None:
                self._process.send_signal(number)

    def leave(self) -> None:
        """End this actor for good."""
        import ray

        ray.actor.exit_actor()

    def arguments(self) -> list[str]:
        """The worker's command; tests replace it."""
        return self._options.ending_with_this_process().argv()

    def _place(self) -> tuple[str, WorkerOptions]:
        """This node's id, and the worker's options with the GPU that Ray lent."""
        import ray

        context = ray.get_runtime_context()
        options, lent = self._order.options, ray.get_gpu_ids()
        if self._order.gpus == 0:
            options = replace(options, device="cpu")
        elif str(lent[0]).isdecimal():
            # By number, so that a GPU unknown to the driver is an error and not a silent fall back to the CPU. If Ray
            # names GPUs in another way, it has set CUDA_VISIBLE_DEVICES, and the worker uses what that leaves.
            options = replace(options, gpu=int(lent[0]))
        return context.get_node_id(), options

    def _keep(self) -> None:
        """Run the worker to its end, and again after a crash."""
        while True:
            began = time.monotonic()
            code = self._run_once()
            with self._lock:
                if time.monotonic() - began > STEADY_SECONDS:
                    self._crashes = 0
                crashed = code not in _OWN_CODES
                self._crashes += crashed
                again = crashed and self._crashes < MOST_CRASHES_IN_A_ROW and not self._stopping.is_set()
                pause_seconds = FIRST_PAUSE_SECONDS * 2.0 ** (self._crashes - 1)
                if not again:
                    self._exit_code = 130 if crashed and self._stopping.is_set() else code
            if not again:
                break
            if self._stopping.wait(pause_seconds):
                with self._lock:
                    self._exit_code = 130
                break
        if self._order.detached:
            import ray

            ray.get_runtime_context().current_actor.leave.remote()

    def _run_once(self) -> int:
        """One life of the worker process; its output goes to Ray's log of this actor."""
        with self._lock:
            if self._stopping.is_set():
                return 130
            self._process = process = subprocess.Popen(
                self.arguments(),
                env={**os.environ, "HLBQ_JOB": f"ray {self._order.name}", **self._order.environment},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                # In its own process group: ending this actor's group must not stop the worker before it releases its
                # run.
                process_group=0,
            )
        assert process.stdout is not None  # asked for above
        listener = threading.Thread(target=self._listen, args=(process.stdout,), daemon=True)
        listener.start()
        code = process.wait()
        listener.join(LAST_WORDS_SECONDS)  # what the worker started may live on, and hold its output open
        return code

    def _listen(self, output: IO[str]) -> None:
        with output:
            for line in output:
                self._words.append(line.rstrip())
                print(line, end="", file=sys.stderr, flush=True)
