"""A worker's options: each is defined once here, and written to and read from a command line.

The fields of `WorkerOptions` are the options of `hlbq worker`, `run` and `launch`, of a worker process, of each worker
that a parent starts, and of a trainer process. This package starts workers and never imports them.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Self

from hlbgpt_core.fast_path.compile_mode import CompileMode
from orchestrator.errors import UsageError
from orchestrator.launch.python_process import python_module_argv
from orchestrator.sweep.option_spec import OptionSpec, option, specs_of

if TYPE_CHECKING:
    import argparse

HERE = ("worker", "run")
ALL_GPUS = "all"


@dataclass(frozen=True, kw_only=True)
class WorkerOption(OptionSpec):
    """One option of a worker. `trainer`: the trainer process takes it too."""

    trainer: bool = False

    @property
    def _words(self) -> tuple[str, str]:
        """The option as a word, and the word that switches a flag off (may be empty)."""
        on, _, off = self.spellings[0].partition("/")
        return on, off

    def to_words(self, value: Any) -> list[str]:
        """The words for this value on a command line; none for the default."""
        on, off = self._words
        if value == self.default:
            return []
        if self.value_type is bool:
            return [on if value else off]
        texts = [str(one) for one in (value if self.several else (value,))]
        # Joined by "=" if the value could be mistaken for an option.
        return [word for text in texts for word in ([f"{on}={text}"] if text.startswith("-") else [on, text])]

    def add_to(self, parser: "argparse.ArgumentParser") -> None:
        """Make `parser` read what `to_words` writes."""
        on, off = self._words
        if self.value_type is bool:
            for flag, value in ((on, True), (off, False)):
                if flag:
                    parser.add_argument(flag, dest=self.name, action="store_const", const=value)
        else:
            action = "append" if self.several else "store"
            parser.add_argument(on, dest=self.name, type=self.value_type, action=action)


def gpu_numbers(gpus: Sequence[str]) -> tuple[int, ...] | None:
    """The numbers that `--gpus` names, such as `0,2`; None for all GPUs. Raises UsageError for anything else, and for a
    number that is named twice."""
    asked = ",".join(gpus)
    if asked.strip() == ALL_GPUS:
        return None
    words = asked.replace(",", " ").split()
    wrong = [word for word in words if not word.isdecimal()]
    if wrong or not words:
        raise UsageError(
            f"--gpus {asked}: '{' '.join(wrong)}' is not a GPU's number", "For instance: --gpus 0,2 or --gpus all"
        )
    numbers = tuple(map(int, words))
    if len(set(numbers)) < len(numbers):
        raise UsageError(f"--gpus {asked} names a GPU twice", "For several workers on each GPU: --slots 2")
    return numbers


@dataclass(frozen=True, kw_only=True)
class WorkerOptions:
    """A worker's options. `gpus`, or `slots` above 1, make it the parent of several workers."""

    gpu: int | None = option(
        None, minimum=0, commands=HERE, help="Train on this GPU, as numbered by the NVIDIA driver."
    )
    gpus: tuple[str, ...] = option(
        (),
        metavar="all|N...",
        commands=HERE,
        help="One worker on each of these GPUs, under one parent; all: every GPU.",
    )
    device: str | None = option(None, commands=HERE, help="cpu, or auto (default): the first GPU, else the CPU.")
    slots: int = option(
        1,
        minimum=1,
        maximum=64,
        commands=("worker", "run", "slurm"),
        trainer=True,
        help="Number of workers that share the device, or each GPU.",
    )
    no_memory_check: bool = option(
        False, "--no-memory-check", commands=HERE, help="Start all --slots even if memory seems too small."
    )
    threads: int = option(1, minimum=1, help="CPU threads of the trainer. To repeat a run exactly, keep this number.")
    deterministic: bool = option(
        False,
        "--deterministic",
        trainer=True,
        help="On a GPU: the same seed gives the same run bit for bit, but more slowly.",
    )
    fast: bool | None = option(
        None,
        "--fast/--plain",
        trainer=True,
        help="The fast path (default on a GPU) or the recipe as written (default on a CPU). Both learn the same.",
    )
    compile_mode: CompileMode = option(
        CompileMode.AUTO,
        "--compile",
        trainer=True,
        help="Compile the model's blocks on the fast path: auto (if it pays off within the run), always or never.",
    )
    state_dir: str | None = option(
        None,
        help="Folder of checkpoints and logs, shared by all workers and nodes (default: beside the SQLite file, as "
        "<db>.state).",
    )
    watch: bool = option(
        False, "--watch/--no-watch", commands=("worker", "ray"), help="When the queue is empty, wait for more."
    )
    count: int = option(0, minimum=0, commands=("worker",), help="Each worker ends after this many runs; 0: no limit.")
    sweep: tuple[int, ...] = option(
        (), metavar="INT...", commands=("worker", "slurm", "ray"), help="Take runs of these sweeps only."
    )
    db: str | None = option(None, commands=(), help="The database; every command of hlbq takes it.")
    with_parent: int = option(
        0, "--with-parent", commands=(), help="Get a SIGTERM from the kernel when this parent process dies."
    )
    prestarted: bool = option(False, commands=(), help="Start up, and wait for the sweep's number.")
    slot: int | None = option(None, commands=(), help="The slot of this worker, from 0.")
    label: str = option("", commands=(), help="The prefix of each line of this worker's output.")

    @classmethod
    def options(cls) -> Sequence[WorkerOption]:
        """Every option, in the order of the fields."""
        return specs_of(cls, WorkerOption)

    def check(self) -> None:
        """Raise UsageError if two options say where to train, or one says what no machine has."""
        where = {"--gpu": self.gpu is not None, "--gpus": bool(self.gpus), "--device": self.device is not None}
        given = [flag for flag, is_given in where.items() if is_given]
        if len(given) > 1:
            raise UsageError(f"{' and '.join(given)} were given together", "Use one of them.")
        if self.device not in (None, "cpu", "auto"):
            raise UsageError(f"there is no device '{self.device}'", "Use --device cpu, or --gpu N for a GPU.")
        if self.gpus:
            gpu_numbers(self.gpus)

    def to_words(self, *, for_trainer: bool = False) -> list[str]:
        """The options as words of a command line; `for_trainer` those that a trainer process takes."""
        taken = [one for one in self.options() if one.trainer or not for_trainer]
        return [word for one in taken for word in one.to_words(getattr(self, one.name))]

    @classmethod
    def from_words(cls, words: Sequence[str] | None, *, for_trainer: bool = False) -> Self:
        """The options that `to_words` wrote; None reads this process's command line. Leaves with code 2 for others."""
        import argparse  # only a worker needs it: keep `hlbq --help` fast

        parser = argparse.ArgumentParser(prog="hlbq worker", allow_abbrev=False, argument_default=argparse.SUPPRESS)
        for one in cls.options():
            if one.trainer or not for_trainer:
                one.add_to(parser)
        given: dict[str, Any] = vars(parser.parse_args(words))
        given |= {name: tuple(one) for name, one in given.items() if isinstance(one, list)}
        return cls(**given)

    def argv(self) -> list[str]:
        """The command line of the worker process, the interpreter first."""
        return python_module_argv("worker", *self.to_words())

    def ending_with_this_process(self) -> Self:
        """The same for a worker that gets a SIGTERM from the kernel when the calling process dies."""
        return replace(self, with_parent=os.getpid())

    def hidden(self) -> tuple[Self, dict[str, str]]:
        """The options and the environment to start the worker with. A database's URL may hold a password, so it goes
        into the environment, not the process list."""
        if self.db is None or "://" not in self.db:
            return self, dict(os.environ)
        return replace(self, db=None), {**os.environ, "HLBQ_DB": self.db}
