"""Checks of a machine before a sweep starts on it, each with a fix.

Every check is a function that returns its results; none raises, and none writes.
"""

import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from importlib.metadata import PackageNotFoundError, version
from netrc import NetrcParseError, netrc
from pathlib import Path
from urllib.parse import urlsplit

from hlbgpt_core.errors import DataError, HlbqError
from hlbgpt_core.text.token_cache import default_cache_dir
from orchestrator.errors import DatabaseMissingError
from orchestrator.launch.python_process import python_argv
from orchestrator.store import OpenMode, has_wal_fault, open_store
from orchestrator.store.opening.location import StoreLocation, parse_location
from orchestrator.store.opening.sqlite_file import network_file_system

LEAST_FREE_BYTES = 2 * 2**30
WANDB_HOST = "api.wandb.ai"
CLOCK_TOLERANCE_SECONDS = 60.0
EARLIEST_SANE_TIME = 1_735_689_600.0  # 2025-01-01: a machine before that has lost its clock
_TORCH_PROBE = """
import json, torch
gpus = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
told = {"version": torch.__version__, "cuda": torch.version.cuda, "gpus": gpus}
print(json.dumps({**told, "instructions": torch.backends.cpu.get_cpu_capability()}))
"""
_DRIVER_PROBE = """
import pynvml as nvml
try:
    nvml.nvmlInit()
except nvml.NVMLError_LibraryNotFound:
    raise SystemExit
gpus = map(nvml.nvmlDeviceGetHandleByIndex, range(nvml.nvmlDeviceGetCount()))
names = [f"{nvml.nvmlDeviceGetName(gpu)}, {nvml.nvmlDeviceGetMemoryInfo(gpu).total >> 20} MiB" for gpu in gpus]
print(f"{nvml.nvmlSystemGetDriverVersion()}: {'; '.join(names) or 'no GPU'}")
"""


class Level(StrEnum):
    """How much a finding matters."""

    FINE = "fine"
    NOTE = "note"
    PROBLEM = "problem"


@dataclass(frozen=True, kw_only=True)
class CheckResult:
    """What one check found; `fix` is what to type or do, empty if all is well."""

    check: str
    level: Level
    found: str
    fix: str = ""


def _fine(check: str, found: str) -> CheckResult:
    return CheckResult(check=check, level=Level.FINE, found=found)


def _note(check: str, found: str, fix: str = "") -> CheckResult:
    return CheckResult(check=check, level=Level.NOTE, found=found, fix=fix)


def _problem(check: str, found: str, fix: str) -> CheckResult:
    return CheckResult(check=check, level=Level.PROBLEM, found=found, fix=fix)


def examine(db: str | None) -> list[CheckResult]:
    """Every check, in the order of interest."""
    python = _fine("python", f"{platform.python_version()} at {sys.executable}")
    machine = [python, check_torch(), check_driver()]
    libraries = [check_sqlite(), check_token_cache(), check_wandb()]
    try:
        place = parse_location(db)
    except HlbqError as error:
        trouble = _problem("database", error.message, error.hint)
        return [*machine, trouble, *libraries]
    folder = place.path.parent if place.path is not None else Path.cwd()
    disk = check_disk(folder)
    return [*machine, disk, check_database(db), check_file_system(place), check_clock(db), *libraries]


def _run_python(program: str, *, timeout_seconds: float) -> str:
    """What a Python program prints. Raises SubprocessError if it fails or takes too long."""
    command = python_argv("-c", program)
    return subprocess.run(command, capture_output=True, text=True, timeout=timeout_seconds, check=True).stdout.strip()


def check_torch() -> CheckResult:
    """Whether torch loads, and which GPUs it can use. Checked in a separate process: torch takes seconds to load."""
    try:
        told = json.loads(_run_python(_TORCH_PROBE, timeout_seconds=120).splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError) as error:
        return _problem(
            "torch", f"torch does not load ({type(error).__name__})", "Reinstall: pip install -c constraints.txt -e ."
        )
    gpus = ", ".join(told["gpus"])
    if gpus:
        return _fine("torch", f"{told['version']}, CUDA {told['cuda']}, GPUs: {gpus}")
    return _note("torch", f"{told['version']}, no GPU that it can use: training on the CPU ({told['instructions']})")


def check_driver() -> CheckResult:
    """Whether the NVIDIA driver answers. Checked in a separate process, with a limit: drivers can hang."""
    try:
        probe = _run_python(_DRIVER_PROBE, timeout_seconds=30)
    except (OSError, subprocess.SubprocessError):
        return _problem(
            "gpu driver",
            "it failed or did not answer",
            "Run nvidia-smi. If the driver was updated, the machine often needs a reboot.",
        )
    if not probe:
        return _note("gpu driver", "none (no libnvidia-ml)")
    return _fine("gpu driver", probe)


