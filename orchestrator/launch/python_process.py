"""How every process of ours starts Python."""

import sys


def python_argv(*arguments: str) -> list[str]:
    """The command line of this interpreter with these arguments.

    -P keeps the folder that the user works in off the module path. Without it, a file there that is named like one of
    our packages, or like a module of the standard library, would take its place.
    """
    return [sys.executable, "-P", *arguments]


def python_module_argv(module: str, *arguments: str) -> list[str]:
    """The command line that runs `module` in a process of its own."""
    return python_argv("-m", module, *arguments)


def hlbq_argv(*arguments: str) -> list[str]:
    """The command line of `hlbq` with these arguments."""
    return python_module_argv("orchestrator.cli.main", *arguments)
