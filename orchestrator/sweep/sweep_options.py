"""The options of a sweep: one dataclass field is one option.

The fields of `SweepOptions` define the command-line options of `hlbq submit` and `hlbq run`, the keys of a sweep file's
table [sweep], and the keywords of `orchestrator.submit`. To add an option, add a field.
"""

import difflib
import os
import shlex
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from hlbgpt_core.errors import HlbqError
from hlbgpt_core.settings import specs, unknown_setting
from orchestrator.errors import ExportError, UsageError
from orchestrator.files.given_path import expanded
from orchestrator.files.replaced_file import checked_target
from orchestrator.queue.runs import LARGEST_PRIORITY, Bookkeeping
from orchestrator.queue.states import Limits
from orchestrator.queue.sweeps import CsvTarget
from orchestrator.sweep.option_spec import OptionSpec, option, specs_of
from orchestrator.sweep.shapes import Shape

DEFAULT_LOGFILE = "results_041.csv"
DEFAULT_WANDB_PROJECT = "speedy-lang"
# Panels of `--help`.
SHAPE = "Sweep: shape"
SWEEP = "Sweep"
OUTPUT = "Output"
WORKERS = "Workers"
GROWTH = "Seeds until the verdict is in"
SEARCH = "Search for good arms"


@dataclass(frozen=True, kw_only=True)
class SweepOptions:
    """The options of a sweep, in addition to its settings."""

    zip: Sequence[Sequence[str]] = option(
        (),
        panel=SHAPE,
        example='[["depth", "width"]]',
        help="Pair these settings: first value with first, second with second. You may repeat it for other settings.",
    )
    where: Sequence[str] = option(
        (),
        panel=SHAPE,
        metavar="EXPRESSION...",
        example='["width / num_heads >= 64"]',
        help="Keep only arms for which this is true, for instance 'width / num_heads >= 64'. (The --where "
        "NAME=VALUE of other commands chooses stored runs.)",
    )
    one_at_a_time: bool = option(
        False, panel=SHAPE, help="Make one base arm with every setting's first value, and one arm per other value."
    )
    random: int | None = option(
        None,
        panel=SHAPE,
        minimum=1,
        help="Draw this many combinations: evenly from lists, on a log scale from a range such as 1e-4..1e-1.",
    )
    random_seed: int = option(
        0, panel=SHAPE, minimum=0, help="The seed of --random. The same seed draws the same arms."
    )

    num_runs: int = option(1, panel=SWEEP, minimum=1, help="Number of runs of every arm, each with its own seed.")
    seed: int = option(100, panel=SWEEP, minimum=0, help="The first seed; run k (from 1) has seed + k - 1.")
    name: str = option("", panel=SWEEP, help="A name for the sweep.")
    note: str = option("", panel=SWEEP, help="A note on the sweep.")
    baseline: Sequence[str] = option(
        (),
        panel=SWEEP,
        metavar="NAME=VALUE...",
        example='["depth=4"]',
        help="The arm to compare the others with (default: the first value of each setting).",
    )
    priority: int = option(
        0, panel=SWEEP, minimum=-LARGEST_PRIORITY, maximum=LARGEST_PRIORITY, help="Workers take higher ones first."
    )

    log_csv: bool = option(False, "--log_csv", "-c", panel=OUTPUT, help="Keep a CSV file up to date as runs finish.")
    logfile: str | None = option(None, panel=OUTPUT, help=f"The CSV file of --log_csv (default: {DEFAULT_LOGFILE}).")
    append: bool = option(False, panel=OUTPUT, help="Add to the CSV file instead of replacing it.")
    log_wandb: bool = option(False, "--log_wandb", "-w", panel=OUTPUT, help="Send the sweep to wandb with `hlbq sync`.")
    wandb_project: str | None = option(
        None, panel=OUTPUT, help=f"The wandb project of --log_wandb (default: {DEFAULT_WANDB_PROJECT})."
    )

    checkpoint_every: float = option(60.0, panel=WORKERS, minimum=0.0, help="Seconds between checkpoints; 0: none.")
    keep_checkpoints: bool = option(False, panel=WORKERS, help="Keep the last checkpoint of finished runs.")
    keep_best: bool = option(False, panel=WORKERS, help="Keep the model of each run's best evaluation.")
    resume_across_code: bool = option(
        False,
        panel=WORKERS,
        help="Resume runs from a checkpoint even if the code has changed, and mark them as mixed code.",
    )
    stall_timeout: float = option(
        600.0, panel=WORKERS, minimum=1.0, help="Stop a trainer after this many seconds without a sign of life."
    )
    max_attempts: int = option(2, panel=WORKERS, minimum=1, help="Number of errors after which a run fails.")
    skip_existing: bool = option(
        False, panel=SWEEP, help="Do not train runs that any sweep has already completed with the same data and code."
    )

    decide: bool = option(
        False,
        panel=GROWTH,
        help="Add seeds to undecided arms and their baseline until the verdict is in (docs/decide.md).",
    )
    max_seeds: int = option(20, panel=GROWTH, minimum=2, maximum=1000, help="The most seeds an arm gets.")
    first_look: int = option(3, panel=GROWTH, minimum=2, help="Seeds before the first verdict.")
    margin: float | None = option(
        None, panel=GROWTH, help="Also stop if an arm surely differs by less than this, in the metric's unit."
    )
    futility: str = option(
        "0.10",
        panel=GROWTH,
        metavar="CHANCE|off",
        or_number=True,
        help="Close an arm if its chance of a verdict by --max_seeds is less than this.",
    )
    metric: str = option("val_loss", panel=GROWTH, help="The metric that decides: val_loss, test_loss, ...")
    best_arm: bool = option(
        False, panel=GROWTH, help="Race all arms instead: an arm that is surely not the best gets no more seeds."
    )

    trials: int | None = option(
        None,
        panel=SEARCH,
        minimum=2,
        maximum=100_000,
        help="Search: try this many arms, the baseline first, each chosen by the results so far (docs/search.md).",
    )
    sampler: str = option("tpe", panel=SEARCH, metavar="tpe|random", help="Optuna's sampler that proposes the arms.")
    search_seed: int = option(
        0, panel=SEARCH, minimum=0, help="The sampler's seed. The same seed and the same results give the same arms."
    )
    stop_early: str = option(
        "off",
        panel=SEARCH,
        metavar="asha|off",
        help="Stop arms that are not among the best at a rung: Optuna's successive halving.",
    )
    reduction: int = option(
        3,
        panel=SEARCH,
        minimum=2,
        maximum=100,
        help="With 3, one arm in 3 goes on from a rung, and the next rung is 3 times later.",
    )
    first_rung: float = option(0.5, panel=SEARCH, help="The first rung, as a share of a run's tokens.")
    confirm: int = option(
        0,
        panel=SEARCH,
        minimum=0,
        maximum=100,
        help="At the end, compare this many of the best arms with the baseline, on seeds that the search never saw.",
    )

    def __post_init__(self) -> None:
        # The command line, a file and Python give a list as lists, tuples or a single text.
        for name in ("where", "baseline"):
            given = getattr(self, name)
            object.__setattr__(self, name, (given,) if isinstance(given, str) else tuple(given))

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Self:
        """The options of these values by name. Raises UsageError for an unknown name (the nearest is suggested) and
        for a value of a wrong type or out of range."""
        known, typed = option_specs(), dict[str, Any]()
        for name, value in values.items():
            if name not in known:
                raise unknown_option(name)
            if value is not None:  # which is: not given
                typed[name] = known[name].typed(value)
                known[name].check_range(typed[name])
        return cls(**typed)

    @classmethod
    def options(cls) -> Sequence[OptionSpec]:
        """Every option, in the order of the fields."""
        return specs_of(cls, OptionSpec)

    @property
    def first_runs(self) -> int:
        """How many runs every arm has from the start."""
        return max(self.num_runs, self.first_look) if self.decide else self.num_runs

    @property
    def grows(self) -> bool:
        """Whether the sweep has a policy."""
        return self.decide or self.trials is not None

    @property
    def takes_existing(self) -> bool:
        """Whether runs that exist stand for runs of the sweep: a search learns from them for nothing."""
        return self.skip_existing or self.trials is not None

    def shape(self) -> Shape:
        """The sweep's shape."""
        return Shape(
            zips=tuple(tuple(name.strip().replace("-", "_") for name in names) for names in self.zip),
            where=tuple(self.where),
            one_at_a_time=self.one_at_a_time,
            random_draws=self.random,
            random_seed=self.random_seed if self.random is not None else 0,
        )

    def check_texts(self) -> None:
        """Raise UsageError for a text that no database can hold: it was not typed in the terminal's encoding, or has a
        zero byte. And for what is no project of W&B's."""
        check_project(self.wandb_project or "")
        for spec in option_specs().values():
            text = getattr(self, spec.name)
            if isinstance(text, str) and any(one == "\0" or 0xD800 <= ord(one) <= 0xDFFF for one in text):
                raise UsageError(
                    f"--{spec.name}: {text!r} is not UTF-8, or has a zero byte", "Use plain text, and a UTF-8 locale."
                )

    def bookkeeping(self) -> Bookkeeping:
        """What is the same for all runs of the sweep."""
        return Bookkeeping(
            checkpoint_every_seconds=self.checkpoint_every,
            keep_checkpoints=self.keep_checkpoints,
            keep_best=self.keep_best,
            resume_across_code=self.resume_across_code,
            stall_timeout_seconds=self.stall_timeout,
            limits=Limits(max_attempts=self.max_attempts),
        )

    def csv_target(self) -> CsvTarget | None:
        """The CSV file of --log_csv, by its absolute path on this host; None without it. Nothing is written. Raises
        ExportError and UsageError for a file that could not be written, and for one of another program."""
        if not self.log_csv:
            return None
        named = self.logfile or DEFAULT_LOGFILE
        path = Path(os.path.abspath(expanded(named)))  # noqa: PTH100 (keeps links)
        there = checked_target(path).exists()
        if path.suffix.lower() in (".jsonl", ".parquet"):
            raise ExportError(
                f"--logfile '{named}': the log is a CSV, and the ending '{path.suffix}' is of something else",
                f"Use --logfile={shlex.quote(str(Path(named).with_suffix('.csv')))}; hlbq export writes other tables.",
            )
        if there:
            from orchestrator.export.csv_table import csv_header
            from orchestrator.export.replaced_table import check_replaceable

            if self.append:
                csv_header(path)
            else:
                check_replaceable(path, "--logfile results.csv")
        return CsvTarget(path=str(path), append=self.append, host=socket.gethostname())

    def project(self) -> str:
        """The wandb project; empty if `hlbq sync` should not send the sweep."""
        return (self.wandb_project or DEFAULT_WANDB_PROJECT) if self.log_wandb else ""

    def given(self) -> Mapping[str, Any]:
        """The options that are not at their default, by name, for the sweep's definition. Shape and seeds are stored
        separately."""
        kept = [spec for spec in option_specs().values() if spec.panel != SHAPE and spec.name not in _SEEDS]
        return {spec.name: value for spec in kept if (value := getattr(self, spec.name)) != spec.default}

    def warnings(self) -> list[str]:
        """Options that were given and have no effect."""
        found = []
        if self.random_seed and self.random is None:
            found.append("--random_seed has no effect without --random")
        if (self.logfile is not None or self.append) and not self.log_csv:
            found.append("--logfile and --append have no effect without --log_csv (-c)")
        if self.wandb_project is not None and not self.log_wandb:
            found.append("--wandb_project has no effect without --log_wandb (-w)")
        growth = self._changed(GROWTH, "decide" if self.trials is None else "metric")
        if growth and not self.decide and not (self.trials and self.confirm):
            found.append(f"{', '.join(growth)}: no effect without --decide, or --trials with --confirm")
        search = self._changed(SEARCH, "trials")
        if search and self.trials is None:
            found.append(f"{', '.join(search)}: no effect without --trials")
        halving = [name for name in search if name in ("--reduction", "--first_rung")]
        if halving and self.trials is not None and self.stop_early == "off":
            found.append(f"{', '.join(halving)}: no effect without --stop_early asha")
        return found

    def _changed(self, panel: str, but: str) -> list[str]:
        """The options of a panel that are not at their default, as they are typed, without the one called `but`."""
        specs_of_panel = [spec for spec in option_specs().values() if spec.panel == panel and spec.name != but]
        return [f"--{spec.name}" for spec in specs_of_panel if getattr(self, spec.name) != spec.default]


