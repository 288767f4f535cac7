"""Commands of the core in a separate process. The queue starts them and never imports torch."""

import os
import sys
from collections.abc import Sequence

from orchestrator.launch.python_process import python_module_argv


def core_argv(module: str, arguments: Sequence[str]) -> list[str]:
    """The command line of `module` of hlbgpt_core.commands, the interpreter first."""
    return python_module_argv(f"hlbgpt_core.commands.{module}", *arguments)


def become_core_command(module: str, arguments: Sequence[str]) -> None:
    """Replace this process with the core's command, which then gets its signals and sets its exit code."""
    argv = core_argv(module, arguments)
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(argv[0], argv)
