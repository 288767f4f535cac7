"""The README's section on a setting of one's own, followed to the letter in a copy of the project."""

import csv
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tiny_model import TINY_OPTIONS

ROOT = Path(__file__).parents[2]


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for package in ("hlbgpt_core", "orchestrator", "worker"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


def hlbq(folder: Path, *arguments: str) -> str:
    """Run the copy's hlbq in the copy's folder."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "orchestrator.cli.main", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def follow_the_readme(folder: Path) -> None:
    """Make the three edits that the README's section shows."""
    section = (ROOT / "README.md").read_text(encoding="utf-8").partition("## Add a setting of your own")[2]
    field, in_init, last_line = re.findall(r"```python\n(.*?)```", section, flags=re.DOTALL)[:3]
    settings = folder / "hlbgpt_core" / "settings.py"
    text = settings.read_text(encoding="utf-8")
    last_field = text.rindex("    num_eval_tokens: int = setting(")
    settings.write_text(text[:last_field] + field + text[last_field:], encoding="utf-8")
    recipe = folder / "hlbgpt_core" / "recipes" / "v041.py"
    text = recipe.read_text(encoding="utf-8")
    block = text.index("class LatentAttentionBlock")
    init = text.index("        width = settings.width\n", block)
    text = text[:init] + in_init + text[init:]
    old = re.compile(r"^        return x \+ F\.linear\(torch\.cat.*\n", flags=re.MULTILINE)
    text, count = old.subn(last_line, text)
    assert count == 1
    recipe.write_text(text, encoding="utf-8")


def test_a_setting_of_ones_own_reaches_the_model_and_the_table(copy: Path) -> None:
    follow_the_readme(copy)
    assert "residual_gain" in hlbq(copy, "submit", "--help")
    hlbq(copy, "submit", *TINY_OPTIONS, "--dataset", "pystdlib", "--max_steps", "4", "--residual-gain", "0.5", "1")
    hlbq(copy, "worker", "--device", "cpu")
    hlbq(copy, "export", "results.csv")
    with (copy / "results.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["residual_gain"] for row in rows] == ["0.5", "1.0"]
    assert rows[0]["last_val_loss"] != rows[1]["last_val_loss"]
