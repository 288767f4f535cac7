"""docs/plots.md: its commands and its Python run as they stand, on a sweep of the settings that it names."""

import re
import shlex
from pathlib import Path

import pytest

from orchestrator.cli.main import run_program
from orchestrator.store import OpenMode, open_store
from tests.sample_sweep import register, sample_points, submit_sweep, work

DOCS = Path(__file__).parents[2] / "docs"
PAGE = DOCS / "plots.md"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with a finished sweep of three depths and two widths."""
    monkeypatch.chdir(tmp_path)
    with open_store("hlbq.db", mode=OpenMode.CREATE) as store:
        arms = [{"depth": depth, "width": width} for depth in (1, 2, 4) for width in (64, 128)]
        submit_sweep(store, arms, seeds=[1, 2, 3])
        worker = register(store)
        for number in range(18):
            work(store, worker, sample_points(8, start=5 - (number % 6) / 20 + number / 1000))
    return tmp_path


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.DOTALL)


def test_every_command_makes_its_file(folder: Path) -> None:
    lines = [
        line for block in blocks("bash") for line in block.splitlines() if line.startswith(("hlbq plot", "hlbq rep"))
    ]
    assert len(lines) == 16
    for line in lines:
        arguments = shlex.split(line)[1:]
        assert run_program(arguments) == 0, line
        made = next(argument for argument in arguments if argument.endswith((".png", ".pdf", ".html")))
        assert (folder / made).stat().st_size > 5_000


def test_the_python_runs(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["export", "results.csv"]) == 0
    (code,) = blocks("python")
    capsys.readouterr()
    exec(compile(code, PAGE.name, "exec"), {})
    shown = capsys.readouterr().out
    assert re.search(r"^1 +64 +3\.\d+ +0\.\d+ +3$", shown, flags=re.MULTILINE), shown
    assert "run_id" in shown and "steps_val" in shown


def test_every_figure_that_is_shown_exists_and_is_small() -> None:
    shown = re.findall(r"\]\((figures/[^)]+)\)", PAGE.read_text(encoding="utf-8"))
    assert {f"figures/{path.name}" for path in (DOCS / "figures").glob("*.png")} >= set(shown) and len(shown) == 10
    for name in shown:
        assert (DOCS / name).read_bytes().startswith(b"\x89PNG")
        assert (DOCS / name).stat().st_size < 150_000
