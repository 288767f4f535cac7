"""docs/settings.md, made from the fields of `Settings`.

To write it: python -m orchestrator.sweep.settings_reference > docs/settings.md
"""

from collections.abc import Iterator

from hlbgpt_core.settings import RECIPES, SettingSpec, specs
from orchestrator.sweep.options import PANELS, default_text, panel_of
from orchestrator.wording.tables import TextTable

_HEAD = """\
# Settings

A setting is a named value that decides what is trained. Every setting takes one or several values
(`--depth 4 8 16`). Several values make an axis, and the sweep is the product of its axes. You may write names
with dashes or underscores.

If you do not give a setting, it has the default of the run's recipe. Each run stores the values of all settings.

hlbq leaves out a combination that cannot be trained, and one that sets something which its recipe does not use.
`hlbq submit --dry-run` shows these combinations, with the reasons.

`python -m orchestrator.sweep.settings_reference` generates this page from the code, and a test checks it."""

_HEADERS = ("setting", "type", "default", "unit", "recipe", "meaning")
_KINDS = {int: "whole number", float: "number", bool: "0 or 1, true or false", str: "text"}


def settings_reference() -> str:
    """The reference page, in Markdown."""
    return "\n".join([_HEAD, *_tables()]) + "\n"


def _tables() -> Iterator[str]:
    known = specs()
    for panel in PANELS:
        rows = [_cells(spec) for name, spec in known.items() if panel_of(name) == panel]
        yield from ("", f"## {panel.removeprefix('Settings: ').capitalize()}", "")
        yield from TextTable(headers=_HEADERS, rows=rows).markdown()


def _cells(spec: SettingSpec) -> list[str]:
    recipes = "all" if spec.recipes == RECIPES else ", ".join(spec.recipes)
    return [f"`{spec.name}`", _type_text(spec), default_text(spec), spec.unit, recipes, spec.help]


def _type_text(spec: SettingSpec) -> str:
    if spec.choices:
        return ", ".join(f"`{choice}`" for choice in spec.choices)
    limits = []
    if spec.minimum is not None:
        limits.append(f"at least {spec.minimum:g}")
    if spec.above is not None:
        limits.append(f"above {spec.above:g}")
    return ", ".join([_KINDS[spec.type], *limits])


if __name__ == "__main__":
    print(settings_reference(), end="")
