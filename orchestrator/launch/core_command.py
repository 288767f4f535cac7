"""Commands of the core in a process of its own. The queue starts them and never imports torch."""

import os
import sys
from collections.abc import Sequence


def core_argv(module: str, arguments: Sequence[str]) -> list[str]:
    """The command line of `module` of hlbgpt_core.commands, the interpreter first."""
    # -P: a file named like one of our packages in the user's folder must not take its place.
    return [sys.executable, "-P", "-m", f"hlbgpt_core.commands.{module}", *arguments]


def become_core_command(module: str, arguments: Sequence[str]) -> None:
    """Put the core's command in this process's place: signals, output and the exit code are its own."""
    argv = core_argv(module, arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(argv[0], argv)
