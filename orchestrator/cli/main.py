"""The `hlbq` command: builds the program from its command groups, and turns errors into messages and exit codes.

Exit codes: 0 fine, 1 a run or a check failed, 2 wrong usage, 130 interrupted.
"""

import errno
import gc
import importlib
import io
import itertools
import os
import sys
import warnings
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from hlbgpt_core.errors import HlbqError
from orchestrator.cli.option_groups import add_commands
from orchestrator.cli.parsing import SuggestingGroup, same_spelling
from orchestrator.files.standard_streams import open_closed_streams, unfailing_text
from orchestrator.wording.plain import printable, printable_lines

# In the order of `hlbq --help`: the name of each, and the module that has it if that is called otherwise.
_NAMED = (
    "submit run preset:submit worker status show logs:run_files wait:status cancel:control pause:control "
    "unpause:control retry:control priority:control delete:control rename:labels note:labels tag:labels extend:decide "
    "export plot report compare decide search:submit dashboard code sync notify launch data generate:run_files "
    "export-model:run_files db doctor"
)
COMMANDS: Mapping[str, str] = {
    name: module or name for name, _, module in (word.partition(":") for word in _NAMED.split())
}

# A full disk, a quota, a limit on files, and a terminal or disk that has gone.
_OUTPUT_FAILED = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO})


def build_app(command: str | None = None) -> typer.Typer:
    """The program with all its commands, or only `command`: building all takes as long as counting the runs of a large
    sweep."""
    app = typer.Typer(
        name="hlbq",
        cls=SuggestingGroup,
        help="Queue and run sweeps of short GPT training runs.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"], "token_normalize_func": same_spelling},
    )
    app.callback()(_program)
    for name in [command] if command is not None and command in COMMANDS else COMMANDS:
        module = importlib.import_module(f"orchestrator.cli.{COMMANDS[name]}")
        add_commands(app, getattr(module, name.replace("-", "_")))
    return app


def _show_version(wanted: bool) -> None:
    if wanted:
        from importlib.metadata import PackageNotFoundError, version

        try:
            print(f"hlbq {version('hlbq')}")
        except PackageNotFoundError:
            print("hlbq (not installed)")
        raise typer.Exit


def _program(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_show_version, is_eager=True)
    ] = False,
) -> None:
    """Queue and run sweeps of short GPT training runs.

    Start with: hlbq submit --help
    """


def main() -> None:
    """Run `hlbq` with the process's arguments, and exit with its code."""
    open_closed_streams()
    # What this stdout has no letter for becomes `?`; JSON has escapes.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")
    # Messages that nobody can read any more end no command: a sweep is worked off all the same.
    sys.stderr = unfailing_text(2, sys.stderr.encoding)
    try:
        code = run_program(sys.argv[1:])
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # then the reader of our output has gone (`hlbq status | head`)
            if error.filename is not None or error.errno not in _OUTPUT_FAILED:
                raise
            lost = f"the output could not be written: {error.strerror}"
            print_error(HlbqError(lost, "Free some space (df), or: ulimit -a"))
        # Keep the interpreter from flushing what is left.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    # The interpreter's last garbage collection visits everything imported: a tenth of a short command's time.
    gc.freeze()
    sys.exit(code)


def run_program(arguments: list[str]) -> int:
    """Run `hlbq` with `arguments`; returns the exit code, and prints errors on stderr without a traceback."""
    try:
        app = build_app(arguments[0] if arguments else None)
        # Not in typer's standalone mode, which prints errors in a frame, unlike our own.
        return _exit_code(app(arguments, prog_name="hlbq", standalone_mode=False))
    except Exception as error:
        return _code_of(error, arguments)
    except KeyboardInterrupt:
        _say_nothing_more()
        return 130
    except SystemExit as leaving:
        return _exit_code(leaving.code)


def _code_of(error: Exception, arguments: list[str]) -> int:
    """Print an error, and return its exit code. Our own bugs, and a stdout that takes no more, are raised again."""
    if isinstance(error, typer.Abort) or _came_of_an_interrupt(error):
        return 130
    if isinstance(error, typer.TyperException):
        error = HlbqError(str(error), "Add --help to see what it takes.")
    told = error if isinstance(error, HlbqError) else _fault_of_the_system(error)
    if told is None:
        raise error
    print_error(told, arguments)
    return 2


def _fault_of_the_system(error: Exception) -> HlbqError | None:
    """A path, a limit or a lack of memory in words; None for what is no fault of the system."""
    if isinstance(error, MemoryError) or (isinstance(error, ImportError) and "failed to map segment" in str(error)):
        _say_nothing_more()
        return HlbqError("there is not enough memory", "Free some, or raise the limit: ulimit -v unlimited")
    if not isinstance(error, OSError) or isinstance(error, BrokenPipeError):
        return None
    if error.filename is None and error.errno in _OUTPUT_FAILED:
        return None
    if error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM):
        _say_nothing_more()
    place = "" if error.filename is None else f"'{os.fsdecode(error.filename)}': "
    return HlbqError(
        f"{place}{error.strerror or error}", "Check the path and its rights (ls -ld), and the limits (ulimit -a)."
    )


def _say_nothing_more() -> None:
    """Keep Python from telling how what was half made falls apart."""
    sys.unraisablehook = lambda _: None
    warnings.simplefilter("ignore")


def _came_of_an_interrupt(error: BaseException) -> bool:
    """Whether Ctrl-C caused it: a library's clean-up after Ctrl-C may fail with another error."""
    before = error.__cause__ or error.__context__
    return isinstance(error, KeyboardInterrupt) or (before is not None and _came_of_an_interrupt(before))


def print_error(error: HlbqError, arguments: Sequence[str] = ()) -> None:
    """Print `error: what is wrong`, and on the next line what to do, with the database that `arguments` name."""
    from orchestrator.cli.output import naming_database, note

    note(f"error: {printable(error.message)}")
    if error.hint:
        print(printable_lines(naming_database(error.hint, _database_option(arguments))), file=sys.stderr)


def _database_option(arguments: Sequence[str]) -> str:
    given = [text for before, text in itertools.pairwise(arguments) if before == "--db"]
    given += [text.removeprefix("--db=") for text in arguments if text.startswith("--db=")]
    if not given:
        return ""
    from orchestrator.store.opening.location import parse_location

    try:
        return parse_location(given[-1]).option
    except HlbqError:  # no command can use it
        return ""


def _exit_code(code: Any) -> int:
    return code if isinstance(code, int) else int(code is not None)


if __name__ == "__main__":
    main()
