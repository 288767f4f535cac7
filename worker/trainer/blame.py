"""Whose fault an error of the trainer process is. Only what is the run's own fault counts against the run.

Nothing of the core is imported at the top: the core may be what cannot be imported.
"""

import importlib.metadata
import importlib.util
import re
import signal
import traceback
from enum import StrEnum
from pathlib import Path

from orchestrator.launch.stop_signals import signal_name
from orchestrator.queue.states import Reason

# Signals that people, schedulers and the kernel send from outside; others mean that the process itself failed.
_OUTSIDE_SIGNALS = {signal.SIGKILL, signal.SIGTERM, signal.SIGINT}
# Those of a terminal that closes, and of its Ctrl-\: somebody stopped everything, and nothing counts against the run.
_TERMINAL_SIGNALS = {signal.SIGHUP, signal.SIGQUIT}


class Blame(StrEnum):
    """The run's, the host's, or that of a core that cannot be imported."""

    RUN = "run"
    HOST = "host"
    CODE = "code"


# How libraries tell of a shared library or a GPU that is not there, or not any more.
_BROKEN_HOST = re.compile(
    r"cannot open shared object file|no CUDA-capable device|device\(s\) is/are busy or unavailable|CUDA unknown error"
    r"|CUDA error: unknown error|uncorrectable ECC error|GPU is lost|GPU has fallen off the bus|driver initialization"
    r"|CUDA driver version is insufficient|Found no NVIDIA driver|No CUDA GPUs are available|system not yet initialized"
    r"|system has unsupported display driver|invalid device ordinal|CUDA error: initialization error"
    r"|NVML.*(not found|unknown error|driver/library version mismatch)",
    re.IGNORECASE,
)


def blame_of(error: BaseException) -> Blame:
    """Whose fault an error is, as far as its kind and the place where it was raised tell."""
    if _of_host(error):
        return Blame.HOST
    return Blame.CODE if place_in_core(error) else Blame.RUN


def classify_death(returncode: int) -> tuple[Reason, str, str]:
    """Reason, error type and message for a trainer that died without a word.

    A signal from outside says nothing against the run (lost, or released where a terminal sent it); anything else is
    an error of its own.
    """
    if returncode >= 0:
        return Reason.ERROR, "TrainerExit", f"the trainer process ended by itself with exit code {returncode}"
    name = signal_name(-returncode)
    if -returncode in _TERMINAL_SIGNALS:
        return Reason.RELEASED, "TrainerKilled", f"the trainer process was stopped by {name}"
    if -returncode in _OUTSIDE_SIGNALS:
        return Reason.LOST, "TrainerKilled", f"the trainer process was killed from outside by {name}"
    return Reason.ERROR, "TrainerCrash", f"the trainer process crashed with {name}"


def place_in_core(error: BaseException) -> str:
    """`FILE:LINE` of the core where its import failed; empty for an error that came at no import of it."""
    if isinstance(error, SyntaxError) and error.filename and _in_core(error.filename):
        return f"{error.filename}:{error.lineno}"
    frames = [one for one in traceback.extract_tb(error.__traceback__) if _in_core(one.filename)]
    if not any(one.name == "<module>" for one in frames):
        return ""
    return f"{frames[-1].filename}:{frames[-1].lineno}"


def _of_host(error: BaseException) -> bool:
    if isinstance(error, ImportError) and _is_missing_library(error):
        return True
    if isinstance(error, OSError):
        from hlbgpt_core.private_files import is_fault_of_host

        if is_fault_of_host(error):
            return True
    return isinstance(error, OSError | RuntimeError | ImportError) and bool(_BROKEN_HOST.search(str(error)))


def _is_missing_library(error: ImportError) -> bool:
    """Whether a library that hlbq needs is not there or does not load; a name mistyped in the core is the core's."""
    frames = traceback.extract_tb(error.__traceback__)
    if frames and not _in_core(frames[-1].filename) and any(_in_core(one.filename) for one in frames):
        return True
    return isinstance(error, ModuleNotFoundError) and (error.name or "").partition(".")[0] in _needed_libraries()


def _needed_libraries() -> set[str]:
    try:
        needed = importlib.metadata.requires("hlbq") or []
    except importlib.metadata.PackageNotFoundError:
        return set()
    return {re.split(r"[^\w.-]", one, maxsplit=1)[0].replace("-", "_") for one in needed}


def _in_core(filename: str) -> bool:
    spec = importlib.util.find_spec("hlbgpt_core")
    folders = spec.submodule_search_locations if spec is not None else None
    return any(Path(filename).is_relative_to(folder) for folder in folders or ())


def load_failure(error: Exception) -> dict[str, str]:
    """Why the core could not be loaded, as the fields of a LoadFailed message."""
    blame = blame_of(error)
    place = place_in_core(error) if blame is Blame.CODE else ""
    reason = error.msg if isinstance(error, SyntaxError) else str(error)
    return {
        "blame": (Blame.HOST if blame is Blame.RUN else blame).value,
        "error_type": type(error).__name__,
        "error_message": f"{place}: {reason}" if place else reason,
        "error_traceback": "".join(traceback.format_exception(error)),
    }
