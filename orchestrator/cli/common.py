"""Options that commands share: the database, the filters that choose runs, and what several commands name."""

import gc
import shlex
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.option_groups import OptionGroup, option
from orchestrator.errors import UsageError
from orchestrator.queue.labels import checked_tag
from orchestrator.queue.runs import RunFilter, RunRecord
from orchestrator.queue.states import Reason, State

if TYPE_CHECKING:
    from orchestrator.store import Store

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON on stdout, for programs.")]
YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
StateDirOption = Annotated[str | None, typer.Option("--state_dir", help="The workers' folder (default: <db>.state).")]
RunArgument = Annotated[str, typer.Argument(metavar="RUN", help="The run's number, or its uid.")]
SweepArgument = Annotated[int, typer.Argument(metavar="SWEEP", help="The sweep's number.", min=1)]


@dataclass(frozen=True, kw_only=True)
class DatabaseOption(OptionGroup):
    """`--db`: where the database is."""

    db: str | None = option(None, help="Database: a file, or postgresql://... (default: $HLBQ_DB, else hlbq.db here).")

    def create(self) -> "Store":
        """Open the database, made and brought up to date where needed."""
        return self._open("create")

    def write(self) -> "Store":
        """Open a database that must exist, to change it."""
        return self._open("write")

    def upgrade(self) -> "Store":
        """Open a database that must exist, brought up to date."""
        return self._open("upgrade")

    def read(self) -> "Store":
        """Open a database that must exist; nothing is written."""
        return self._open("read")

    def _open(self, mode: str) -> "Store":
        from orchestrator.store import OpenMode, open_store

        return open_store(self.db, mode=OpenMode(mode))


@dataclass(frozen=True, kw_only=True)
class RunFilterOptions(OptionGroup):
    """The filters that choose runs, the same for every command. A run must pass all of them."""

    panel = "Which runs"
    sweep: tuple[int, ...] = option((), minimum=1, help="Runs of these sweeps.", metavar="INT...")
    run: tuple[int, ...] = option((), minimum=1, help="Runs by number.", metavar="INT...")
    state: tuple[State, ...] = option((), help="Runs in these states.")
    reason: tuple[Reason, ...] = option((), help="Runs whose newest attempt ended for these reasons.")
    where: tuple[str, ...] = option(
        (),
        help="Runs with this value of a setting, seed or run_num. (The --where of submit chooses arms by an "
        "expression.)",
        metavar="NAME=VALUE...",
    )
    tag: tuple[str, ...] = option((), help="Runs with one of these tags, their own or their sweep's.", metavar="TAG...")
    all: bool = option(False, help="Every run of every sweep.")

    def given(self) -> bool:
        """Whether any filter, or --all, was given."""
        return self != RunFilterOptions()

    def words(self) -> str:
        """What chooses the runs apart from their states, as it is typed, for a command that means the same ones."""
        given = {name: getattr(self, name) for name in ("sweep", "run", "where", "tag")}
        return "".join(f" --{name} {shlex.join(map(str, values))}" for name, values in given.items() if values)

    def to_filter(self) -> RunFilter:
        """The filter of what was given; with nothing given, every run. Raises UsageError for --all with another filter,
        a --where without a value and what is no tag; SettingsError for an unknown setting or an invalid value."""
        if self.all and self != RunFilterOptions(all=True):
            raise UsageError("--all means every run, but another filter was given", "Leave one of them out.")
        return RunFilter(
            sweep_ids=self.sweep,
            run_ids=self.run,
            states=self.state,
            reasons=self.reason,
            where=_where(self.where),
            tags=tuple(map(checked_tag, self.tag)),
        )

    def to_chosen(self, example: str) -> RunFilter:
        """The filter for a command that changes runs. Raises UsageError if none was given; `example` is a command to
        type instead."""
        if not self.given():
            raise UsageError("which runs? There is no filter", f"For instance: {example}   (--all for every run)")
        return self.to_filter()


def _where(texts: Sequence[str]) -> Mapping[str, Any]:
    """The wanted values by name; a name that is given twice wants either value."""
    if not texts:
        return {}
    from orchestrator.sweep.chosen_runs import filter_value  # and all settings, which most commands do without

    wanted: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals or value.startswith("=") or name.endswith(("<", ">", "!")):
            wrong = "chooses runs by a value, not by an expression" if equals else "no value"
            name = name.rstrip("<>! ")
            raise UsageError(
                f"--where {text}: {wrong}", f"Write --where {name if name.isidentifier() else 'depth'}=VALUE."
            )
        wanted.setdefault(name, []).append(filter_value(name, value.strip()))
    return wanted


def narrowed(runs: RunFilter, states: Sequence[State]) -> RunFilter:
    """`runs` restricted to `states` as well as to the states that it names itself."""
    kept = tuple(state for state in states if not runs.states or state in runs.states)
    if not kept:
        wanted = ", ".join(runs.states)
        raise UsageError(
            f"this command does nothing to runs that are {wanted}", f"It changes runs that are {' or '.join(states)}."
        )
    return replace(runs, states=kept)


def find_run(store: "Store", run: str) -> RunRecord:
    """The run by its number or uid. Raises UsageError if there is none."""
    from orchestrator.store.known import known_run

    if run.isascii() and run.isdecimal() and len(run) < 19:
        return known_run(store, int(run))
    found = store.run(run) if run.isascii() else None
    if found is None:
        raise UsageError(f"there is no run '{run}' in {store.location.display}", "See the runs: hlbq status --all")
    return found


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """For a short command that makes many objects and no garbage. The collector takes a fifth of a large submit and a
    tenth of `hlbq status`, whose objects are the modules it imports."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()
