"""What commands share: the database option, the filters that choose runs, questions, and where output goes.

Output for pipes goes to stdout (`print_table`, `print_json`, `say`); notes, warnings and questions go to
stderr (`note`, `warn`, `ask`). None of them prints a control character, whatever a sweep is called.
"""

import gc
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, is_dataclass, replace
from typing import TYPE_CHECKING, Annotated, Any, TextIO

import typer

from orchestrator.cli.option_groups import OptionGroup, option
from orchestrator.errors import UsageError
from orchestrator.queue.labels import checked_tag
from orchestrator.queue.records import RunFilter
from orchestrator.queue.states import Reason, State
from orchestrator.sweep.chosen_runs import filter_value
from orchestrator.wording.next_command import naming_database
from orchestrator.wording.numbers import counted as counted
from orchestrator.wording.numbers import short_count as short_count
from orchestrator.wording.plain import json_text, printable, printable_lines
from orchestrator.wording.tables import TextTable, wrapped

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
    sweep: list[int] = option(list, min=1, help="Runs of these sweeps.", metavar="INT...")
    run: list[int] = option(list, min=1, help="Runs by number.", metavar="INT...")
    state: list[State] = option(list, help="Runs in these states.")
    reason: list[Reason] = option(list, help="Runs whose newest attempt ended for these reasons.")
    where: list[str] = option(
        list,
        help="Runs with this value of a setting, seed or run_num. (The --where of submit chooses arms by an "
        "expression.)",
        metavar="NAME=VALUE...",
    )
    tag: list[str] = option(list, help="Runs with one of these tags, or whose sweep has it.", metavar="TAG...")
    all: bool = option(False, help="Every run of every sweep.")

    def given(self) -> bool:
        """Whether any filter, or --all, was given."""
        return self._restricts() or self.all

    def to_filter(self) -> RunFilter:
        """The filter of what was given; with nothing given, every run.

        Raises UsageError for --all with another filter, a --where without a value and what is no tag; SettingsError for
        an unknown setting or an invalid value.
        """
        if self.all and self._restricts():
            raise UsageError("--all means every run, but another filter was given", "Leave one of them out.")
        return RunFilter(
            sweep_ids=tuple(self.sweep),
            run_ids=tuple(self.run),
            states=tuple(self.state),
            reasons=tuple(self.reason),
            where=_where(self.where),
            tags=tuple(map(checked_tag, self.tag)),
        )

    def _restricts(self) -> bool:
        return bool(self.sweep or self.run or self.state or self.reason or self.where or self.tag)

    def to_chosen(self, example: str) -> RunFilter:
        """The filter for a command that changes runs. Raises UsageError if none was given; `example` is a command to
        type instead."""
        if not self.given():
            raise UsageError("no filter says which runs", f"For instance: {example}   (--all for every run)")
        return self.to_filter()


def _where(texts: Sequence[str]) -> Mapping[str, Any]:
    """The wanted values by name; a name that is given twice wants either value."""
    wanted: dict[str, list[Any]] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        name = name.strip().replace("-", "_")
        if not equals:
            raise UsageError(f"--where {text}: no value", f"Write --where {name or 'depth'}=VALUE.")
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


def confirm_change(count: int, verb: str, *, yes: bool) -> None:
    """Say how many runs `verb` changes, and ask if there are several.

    Raises UsageError if it has to ask and there is no terminal; exits with 1 if the answer is no.
    """
    if count > 1 and not yes:
        ask(f"{verb.capitalize()} {counted(count, 'run')}?", otherwise="Nothing was changed.")


def ask(question: str, *, otherwise: str) -> None:
    """Ask on stderr. Returns if the answer is yes, else prints `otherwise` and exits with 1.

    Raises UsageError if there is no terminal.
    """
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"no terminal to ask on: {question}", "Add --yes to go on without asking.")
    # Not typer.confirm, which treats Ctrl-C as a no and exits with 1.
    print(f"{printable(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        note(otherwise)
        raise typer.Exit(1)


@contextmanager
def without_garbage_collection() -> Iterator[None]:
    """For a short command that makes many objects and no garbage. The collector takes a fifth of a large submit and a
    tenth of `hlbq status`, whose objects are the modules it imports."""
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


def say(text: str = "", *, end: str = "\n") -> None:
    """Text on stdout, without letters that a terminal would obey."""
    print(printable_lines(text), end=end)


def note(text: str) -> None:
    """A line for people on stderr."""
    say_wrapped(text, sys.stderr)


def say_wrapped(text: str, stream: TextIO) -> None:
    """Print a sentence: on a terminal wrapped between words, except for a command to type next."""
    text = printable_lines(text)
    if stream.isatty() and not text.startswith("next: "):
        width = shutil.get_terminal_size().columns
        text = "\n".join(wrapped(line, width) for line in text.split("\n"))
    print(text, file=stream)


def suggest(text: str, store: "Store") -> None:
    """A line for people on stderr; the commands of hlbq in it name the store's database."""
    note(naming_database(text, store.location.option))


def warn(text: str) -> None:
    """A warning on stderr."""
    note(f"warning: {text}")


def print_json(value: Any) -> None:
    """One JSON document on stdout; records become objects. Non-finite numbers become null, as JSON has none."""
    # A stdout in another encoding than UTF-8 would lose letters.
    print(json_text(_plain(value), indent=2, ascii_only=not (sys.stdout.encoding or "").lower().startswith("utf")))


def print_result(value: Any, text: str, *, as_json: bool) -> None:
    """What a command did: `value` for programs, or `text` for people."""
    print_json(value) if as_json else say(text)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        value = asdict(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not -float("inf") < value < float("inf"):
        return None
    return value


def print_table(headers: Sequence[str], rows: Iterable[Sequence[str]], *, title: str = "") -> None:
    """A table on stdout: no wider than the terminal, or as wide as its text without one.

    Cells are plain text on one line: markup in a name or an error is not interpreted.
    """
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print("", *TextTable(title=title, headers=headers, rows=[*rows]).lines(width), "", sep="\n")


def when(seconds: float | None) -> str:
    """A moment as local date and time; empty for None."""
    from datetime import datetime

    return "" if seconds is None else datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