def check_disk(folder: Path) -> CheckResult:
    """Room for points, checkpoints and token caches."""
    existing = next((one for one in (folder, *folder.parents) if one.exists()), Path("/"))
    free = shutil.disk_usage(existing).free
    found = f"{free / 2**30:.1f} GiB free at {existing}"
    if free < LEAST_FREE_BYTES:
        fix = "Free some space, or put the database elsewhere with --db. A full disk stops runs until there is room."
        return _problem("disk of the database", found, fix)
    return _fine("disk of the database", found)


def check_database(db: str | None) -> CheckResult:
    """Whether the database opens, has this program's schema, and is undamaged."""
    try:
        with open_store(db, mode=OpenMode.READ) as store:
            problems, shown = store.integrity_check(), store.location.display
    except DatabaseMissingError as error:
        return _note("database", error.message)
    except HlbqError as error:
        return _problem("database", error.message, error.hint)
    if problems:
        fix = "See all of it: hlbq db check. Go on from a backup."
        return _problem("database", f"{shown} is damaged: {problems[0]}", fix)
    return _fine("database", f"no damage in {shown}")


def check_file_system(place: StoreLocation) -> CheckResult:
    """SQLite needs a local file system."""
    if place.path is None:
        return _fine("file system", "the database is a server")
    kind = network_file_system(place.path)
    if kind:
        fix = "Put the database on a local disk with --db, or use PostgreSQL."
        return _problem("file system", f"{kind} is a network file system", fix)
    return _fine("file system", "local")


def check_clock(db: str | None, now: Callable[[], float] = time.time) -> CheckResult:
    """Whether the clock is behind the database's events. Leases do not depend on the clock, but people do."""
    if now() < EARLIEST_SANE_TIME:
        found = time.strftime("%Y-%m-%d", time.gmtime(now()))
        return _problem("clock", f"it says {found}", "Set the clock (timedatectl).")
    try:
        with open_store(db, mode=OpenMode.READ) as store:
            newest = store.events(limit=1)
    except HlbqError:
        newest = []
    ahead = newest[0].at - now() if newest else 0.0
    if ahead > CLOCK_TOLERANCE_SECONDS:
        found = f"the database's newest event is {ahead:.0f} s in the future"
        return _problem("clock", found, "Set the clock (timedatectl set-ntp true).")
    return _fine("clock", time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(now())))


def check_sqlite() -> CheckResult:
    """Which SQLite hlbq uses: the system's, or a newer one if that has the WAL-reset bug."""
    import sqlite3

    system = sqlite3.sqlite_version
    if not has_wal_fault(sqlite3.sqlite_version_info):
        return _fine("sqlite", f"{system} (the system's)")
    try:
        import pysqlite3

        return _fine("sqlite", f"{pysqlite3.sqlite_version} (pysqlite3; the system's is {system})")
    except ImportError:
        return _problem(
            "sqlite", f"{system} has the WAL-reset bug, which can damage a database", "pip install pysqlite3"
        )


def check_token_cache() -> CheckResult:
    """What the token caches hold, and whether they are writable."""
    try:
        folder = default_cache_dir()
    except DataError as error:
        return _problem("token caches", error.message, error.hint)
    except RuntimeError:  # of Path.expanduser
        fix = "Name a folder: export HLBQ_CACHE=/path/to/folder"
        return _problem("token caches", "this user has no home folder: HOME is not set", fix)
    nearest = next((one for one in (folder, *folder.parents) if one.exists()), Path("/"))
    # The mode bits count for root too: whoever took them away meant it.
    if not (nearest.is_dir() and nearest.stat().st_mode & 0o222 and os.access(nearest, os.W_OK | os.X_OK)):
        fix = "Make it writable, or use another: export HLBQ_CACHE=/path/to/folder"
        return _problem("token caches", f"{nearest} cannot be written", fix)
    if nearest != folder:
        return _fine("token caches", f"none yet at {folder}")
    held = [one for one in folder.glob("tokens/*/*.bin") if not one.parent.name.startswith(".")]
    size = sum(one.stat().st_size for one in held)
    number = len({one.parent for one in held})
    return _fine("token caches", f"{number} at {folder}, {size / 2**20:.0f} MiB")


def check_wandb() -> CheckResult:
    """Whether somebody is logged in to wandb. Never shows the key."""
    try:
        installed = version("wandb")
    except PackageNotFoundError:
        return _note("wandb", "not installed", "pip install wandb")
    if os.environ.get("WANDB_API_KEY"):
        return _fine("wandb", f"{installed}, key in the environment")
    server = urlsplit(os.environ.get("WANDB_BASE_URL", "")).hostname or WANDB_HOST
    try:
        logged_in = netrc(str(Path("~/.netrc").expanduser())).authenticators(server) is not None
    except (OSError, RuntimeError, NetrcParseError):  # RuntimeError: a user without a home
        logged_in = False
    if logged_in:
        return _fine("wandb", f"{installed}, logged in to {server}")
    return _note("wandb", f"{installed}, not logged in", "wandb login (for hlbq sync)")
