"""The pages for people: every link leads to a file, and docs/README.md names every page."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").glob("*.md"))
INDEX = ROOT / "docs" / "README.md"


def linked_files(page: Path) -> set[Path]:
    targets = re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text(encoding="utf-8"))
    return {(page.parent / target).resolve() for target in targets if "://" not in target}


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *DOCS], ids=lambda page: page.name)
def test_every_link_leads_to_a_file(page: Path) -> None:
    assert [target for target in linked_files(page) if not target.exists()] == []


def test_the_index_names_every_page() -> None:
    assert set(DOCS) - {INDEX} <= linked_files(INDEX)
