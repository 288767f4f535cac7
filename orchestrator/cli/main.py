"""The `hlbq` command: builds the program from its command groups, and turns errors into messages and exit codes.

Exit codes: 0 fine, 1 a run or a check failed, 2 wrong usage, 130 interrupted.
"""

import importlib
import os
import sys
from typing import Annotated, Any

import typer

from hlbgpt_core.errors import HlbqError
from orchestrator.cli.parsing import same_spelling

# The modules of commands, in the order of `hlbq --help`. Each has `register(app)`.
COMMAND_MODULES = (
    "submit",
    "run",
    "worker",
    "show",
    "logs",
    "wait",
    "control",
    "extend",
    "export",
    "db",
)


def build_app() -> typer.Typer:
    """The program with all its commands."""
    app = typer.Typer(
        name="hlbq",
        help="Queue and run sweeps of short GPT training runs.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["--help", "-h"], "token_normalize_func": same_spelling},
    )
    app.callback()(_program)
    for name in COMMAND_MODULES:
        importlib.import_module(f"orchestrator.cli.{name}").register(app)
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
    """Run `hlbq` with the process's arguments, and leave with its exit code."""
    try:
        code = run_program(sys.argv[1:])
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read our output has gone (`hlbq status | head`): keep the interpreter from flushing into it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 1
    sys.exit(code)


def run_program(arguments: list[str]) -> int:
    """Run `hlbq` with `arguments`; returns the exit code, and prints errors on stderr without a traceback."""
    try:
        build_app()(arguments, prog_name="hlbq")
    except HlbqError as error:
        print_error(error)
        return 2
    except KeyboardInterrupt:
        return 130
    except SystemExit as leaving:
        return _exit_code(leaving.code)
    return 0


def print_error(error: HlbqError) -> None:
    """`error: what is wrong`, and what to do on the next line."""
    print(f"error: {error.message}", file=sys.stderr)
    if error.hint:
        print(error.hint, file=sys.stderr)


def _exit_code(code: Any) -> int:
    return code if isinstance(code, int) else int(code is not None)


if __name__ == "__main__":
    main()
