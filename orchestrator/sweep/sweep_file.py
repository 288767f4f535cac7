"""Sweep files: `hlbq submit sweep.toml`, `hlbq show --sweep N --toml`, which writes one, and presets: those that come
with hlbq, to use as they are, or to print and edit.

[settings]                      # any setting: one value, a list, or a range to draw from
depth = [4, 8]
width = [192, 384]
lr_mult = "1.0..10.0"

[sweep]                         # the other options of `hlbq submit`, by their long names
num_runs = 5
zip = [["depth", "width"]]
where = ["width / num_heads >= 64"]
random = 20
"""

import difflib
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from hlbgpt_core.settings import specs
from orchestrator.errors import UsageError
from orchestrator.files.given_path import open_to_read
from orchestrator.sweep.option_spec import shown, underscored
from orchestrator.sweep.sweep_options import no_setting, option_specs, unknown_option

TABLES = ("settings", "sweep")
TYPED = ("db", "notify", "preset")  # never read from a file, so somebody else's runs no command here
MAX_BYTES = 10_000_000
PRESETS = Path(__file__).with_name("presets")


@dataclass(frozen=True, kw_only=True)
class SweepFile:
    """What a sweep file holds: values by setting (always a list), and sweep options by name."""

    settings: Mapping[str, Sequence[Any]] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)


def read_sweep_file(path: str) -> SweepFile:
    """Read and check a sweep file; the keys of its table [sweep] are the fields of SweepOptions.

    Raises UsageError, naming the file, if it cannot be read, is not TOML, or has an unknown table or key (the nearest
    is suggested) or a value of a wrong type. It checks only the kind of settings' values.
    """
    document = _document(path)
    for name, table in document.items():
        if name not in TABLES:
            raise _unknown_table(path, name)
        if not isinstance(table, dict):
            raise UsageError(f"{path}: '{name}' is not a table", f"Write [{name}] on a separate line.")
    settings, options = (underscored(document.get(name, {}), f"{path}: [{name}]") for name in TABLES)
    for name, value in settings.items():
        if name not in specs():
            error = no_setting(name, place_of_options="Put it below [sweep].")
            raise UsageError(f"{path}: [settings]: {error.message}", error.hint)
        _check_plain(path, f"[settings] {name}", value)
    for name, value in options.items():
        _check_option(path, name, value)
    return SweepFile(
        settings={name: value if isinstance(value, list) else [value] for name, value in settings.items()},
        options=options,
    )


def write_sweep_file(file: SweepFile) -> str:
    """The text of a sweep file, which `read_sweep_file` reads back as the same."""
    values = {name: list(v) if len(v) != 1 else v[0] for name, v in file.settings.items()}
    tables = {"settings": values, "sweep": file.options}
    return "\n".join(_table(name, table) for name, table in tables.items() if table)


def preset_names() -> list[str]:
    """Every preset, by name."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def preset_path(name: str) -> Path:
    """The sweep file of a preset. Raises UsageError, with the known names, for an unknown one."""
    names = preset_names()
    if name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"Did you mean '{near[0]}'? " if near else ""
        raise UsageError(f"there is no preset '{name}'", f"{hint}Use one of: {', '.join(names)}.")
    return PRESETS / f"{name}.toml"


def preset_text(name: str) -> str:
    """The text of a preset's sweep file. Raises UsageError for an unknown name."""
    return preset_path(name).read_text(encoding="utf-8")


def preset_summary(name: str) -> str:
    """What a preset is for: the comment in its first line."""
    return preset_text(name).splitlines()[0].removeprefix("#").strip()


def _document(path: str) -> dict[str, Any]:
    try:
        with open_to_read(path) as file:
            content = file.read(MAX_BYTES + 1)
    except FileNotFoundError:
        raise UsageError(f"there is no sweep file '{path}'", "Options begin with --: hlbq submit --help") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise UsageError(f"the sweep file '{path}' can't be read: {reason}", "Name a TOML file.") from None
    if not content:
        raise UsageError(f"the sweep file '{path}' is empty", "To see one: hlbq preset tiny-cpu")
    if len(content) > MAX_BYTES:
        raise UsageError(f"the sweep file '{path}' is larger than {MAX_BYTES:,} bytes", "Name a TOML file.")
    try:
        return tomllib.loads(content.decode("utf-8-sig"))  # editors on Windows begin it with a byte order mark
    except UnicodeDecodeError as error:
        raise UsageError(
            f"the sweep file '{path}' is not UTF-8: byte 0x{content[error.start]:02x} at offset {error.start}",
            "Save it as UTF-8.",
        ) from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise UsageError(f"the sweep file '{path}' is not TOML: {error}", "To see one: hlbq preset tiny-cpu") from None


def _unknown_table(path: str, name: str) -> UsageError:
    if name in specs():
        return UsageError(f"{path}: '{name}' is outside a table", "Put it below a line [settings].")
    near = difflib.get_close_matches(name, TABLES, n=1)
    hint = f"Did you mean [{near[0]}]? " if near else ""
    return UsageError(f"{path}: there is no table [{name}]", f"{hint}A sweep file has [settings] and [sweep].")


def _check_option(path: str, name: str, value: Any) -> None:
    known = option_specs()
    if name in TYPED:
        raise UsageError(f"{path}: [sweep]: there is no option '{name}' in sweep files", f"Type it: --{name} ...")
    if name not in known:
        error = unknown_option(name, place_of_settings="Put it below [settings].")
        raise UsageError(f"{path}: [sweep]: {error.message}", error.hint)
    try:
        known[name].typed(value)
    except UsageError as error:
        raise UsageError(f"{path}: [sweep] {error.message}", error.hint) from None


def _check_plain(path: str, where: str, value: Any) -> None:
    """A value or a list of values that a setting may have: text, a number, true or false."""
    if isinstance(value, list) and not value:
        raise UsageError(f"{path}: {where} is an empty list", "Give a value, or leave it out.")
    for one in value if isinstance(value, list) else [value]:
        if not isinstance(one, str | int | float | bool):
            raise UsageError(f"{path}: {where}: '{shown(one)}' is not a value", "Use a number, a text, true or false.")


def _table(name: str, values: Mapping[str, Any]) -> str:
    return "".join([f"[{name}]\n", *(f"{key} = {_toml(value)}\n" for key, value in values.items())])


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        # JSON's text is valid TOML, once the control characters that JSON leaves are escaped too.
        text = json.dumps(value, ensure_ascii=False)
        return "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in text)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_toml(one) for one in value)}]"
    return repr(value) if isinstance(value, int | float) else str(value)
