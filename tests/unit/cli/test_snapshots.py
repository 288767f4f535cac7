"""The options of every command, as they stand in snapshots/: a change of the command line is seen in review.

Renew them after a change that is meant:

    HLBQ_RENEW_SNAPSHOTS=1 python -m pytest tests/unit/cli/test_snapshots.py
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer

from orchestrator.cli.main import COMMANDS, build_app
from orchestrator.cli.output import naming_database

FOLDER = Path(__file__).with_name("snapshots")
RENEW = "HLBQ_RENEW_SNAPSHOTS"


def test_every_command_has_the_options_of_its_snapshot() -> None:
    found = commands(typer.main.get_command(build_app()), "hlbq")
    now = {f"{name.replace(' ', '-')}.txt": describe(command) for name, command in found}
    if os.environ.get(RENEW):
        for old in FOLDER.glob("*.txt"):
            old.unlink()
        for name, text in now.items():
            (FOLDER / name).write_text(text, encoding="utf-8")
    stored = {path.name: path.read_text(encoding="utf-8") for path in FOLDER.glob("*.txt")}
    assert stored == now, f"if the change is meant: {RENEW}=1 python -m pytest {Path(__file__).name}"


def test_the_table_of_commands_is_what_the_modules_register() -> None:
    assert sorted(typer.main.get_command(build_app()).commands) == sorted(COMMANDS)
    for name in COMMANDS:
        assert list(typer.main.get_command(build_app(name)).commands) == [name]


def commands(command: Any, name: str) -> Iterator[tuple[str, Any]]:
    """Every command with its full name, groups themselves left out."""
    below = getattr(command, "commands", None)
    if below is None:
        yield name, command
        return
    for child_name, child in below.items():
        yield from commands(child, f"{name} {child_name}")


def describe(command: Any) -> str:
    """A command's help and a line for each argument and option."""
    lines = [str(command.help).strip().splitlines()[0], ""]
    for param in command.params:
        names = ", ".join([*param.opts, *param.secondary_opts])
        kind = "flag" if getattr(param, "is_flag", False) else param.metavar or param.bare_type()
        several = ", several" if param.multiple or param.nargs == -1 else ""
        default = "" if param.default in (None, False, "") or param.multiple else f", default {param.default}"
        required = ", required" if param.required else ""
        lines.append(f"{names}  [{kind}{several}{required}{default}]  {getattr(param, 'help', None) or ''}".rstrip())
    return "\n".join(lines) + "\n"


def test_every_option_and_command_has_a_help_text() -> None:
    for name, command in commands(typer.main.get_command(build_app()), "hlbq"):
        assert command.help, name
        for param in command.params:
            assert getattr(param, "help", None), f"{name} {param.name}"


def test_a_suggested_command_names_the_database_of_this_one() -> None:
    for name, command in commands(typer.main.get_command(build_app()), "hlbq"):
        takes_it = any("--db" in parameter.opts for parameter in command.params)
        wanted = f"Try: {name} --db a.db 3" if takes_it else f"Try: {name} 3"
        assert naming_database(f"Try: {name} 3", " --db a.db") == wanted
