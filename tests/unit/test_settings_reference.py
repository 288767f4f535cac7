"""docs/settings.md is generated from the code, and current."""

from pathlib import Path

from hlbgpt_core.settings import specs
from orchestrator.sweep.settings_reference import settings_reference

PAGE = Path(__file__).parents[2] / "docs" / "settings.md"


def test_the_page_is_current() -> None:
    renew = "python -m orchestrator.sweep.settings_reference > docs/settings.md"
    assert PAGE.read_text(encoding="utf-8") == settings_reference(), f"renew it: {renew}"


def test_every_setting_has_one_row() -> None:
    lines = settings_reference().splitlines()
    for name in specs():
        assert sum(line.startswith(f"| `{name}` |") for line in lines) == 1
