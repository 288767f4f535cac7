"""Presets: sweep files that come with hlbq, to use as they are, or to print and edit."""

import difflib
from pathlib import Path

from orchestrator.errors import UsageError

FOLDER = Path(__file__).with_name("presets")


def preset_names() -> list[str]:
    """Every preset, by name."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def preset_path(name: str) -> Path:
    """The sweep file of a preset. Raises UsageError, with the known names, for an unknown one."""
    names = preset_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        raise UsageError(f"there is no preset '{name}'", f"{hint}Use one of: {', '.join(names)}.")
    return FOLDER / f"{name}.toml"


def preset_text(name: str) -> str:
    """The text of a preset's sweep file. Raises UsageError for an unknown name."""
    return preset_path(name).read_text(encoding="utf-8")


def preset_summary(name: str) -> str:
    """What a preset is for: the comment in its first line."""
    return preset_text(name).splitlines()[0].removeprefix("#").strip()
