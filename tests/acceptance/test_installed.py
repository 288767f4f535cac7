"""hlbq as people install it, in folders whose files have the names of ours and of Python's own."""

import os
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator.store.opening.schema import CURRENT
from tests.tiny_model import TINY_OPTIONS

ROOT = Path(__file__).parents[2]
PACKAGES = ("hlbgpt_core", "orchestrator", "worker")
OLD_DATABASE = ROOT / "tests" / "migration" / "schema_0001.sqlite"

# Any of these that runs leaves a file behind.
LEAVES_A_MARK = "from pathlib import Path\nPath(__file__).with_suffix('.was_run').touch()\n"
STRANGE_PACKAGES = ("migrations", "worker", "tests")
STRANGE_MODULES = ("queue.py", "types.py")

API_SCRIPT = """
import sys
import orchestrator
print(orchestrator.__file__)
print(orchestrator.submit({"tokenizer": "bytes", "dataset": "pystdlib"}, db=sys.argv[1]).id)
"""

# The wrong argument shows that mypy knows the types; without py.typed it would know none.
TYPED_SCRIPT = """
import orchestrator
from hlbgpt_core.settings import Settings
from worker.exit_codes import EXIT_FINE

def depth(settings: Settings) -> int:
    return settings.depth

def queued(db: str) -> int:
    return orchestrator.submit({"depth": [4, 8]}, db=db).id

code: int = EXIT_FINE
wrong = orchestrator.submit({"depth": 4}, db=7)
"""


def outside(**more: str) -> dict[str, str]:
    """The environment of a process that knows nothing of this checkout."""
    return {**{name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}, **more}


def said_by(*command: str | Path, folder: Path, environment: Mapping[str, str] | None = None, code: int = 0) -> str:
    """What a command prints, and its errors after that."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=folder,
        env=environment or outside(),
        capture_output=True,
        text=True,
        timeout=240,
    )
    assert done.returncode == code, f"{command}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of what a wheel is built from: building writes beside it."""
    folder = tmp_path_factory.mktemp("source")
    for name in (*PACKAGES, "migrations"):
        shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, folder)
    return folder


def build(source: Path, kind: str) -> Path:
    """Build a `wheel` or an `editable` one, as pip has setuptools do it."""
    target = source / "dist" / kind
    target.mkdir(parents=True)
    said_by(
        sys.executable,
        "-c",
        f"import sys; from setuptools import build_meta; build_meta.build_{kind}(sys.argv[1])",
        target,
        folder=source,
    )
    [wheel] = target.iterdir()
    return wheel


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    return build(source, "wheel")


def install(wheel: Path, folder: Path) -> Path:
    """A virtual environment with this wheel alone; returns its Python."""
    venv.create(folder, with_pip=False, symlinks=True)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    said_by(*pip, "install", "--quiet", "--no-deps", "--no-index", "--no-compile", wheel, folder=folder)
    return python


def lend_libraries(python: Path) -> None:
    """Let a virtual environment import the libraries of the Python that runs the tests, but not its hlbq."""
    paths = {name: str(python.parents[1]) for name in ("base", "platbase")}
    own = Path(sysconfig.get_path("purelib", scheme="venv", vars=paths))
    # .pth files of a folder that a .pth file names are not read: an editable hlbq there stays unknown.
    (own / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")


@pytest.fixture(scope="module", params=["wheel", pytest.param("editable", marks=pytest.mark.long)])
def python(request: pytest.FixtureRequest, source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment in which hlbq is installed in one of the two ways."""
    built = request.getfixturevalue("wheel") if request.param == "wheel" else build(source, "editable")
    found = install(built, tmp_path_factory.mktemp(request.param))
    lend_libraries(found)
    return found


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """Somebody's own project, with an old database of hlbq in it."""
    folder = tmp_path / "project"
    for name in STRANGE_PACKAGES:
        (folder / name).mkdir(parents=True)
        for file in ("__init__.py", "__main__.py", "env.py"):
            (folder / name / file).write_text(LEAVES_A_MARK)
    shutil.copy(OLD_DATABASE, folder / "old.db")
    return folder


def revision_of(database: Path) -> str:
    raw = sqlite3.connect(database)
    [(found,)] = raw.execute("SELECT version_num FROM alembic_version")
    raw.close()
    return str(found)


def test_a_wheel_holds_every_file_of_the_packages_and_no_other_package(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
        described = {name.partition(".dist-info/")[2] for name in archive.namelist()}
    ours = {
        path.relative_to(ROOT).as_posix()
        for name in PACKAGES
        for path in (ROOT / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    migrations = {f"orchestrator/{path.relative_to(ROOT).as_posix()}" for path in (ROOT / "migrations").rglob("*.py")}
    assert held == ours | migrations
    assert "licenses/LICENSE" in described


def test_a_script_upgrades_with_our_migrations_whatever_lies_beside_it(python: Path, project: Path) -> None:
    (project / "script.py").write_text(API_SCRIPT)
    where, sweep = said_by(python, "script.py", "old.db", folder=project).split()
    assert not Path(where).is_relative_to(ROOT)
    assert (sweep, revision_of(project / "old.db")) == ("2", CURRENT.head)
    assert list(project.rglob("*.was_run")) == []


def test_commands_and_what_they_start_take_nobodys_files_for_ours(python: Path, project: Path, tmp_path: Path) -> None:
    for name in STRANGE_MODULES:
        (project / name).write_text(LEAVES_A_MARK)
    text = tmp_path / "text.txt"
    text.write_text("the quick brown fox jumps over the lazy dog\n" * 400)
    environment = outside(HLBQ_CACHE=str(tmp_path / "cache"))

    def hlbq(*arguments: str) -> str:
        return said_by(python.with_name("hlbq"), *arguments, folder=project, environment=environment)

    tiny = (*TINY_OPTIONS, "--dataset", f"text:{text}", "--max_steps", "2")
    hlbq("submit", "--db", "old.db", *tiny)
    assert revision_of(project / "old.db") == CURRENT.head
    hlbq("submit", "--db", "new.db", *tiny)
    hlbq("worker", "--db", "new.db", "--device", "cpu")
    assert '"completed": 1' in hlbq("status", "--db", "new.db", "--json")
    assert list(project.rglob("*.was_run")) == []


def test_scripts_see_the_types_of_every_package(wheel: Path, tmp_path: Path) -> None:
    python = install(wheel, tmp_path / "environment")
    (tmp_path / "script.py").write_text(TYPED_SCRIPT)
    mypy = (sys.executable, "-m", "mypy", "--config-file=", "--strict", "--python-executable", python)
    said = said_by(*mypy, "--cache-dir", tmp_path / "cache", "script.py", folder=tmp_path, code=1)
    [error] = [line for line in said.splitlines() if ": error:" in line]
    assert error.startswith("script.py:13:") and "[arg-type]" in error, said
