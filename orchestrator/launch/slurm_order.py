"""What to ask of Slurm: an array of workers, as submitit's parameters and as the script that sbatch gets. Pure."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.errors import UsageError

# Slurm sends this signal when the job's time is nearly up. submitit's default is USR2.
TIME_SIGNAL = "USR1"
# Parameters that would break the script if given twice.
_OWN_PARAMETERS = frozenset({"array", "error", "job_name", "open_mode", "output", "signal", "time"})
_TIME = re.compile(r"(?:(?P<days>\d+)-)?(?P<first>\d+)(?::(?P<second>\d+))?(?::(?P<third>\d+))?")


@dataclass(frozen=True, kw_only=True)
class ArrayOrder:
    """A job array of workers, each with the same share of a node and the same time.

    `seconds_before_end` before its time is up, a worker checkpoints and releases its run, and the job goes back into
    Slurm's queue, at most `max_requeues` times.
    """

    name: str
    workers: int
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
        chosen = {
            "mem": self.mem,
            "partition": self.partition,
            "account": self.account,
            "gpus_per_node": gpus if self.gpus_per_worker else None,
        }
        return {
            "job_name": self.name,
            "time": self.minutes,
            "nodes": 1,
            "ntasks_per_node": 1,
            "cpus_per_task": self.cpus_per_worker,
            "signal_delay_s": self.seconds_before_end,
            "array_parallelism": self.workers,
            "setup": [f"export SUBMITIT_PREEMPT_SIGNAL={TIME_SIGNAL}", *self.setup],
            "additional_parameters": {
                "signal": f"{TIME_SIGNAL}@{self.seconds_before_end}",
                "requeue": True,
                **self.extra,
            },
            **{name: value for name, value in chosen.items() if value},
        }


def script_of(order: ArrayOrder, folder: Path, command: str) -> str:
    """The script for sbatch; each task runs `command`."""
    from submitit.slurm.slurm import _make_sbatch_string

    count = order.workers if order.workers > 1 else None
    return _make_sbatch_string(command=command, folder=folder, map_count=count, **order.parameters())


def minutes_of(text: str) -> int:
    """Whole minutes of a time as Slurm reads it: M, M:S, H:M:S, D-H, D-H:M or D-H:M:S, rounded up.

    Raises UsageError for anything else, and for zero.
    """
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
    """More parameters of sbatch from `NAME=VALUE` and `NAME`; leading dashes are optional.

    Raises UsageError for anything that is not a name, and for names that hlbq sets itself.
    """
    found: dict[str, str | bool] = {}
    for word in words:
        name, equals, value = word.lstrip("-").partition("=")
        name = name.replace("-", "_")  # as submitit spells them, to replace its own
        if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or not value.isprintable() or (equals and not value):
            raise UsageError(f"--sbatch {word!r} is not a parameter", "For instance: --sbatch qos=high exclusive")
        if name in _OWN_PARAMETERS:
            raise UsageError(f"--sbatch {word}: hlbq sets {name} itself", "See its options: hlbq launch slurm --help")
        found[name] = value if equals else True
    return found


def checked_memory(text: str) -> str:
    """Memory as sbatch takes it. Raises UsageError for anything else."""
    if text and not re.fullmatch(r"\d+[KMGT]?B?", text):
        raise UsageError(f"--mem {text} is not an amount of memory", "For instance: --mem 32G")
    return text
