"""Where output goes, and how commands ask.

Output for pipes goes to stdout (`print_table`, `print_json`, `say`); notes, warnings and questions go to
stderr (`note`, `warn`, `ask`). None of them prints a control character, whatever a sweep is called.
"""

import json
import shutil
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, TextIO

import typer

from orchestrator.errors import UsageError
from orchestrator.wording.commands import naming_database as naming_database
from orchestrator.wording.numbers import counted as counted
from orchestrator.wording.numbers import short_count as short_count
from orchestrator.wording.plain import printable, printable_lines
from orchestrator.wording.tables import TextTable, wrapped

if TYPE_CHECKING:
    from orchestrator.store import Store


def ask(question: str, *, otherwise: str) -> None:
    """Ask on stderr. Returns if the answer is yes, else prints `otherwise` and exits with 1. Raises UsageError if there
    is no terminal."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        raise UsageError(f"cannot ask without a terminal: {question}", "Add --yes to go on without asking.")
    # Not typer.confirm, which treats Ctrl-C as a no and exits with 1.
    print(f"{printable(question)} [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() not in ("y", "yes"):
        note(otherwise)
        raise typer.Exit(1)


def say(*texts: str, end: str = "\n") -> None:
    """Texts on stdout, each on a line, without letters that a terminal would obey."""
    for text in texts:
        print(printable_lines(text), end=end)


def note(*texts: str) -> None:
    """Lines for people on stderr."""
    say_wrapped(*texts, stream=sys.stderr)


def say_wrapped(*texts: str, stream: TextIO | None = None) -> None:
    """Print sentences on `stream`, else on stdout: on a terminal wrapped between words, except for a command to type
    next."""
    stream = stream or sys.stdout
    width = shutil.get_terminal_size().columns if stream.isatty() else None
    for text in map(printable_lines, texts):
        if width is not None and not text.startswith("next: "):
            text = "\n".join(wrapped(line, width) for line in text.split("\n"))
        print(text, file=stream)


def suggest(text: str, store: "Store") -> None:
    """A line for people on stderr; the commands of hlbq in it name the store's database."""
    note(naming_database(text, store.location.option))


def warn(*texts: str) -> None:
    """Warnings on stderr."""
    note(*(f"warning: {text}" for text in texts))


def print_json(value: Any) -> None:
    """One JSON document on stdout; records become objects. Non-finite numbers become null, as JSON has none, and every
    letter that cannot be shown is escaped."""
    # A stdout in another encoding than UTF-8 would lose letters.
    is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")
    text = json.dumps(_plain(value), ensure_ascii=not is_unicode, indent=2)
    if not text.replace("\n", "").isprintable():
        text = "".join(one if one.isprintable() or one == "\n" else json.dumps(one)[1:-1] for one in text)
    print(text)


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
    """A table on stdout: no wider than the terminal, or as wide as its text without one. Cells are plain text on one
    line: markup in a name or an error is not interpreted."""
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print("", *TextTable(title=title, headers=headers, rows=[*rows]).lines(width), "", sep="\n")


def when(seconds: float | None) -> str:
    """A moment as local date and time; empty for None."""
    return "" if seconds is None else datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
