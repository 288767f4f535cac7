"""How our processes start Python."""

import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any


def python_argv(*arguments: str) -> list[str]:
    """The command line of this interpreter with these arguments.

    -P keeps the current folder off the module path. Without it, a file there with the name of one of our packages or of
    a standard module would be imported instead.
    """
    return [sys.executable, "-P", *arguments]


def python_module_argv(module: str, *arguments: str) -> list[str]:
    """The command line that runs `module` in a separate process."""
    return python_argv("-m", module, *arguments)


def hlbq_argv(*arguments: str) -> list[str]:
    """The command line of `hlbq` with these arguments."""
    return python_module_argv("orchestrator.cli.main", *arguments)


def start_hlbq(*arguments: str, db: str, **streams: Any) -> "subprocess.Popen[bytes]":
    """Start `hlbq` beside this process; `streams` are arguments of Popen. The database's name may hold a password, so
    it goes into the environment, not the process list."""
    environment = {**os.environ, "HLBQ_DB": db}
    return subprocess.Popen(hlbq_argv(*arguments), env=environment, stdin=subprocess.DEVNULL, **streams)


def become_core_command(module: str, arguments: Sequence[str]) -> None:
    """Replace this process with `module` of hlbgpt_core.commands, which then gets its signals and sets its exit code.
    The queue never imports torch."""
    argv = python_module_argv(f"hlbgpt_core.commands.{module}", *arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(argv[0], argv)
