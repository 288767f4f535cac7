"""Facts about processes and hosts from the kernel: which processes are alive, stopped or dead, and the host's identity.

A process is identified by its pid and start time together, since pids are reused. A pid is unique only within a boot
and a pid namespace, so both make up the host's name (containers share the first).
"""

import ctypes
import os
import signal
import socket
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path

from orchestrator.launch.stop_signals import STOP_SIGNALS

_PR_SET_PDEATHSIG = 1


class ProcessState(StrEnum):
    """What the kernel says of a process."""

    ALIVE = "alive"
    STOPPED = "stopped"
    DEAD = "dead"


def host_id() -> str:
    """This boot and pid namespace: `<boot id>/<namespace inode>`; the host's name where /proc has neither."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        namespace = str(Path("/proc/self/ns/pid").stat().st_ino)
    except OSError:
        return f"name:{socket.gethostname()}"
    return f"{boot}/{namespace}"


def cluster_job(environment: Mapping[str, str]) -> str:
    """The cluster's name for the job that this process belongs to; empty outside of one.

    `$HLBQ_JOB` by whoever started it (such as `ray 3f2a`), else Slurm's: `slurm 1234`, of an array `slurm 1234_7`.
    """
    if named := environment.get("HLBQ_JOB"):
        return named
    array, task = environment.get("SLURM_ARRAY_JOB_ID"), environment.get("SLURM_ARRAY_TASK_ID")
    if array and task:
        return f"slurm {array}_{task}"
    job = environment.get("SLURM_JOB_ID", "")
    return f"slurm {job}" if job else ""


def start_ticks(pid: int) -> int:
    """The process's start in clock ticks since boot; 0 where it cannot be told."""
    fields = _stat_fields(pid)
    return int(fields[19]) if fields else 0


def process_state(pid: int, ticks: int) -> ProcessState:
    """Whether the process that had this pid and start time is alive, stopped or dead (zombies are dead)."""
    fields = _stat_fields(pid)
    if fields is None:  # it is gone, or there is no /proc here, or that hides the processes of other users (hidepid)
        return ProcessState.ALIVE if _exists(pid) else ProcessState.DEAD
    if ticks and int(fields[19]) != ticks:
        return ProcessState.DEAD
    if fields[0] in "ZXx":
        return ProcessState.DEAD
    return ProcessState.STOPPED if fields[0] in "Tt" else ProcessState.ALIVE


def kill_exactly(pid: int, ticks: int) -> bool:
    """SIGKILL the process with this pid and start time, and no other that took the pid since. True if sent."""
    try:
        descriptor = os.pidfd_open(pid)
    except (OSError, AttributeError):
        return False
    try:
        if process_state(pid, ticks) is ProcessState.DEAD:
            return False
        signal.pidfd_send_signal(descriptor, signal.SIGKILL)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def die_with_parent(parent_pid: int, signal_number: int = signal.SIGKILL) -> None:
    """Have the kernel signal this process when its parent dies; ends it now if the parent is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal_number, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)


def leave_signals_to_the_supervisor() -> None:
    """Have this process ignore what asks workers to stop; only the supervisor decides what becomes of the run.

    A terminal's Ctrl-C goes to its whole group, and schedulers signal every process of a job.
    """
    for number in (*STOP_SIGNALS, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)


def _stat_fields(pid: int) -> list[str] | None:
    """The fields of /proc/<pid>/stat after the command's name (which may hold blanks), the state first."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True
