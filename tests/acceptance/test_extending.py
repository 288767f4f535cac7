"""docs/extending.md, followed to the letter in a copy of the project: a metric, a dataset and a recipe of one's own."""

import ast
import csv
import json
import math
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.queue.runs import RunFilter
from orchestrator.store import OpenMode, open_store
from tests.store_examples import stored_points
from tests.tiny_model import TINY_OPTIONS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")


def blocks(section: str) -> list[str]:
    """The Python that a section of the page shows, in order."""
    text = PAGE.partition(f"## {section}\n")[2].partition("\n## ")[0]
    return re.findall(r"```python\n(.*?)```", text, flags=re.DOTALL)


def edit(file: Path, old: str, new: str) -> None:
    """Put `new` in the place of `old`, which stands in the file once."""
    text = file.read_text(encoding="utf-8")
    assert text.count(old) == 1, f"{file.name}: {text.count(old)} times {old!r}"
    file.write_text(text.replace(old, new), encoding="utf-8")


def add_the_metric(core: Path) -> None:
    (line,) = blocks("A new metric")
    edit(core / "metrics.py", "    return {}\n", line)


def add_the_dataset(core: Path) -> None:
    function, line = blocks("A new dataset")
    sources = core / "text" / "sources.py"
    edit(sources, "        PYSTDLIB: _own_stdlib_files,\n", f"        PYSTDLIB: _own_stdlib_files,\n{line}")
    table = "# Datasets on this machine by name"
    edit(sources, table, f"{function}\n\n{table}")


def add_the_recipe(core: Path) -> None:
    recipe, names, size, count, imported, entry = blocks("A new recipe")
    (core / "recipes" / "last_token.py").write_text(recipe, encoding="utf-8")
    edit(core / "settings.py", 'RECIPES = ("0.4.1", "0.3.0")\n', names)
    rate = '2e-3, above=0, recipes=("0.3.0",)'
    edit(core / "settings.py", rate, rate.replace('("0.3.0",)', '("0.3.0", "last-token")'))
    last = '        "0.3.0": RecipeScale('
    edit(core / "scale.py", last, size + last)
    branch = '    if settings.recipe == "0.3.0":\n        attention = '
    edit(core / "scale.py", branch, count + branch)
    room = core / "recipes" / "__init__.py"
    known = "from hlbgpt_core.recipes.protocol import Recipe\n"
    edit(room, known, imported + known)
    edit(room, '        "0.3.0": Recipe030,\n', f'        "0.3.0": Recipe030,\n{entry}')


@pytest.fixture(scope="module")
def followed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project after all of the page, with two sweeps trained and exported."""
    folder = tmp_path_factory.mktemp("copy")
    for package in ("hlbgpt_core", "orchestrator", "worker"):
        shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    for add in (add_the_metric, add_the_dataset, add_the_recipe):
        add(folder / "hlbgpt_core")
    rate = TINY_OPTIONS.index("--lr_mult")  # is not a setting of the new recipe
    for_any_recipe = (*TINY_OPTIONS[:rate], *TINY_OPTIONS[rate + 2 :])
    for options in ((*TINY_OPTIONS, "--recipe", "0.4.1"), (*for_any_recipe, "--recipe", "last-token")):
        hlbq(folder, "submit", *options, "--dataset", "own-source", "--max_steps", "12")
    hlbq(folder, "worker", "--device", "cpu")
    hlbq(folder, "export", "results.csv", "--all")
    return folder


def hlbq(folder: Path, *arguments: str) -> str:
    """Run the copy's hlbq in the copy's folder."""
    done = subprocess.run(
        [sys.executable, "-P", "-m", "orchestrator.cli.main", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder), "HLBQ_CACHE": str(folder / "cache")},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "results.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_metric_of_ones_own_is_in_database_and_tables(followed: Path) -> None:
    with open_store(str(followed / "hlbq.db"), mode=OpenMode.READ) as store:
        stored = [one.point.extra["parameter_norm"] for one in stored_points(store, RunFilter(run_ids=(1,)))]
    assert len(set(stored)) == len(stored) > 2 and all(0 < norm < math.inf for norm in stored)
    row = rows_of(followed)[0]
    columns = [ast.literal_eval(row[f"{split}_parameter_norm"]) for split in ("train", "val")]
    assert sorted(columns[0] + columns[1]) == sorted(stored)
    hlbq(followed, "export", "points.csv", "--layout", "points", "--all")
    assert "parameter_norm" in (followed / "points.csv").read_text().splitlines()[0].split(",")


def test_a_metric_of_ones_own_can_be_drawn(followed: Path) -> None:
    hlbq(followed, "plot", "norm.png", "--metric", "val_parameter_norm")
    assert (followed / "norm.png").read_bytes().startswith(b"\x89PNG")


def test_a_dataset_of_ones_own_is_trained_on(followed: Path) -> None:
    core = followed / "hlbgpt_core"
    size = sum(path.stat().st_size for path in core.rglob("*.py"))
    (cached,) = json.loads(hlbq(followed, "data", "info", "own-source", "--json"))
    assert cached["train_bytes"] + cached["val_bytes"] == size
    assert [row["dataset"] for row in rows_of(followed)] == ["own-source"] * 2
    (core / "metrics.py").write_text((core / "metrics.py").read_text() + "# one more line\n")
    (cached,) = json.loads(hlbq(followed, "data", "info", "own-source", "--json"))
    assert cached["text"].startswith("changed")


def test_a_recipe_of_ones_own_is_an_arm_among_others(followed: Path) -> None:
    fused, own = rows_of(followed)
    assert (fused["recipe"], own["recipe"]) == ("0.4.1", "last-token")
    assert int(own["num_params"]) == 2 * 320 * 64
    curve = ast.literal_eval(own["val_loss"])
    assert curve[-1] < math.log(320) and own["state"] == "completed"  # the loss of a model that knows nothing
    assert set(ast.literal_eval(own["lrs_train"])) == {0.002}


def test_the_page_names_files_and_commands_that_there_are() -> None:
    for path in re.findall(r"`((?:hlbgpt_core|tests)/[\w/.]+)`", PAGE):
        assert (ROOT / path).exists() or path.endswith("last_token.py"), path
