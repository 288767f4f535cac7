"""docs/commands.md names every command of the program, and no other."""

import re
from pathlib import Path

from orchestrator.cli.main import COMMANDS

PAGE = (Path(__file__).parents[2] / "docs" / "commands.md").read_text(encoding="utf-8")


def test_every_command_has_one_line() -> None:
    named = re.findall(r"^\| `hlbq ([a-z-]+)", PAGE, flags=re.MULTILINE)
    assert sorted(named) == sorted(COMMANDS)
