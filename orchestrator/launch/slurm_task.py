"""What runs inside a job: one `hlbq worker`. Passes the job's signals on to it.

submitit stores a `WorkerTask` in a file and calls it on the node. When time is nearly up it calls `checkpoint`, and
puts the job back into the queue if that returns something.
"""

import os
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from orchestrator.launch.worker_command import WorkerOptions

if TYPE_CHECKING:
    from submitit.helpers import DelayedSubmission

# How a worker ends on request: by itself, or killed by the signal if it was not listening yet.
_ENDED_AS_ASKED = frozenset({130, 128 + signal.SIGTERM, 128 + signal.SIGUSR1})


@dataclass(kw_only=True)
class WorkerTask:
    """A worker to run in a job. `environment` holds no secrets: it is written to a file."""

    options: WorkerOptions
    environment: Mapping[str, str] = field(default_factory=dict)
    _pid: int = 0
    _asked: bool = False
    _code: int | None = None

    def __call__(self) -> int:
        """Run the worker to its end. Exits with its exit code unless that is 0. A worker that was asked to stop
        (`scancel --signal=TERM`, a preemption) ends without an error: its run is released."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._tell(signal.SIGTERM))
        worker = subprocess.Popen(
            self.options.ending_with_this_process().argv(),
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
        )
        self._pid = worker.pid
        if self._asked:  # before the worker was there
            worker.terminate()
        code = self._code = _await(worker.pid)
        worker.wait()
        if code and not (self._asked and code in _ENDED_AS_ASKED):
            raise SystemExit(code)
        return code

    def checkpoint(self) -> "DelayedSubmission":
        """Make the worker release its run. Returns the task for a later job, which submitit stores. Called in a
        signal's handler, while `__call__` waits. If the worker had nothing left to do, the job ends."""
        from submitit.helpers import DelayedSubmission

        self._tell(signal.SIGUSR1)
        code = _await(self._pid) if self._pid and self._code is None else self._code
        if code is not None and code not in _ENDED_AS_ASKED:
            raise SystemExit(code)
        print("the run is released, and the job goes back into the queue", flush=True)
        return DelayedSubmission(WorkerTask(options=self.options, environment=self.environment))

    def _tell(self, number: int) -> None:
        """Signal the worker once, while it is there: a second signal may make it stop without a checkpoint."""
        # Noted first: one signal's handler may run in the middle of another's.
        asked, self._asked = self._asked, True
        if not asked and self._pid and self._code is None:
            os.kill(self._pid, number)


def _await(pid: int) -> int:
    """The exit code of a child once it has ended; 128 plus the signal's number if one killed it. The child is not
    reaped: a signal handler cannot call subprocess's wait a second time."""
    ended = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    assert ended is not None  # only WNOHANG returns None
    return ended.si_status if ended.si_code == os.CLD_EXITED else 128 + ended.si_status
