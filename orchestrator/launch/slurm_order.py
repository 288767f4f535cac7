"""What to ask of Slurm: an array of workers, as submitit's parameters and as the script that sbatch gets. Pure."""

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.errors import UsageError

# Slurm sends this signal when the job's time is nearly up. submitit's default is USR2.
TIME_SIGNAL = "USR1"
_ONE_WORKER = "A job is one worker. See --workers, --slots and --cpus_per_worker."
_OWN_FILES = "What jobs print goes into STATE_DIR/launch."
# What would break the script or the array, with the option to use.
_OWN_PARAMETERS = {
    "array": "--workers is its size, and --at_once how many of its jobs run at the same time.",
    "error": _OWN_FILES,
    "job_name": "--stop finds the jobs by it.",
    "nodes": _ONE_WORKER,
    "no_requeue": "A job whose time is up goes back into Slurm's queue; --max_requeues 0 ends it.",
    "ntasks": _ONE_WORKER,
    "ntasks_per_node": _ONE_WORKER,
    "open_mode": _OWN_FILES,
    "output": _OWN_FILES,
    "signal": "--seconds_before_end says when it comes.",
    "test_only": "--dry_run shows the script.",
    "time": "Use --time.",
    "wrap": "--setup takes shell lines that a job runs first.",
}
_MEMORY = frozenset({"mem", "mem_per_cpu", "mem_per_gpu"})
_GPUS = frozenset({"gpus", "gpus_per_node", "gpus_per_socket", "gpus_per_task"})
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+))?")


@dataclass(frozen=True, kw_only=True)
class ArrayOrder:
    """A job array of workers, each with the same share of a node and the same time.

    `python` is the command that runs Python in a job. At most `at_once` jobs run at the same time (0: all).
    `seconds_before_end` before its time is up, a worker checkpoints and releases its run, and the job goes back into
    Slurm's queue, at most `max_requeues` times.
    """

    name: str
    python: str
    workers: int
    at_once: int = 0
    minutes: int
    seconds_before_end: int
    max_requeues: int
    gpus_per_worker: int = 0
    gpu_type: str = ""
    cpus_per_worker: int = 1
    mem: str = ""
    partition: str = ""
    account: str = ""
    extra: Mapping[str, str | bool] = field(default_factory=dict)
    setup: Sequence[str] = ()

    def parameters(self) -> dict[str, Any]:
        """The parameters of submitit's executor for Slurm."""
        gpus = f"{self.gpu_type}:{self.gpus_per_worker}" if self.gpu_type else self.gpus_per_worker
        own_gpus = self.gpus_per_worker and not any(_asks_for_gpus(*one) for one in self.extra.items())
        chosen = {
            "mem": self.mem,
            "partition": self.partition,
            "account": self.account,
            "gpus_per_node": gpus if own_gpus else None,
            "cpus_per_task": None if "cpus_per_gpu" in self.extra else self.cpus_per_worker,
        }
        return {
            "job_name": self.name,
            "time": self.minutes,
            "nodes": 1,
            "ntasks_per_node": 1,
            "signal_delay_s": self.seconds_before_end,
            "array_parallelism": self.at_once or self.workers,
            "wckey": None,  # submitit's own would be unknown where keys are checked
            "setup": [f"export SUBMITIT_PREEMPT_SIGNAL={TIME_SIGNAL}", *self.setup],
            "additional_parameters": {
                "signal": f"{TIME_SIGNAL}@{self.seconds_before_end}",
                "requeue": True,
                **self.extra,
            },
            **{name: value for name, value in chosen.items() if value},
        }


def check_clashes(order: ArrayOrder) -> None:
    """Raise UsageError if --sbatch asks for what another option was given for."""
    for name, value in order.extra.items():
        asks_for_gpus = _asks_for_gpus(name, value)
        clashes = {
            f"--mem {order.mem}": order.mem and name in _MEMORY,
            f"--partition {order.partition}": order.partition and name == "partition",
            f"--account {order.account}": order.account and name == "account",
            f"--gpu_type {order.gpu_type}": order.gpu_type and asks_for_gpus,
            f"--gpus_per_worker {order.gpus_per_worker}": order.gpus_per_worker != 1 and asks_for_gpus,
        }
        for option in (option for option, clash in clashes.items() if clash):
            raise UsageError(f"{option} and --sbatch {name}={value} were given together", "Leave one of them out.")


def _asks_for_gpus(name: str, value: str | bool) -> bool:
    """Whether a parameter of sbatch asks for GPUs: `gres=gpu:a100:2`, `gpus=2`."""
    return name in _GPUS or (name == "gres" and re.search(r"(^|,)gpu\b", str(value)) is not None)


def script_of(order: ArrayOrder, folder: Path) -> str:
    """The script for sbatch."""
    from submitit.slurm.slurm import _make_sbatch_string

    command = f"{order.python} -u -m submitit.core._submit {shlex.quote(str(folder))}"
    count = order.workers if order.workers > 1 else None
    return _make_sbatch_string(command=command, folder=folder, map_count=count, **order.parameters())


def minutes_of(text: str) -> int:
    """Whole minutes of a time as Slurm reads it: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S, rounded up. Raises UsageError
    for anything else, and for zero."""
    match = _TIME.fullmatch(text.strip())
    if match is None:
        raise UsageError(f"--time {text} is not a time", "For instance: --time 4:00:00, or --time 240 for minutes.")
    parts = [int(part) for part in match.group("first", "second", "third") if part is not None]
    if match["days"] is not None:
        hours, minutes, seconds = (*parts, 0, 0)[:3]
        hours += 24 * int(match["days"])
    elif len(parts) == 3:
        hours, minutes, seconds = parts
    else:
        hours, (minutes, seconds) = 0, (*parts, 0)[:2]
    total = math.ceil((3600 * hours + 60 * minutes + seconds) / 60)
    if not total:
        raise UsageError(f"--time {text} is zero", "For instance: --time 4:00:00")
    return total


def extra_parameters(words: Sequence[str]) -> dict[str, str | bool]:
    """More parameters of sbatch from `NAME=VALUE` and `NAME`; leading dashes are optional. Raises UsageError for
    anything that is not a long name, and for names that hlbq sets itself."""
    found: dict[str, str | bool] = {}
    for word in words:
        name, equals, value = word.lstrip("-").partition("=")
        name = name.replace("-", "_")  # as submitit spells them, to replace its own
        if not re.fullmatch(r"[a-z][a-z0-9_]{2,}", name) or not value.isprintable() or (equals and not value):
            raise UsageError(f"--sbatch {word!r} is not a parameter", "For instance: --sbatch qos=high exclusive")
        if name in _OWN_PARAMETERS:
            raise UsageError(f"--sbatch {word}: hlbq sets {name.removeprefix('no_')} itself", _OWN_PARAMETERS[name])
        found[name] = value if equals else True
    return found


def checked_memory(text: str) -> str:
    """Memory as sbatch takes it. Raises UsageError for anything else."""
    if text and not re.fullmatch(r"\d+[KMGT]?B?", text):
        raise UsageError(f"--mem {text} is not an amount of memory", "For instance: --mem 32G")
    return text