_SEEDS = ("num_runs", "seed")
_LONGEST_PROJECT = 128


def check_project(name: str) -> None:
    """Raise UsageError for a name that W&B takes for no project."""
    wrong = next((one for one in name if one in "/\\#?%:" or not one.isprintable()), "")
    if wrong or len(name) > _LONGEST_PROJECT:
        why = f"it holds {wrong!r}" if wrong else f"it has more than {_LONGEST_PROJECT} characters"
        raise UsageError(f"--wandb_project '{name}' cannot name a W&B project: {why}", "Use letters, digits, - and _.")


def option_specs() -> Mapping[str, OptionSpec]:
    """Every option by name, in the order of the fields."""
    return {spec.name: spec for spec in SweepOptions.options()}


def no_setting(name: str, *, place_of_options: str) -> HlbqError:
    """The error for what is no setting, with the nearest name; for an option of a sweep, with `place_of_options`."""
    if name in option_specs():
        return UsageError(f"'{name}' is an option, not a setting", place_of_options)
    return unknown_setting(name)


def unknown_option(
    name: str, *, place_of_settings: str = "Put it in the settings: submit({'depth': 4})."
) -> UsageError:
    """The error for an unknown option, with the nearest name; for a setting, with `place_of_settings`."""
    if name in specs():
        return UsageError(f"'{name}' is a setting", place_of_settings)
    known = option_specs()
    near = difflib.get_close_matches(name.replace("-", "_"), known, n=1)
    hint = f"Did you mean '{near[0]}'?" if near else f"Use one of: {', '.join(known)}."
    return UsageError(f"there is no option '{name}'", hint)
