"""Which room may import which, read from the source; and that a light command loads nothing heavy."""

import ast
import functools
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.child_program import run_child

ROOT = Path(__file__).parents[2]
STANDARD_LIBRARY_ROOMS = frozenset(
    {"errors", "settings", "points", "evaluation", "scale", "flops", "private_files", "code_digest", "same_code"}
    | {"fast_path.compile_mode"}
    | {"text.sources", "text.corpus", "text.dataset_source", "text.token_cache", "text.content_checks"}
)
HEAVY = frozenset(
    {"torch", "numpy", "pandas", "matplotlib", "scipy", "wandb", "datasets", "tiktoken", "tokenizers"}
    | {"safetensors", "pyarrow", "alembic", "transformers", "ray", "submitit", "pynvml", "optuna"}
)
# Where a heavy library is what the file is for.
HEAVY_AT_THE_TOP = {"numpy", "torch"}
# Rooms whose files about arrays have numpy at the top: light commands load none of them.
ARRAYS = (
    "comparison/judging/noise.py",
    "comparison/judging/running_evidence.py",
    "comparison/judging/tune.py",
    "growth/",
    "plots/",
    "dashboard/",
)


@dataclass(frozen=True, kw_only=True)
class Import:
    """One imported module, and whether it is imported as soon as the file is."""

    file: str
    module: str
    at_the_top: bool

    @property
    def package(self) -> str:
        """The first part of the module's name."""
        return self.module.split(".")[0]


@functools.cache
def imports_of(room: str) -> Sequence[Import]:
    """Every import in the files of `room`, those of type checking left out."""
    return [
        one
        for path in sorted((ROOT / room).rglob("*.py"))
        for one in _imports(path.relative_to(ROOT).as_posix(), ast.parse(path.read_text(encoding="utf-8")))
    ]


def _imports(file: str, tree: ast.AST, at_the_top: bool = True) -> Iterator[Import]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            continue
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(file=file, module=alias.name, at_the_top=at_the_top)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: relative import"
            for alias in node.names:
                yield Import(file=file, module=f"{node.module}.{alias.name}", at_the_top=at_the_top)
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        yield from _imports(file, node, at_the_top and not inside)


def in_a_light_room(one: Import) -> bool:
    """Whether what is imported is, or stands in, one of the core's standard-library rooms."""
    inside = one.module.removeprefix("hlbgpt_core.")
    return any(f"{inside}.".startswith(f"{room}.") for room in STANDARD_LIBRARY_ROOMS)


def _described(found: list[Import]) -> list[str]:
    return [f"{one.file} imports {one.module}" for one in found]


def test_the_core_knows_neither_the_queue_nor_the_worker() -> None:
    assert _described([one for one in imports_of("hlbgpt_core") if one.package in ("orchestrator", "worker")]) == []


def test_the_light_rooms_of_the_core_need_the_standard_library_alone() -> None:
    rooms = {f"hlbgpt_core/{room.replace('.', '/')}.py" for room in STANDARD_LIBRARY_ROOMS}
    rooms |= {f"hlbgpt_core/{wing}__init__.py" for wing in ("", "text/", "fast_path/")}
    allowed = set(sys.stdlib_module_names) | {"hlbgpt_core"}
    found = [one for one in imports_of("hlbgpt_core") if one.file in rooms]
    assert {one.file for one in found} >= {f"hlbgpt_core/{room}.py" for room in ("settings", "points", "scale")}
    assert _described([one for one in found if one.package not in allowed]) == []
    inner = [one for one in found if one.package == "hlbgpt_core"]
    assert _described([one for one in inner if not in_a_light_room(one)]) == []


def test_the_queue_knows_neither_torch_nor_the_worker() -> None:
    forbidden = [one for one in imports_of("orchestrator") if one.package in ("torch", "worker")]
    assert _described(forbidden) == []


def test_of_the_core_the_queue_knows_the_light_rooms_only() -> None:
    core = [one for one in imports_of("orchestrator") if one.package == "hlbgpt_core"]
    assert core
    assert _described([one for one in core if not in_a_light_room(one)]) == []


def test_only_the_command_line_knows_typer() -> None:
    rooms = {one.file for one in imports_of("orchestrator") if one.package == "typer"}
    assert rooms
    assert all(room.startswith("orchestrator/cli/") for room in rooms), rooms


def test_the_queue_imports_heavy_libraries_inside_functions() -> None:
    arrays = tuple(f"orchestrator/{place}" for place in ARRAYS)
    heavy = [one for one in imports_of("orchestrator") if one.package in HEAVY and one.at_the_top]
    assert _described([one for one in heavy if one.package != "numpy" or not one.file.startswith(arrays)]) == []


def test_wandb_stands_in_one_room() -> None:
    rooms = {
        one.file
        for room in ("orchestrator", "worker", "hlbgpt_core")
        for one in imports_of(room)
        if one.package == "wandb"
    }
    assert all(room.startswith("orchestrator/wandb_sync") for room in rooms), rooms


def test_the_web_server_stands_in_one_room() -> None:
    rooms = {one.file for one in imports_of("orchestrator") if one.package in ("starlette", "uvicorn")}
    files = ("app", "serving/patience", "serving/security", "serving/server", "watching/feed")
    assert rooms == {f"orchestrator/dashboard/{name}.py" for name in files}


def test_sql_stands_in_the_store_and_in_its_copying() -> None:
    rooms = {one.file for one in imports_of("orchestrator") if one.package == "sqlalchemy"}
    assert rooms
    assert all(room.startswith(("orchestrator/store/", "orchestrator/copying/")) for room in rooms), rooms


def test_of_the_worker_only_the_trainer_process_knows_torch() -> None:
    rooms = {one.file for one in imports_of("worker") if one.package == "torch"}
    assert all(room.startswith("worker/trainer_process") for room in rooms), rooms


def test_nvidias_library_stands_in_one_file_inside_a_function() -> None:
    found = {(one.file, one.at_the_top) for one in imports_of("worker") if one.package == "pynvml"}
    assert found == {("worker/devices/driver.py", False)}


@pytest.mark.parametrize("room", ["hlbgpt_core", "orchestrator", "worker"])
def test_no_room_imports_click(room: str) -> None:
    found = [one for one in imports_of(room) if one.package == "click" or one.module.startswith("typer._click")]
    assert _described(found) == []


@pytest.mark.parametrize("room", ["hlbgpt_core"])
def test_the_core_loads_data_libraries_inside_functions(room: str) -> None:
    heavy = [one for one in imports_of(room) if one.package in HEAVY - HEAVY_AT_THE_TOP and one.at_the_top]
    assert _described(heavy) == []


LOADED = """
import json, sys
from orchestrator.cli.main import run_program

for line in sys.argv[1:]:
    code = run_program(line.split())
    print(json.dumps({"loaded": sorted({name.split(".")[0] for name in sys.modules})}))
    if code:
        sys.exit(code)
"""


def loaded_by(*lines: str, folder: Path) -> list[set[str]]:
    """The packages that one process has loaded after each of these lines of `hlbq`."""
    printed = run_child(LOADED, *lines, folder=folder).splitlines()
    return [set(json.loads(line)["loaded"]) for line in printed if line.startswith('{"loaded": ')]


def test_help_loads_nothing_heavy(tmp_path: Path) -> None:
    (loaded,) = loaded_by("--help", folder=tmp_path)
    assert "typer" in loaded
    assert loaded & (HEAVY | {"sqlalchemy"}) == set()


def test_light_commands_load_nothing_heavy(tmp_path: Path) -> None:
    lines = ("submit --num_heads 1 3", "status", "show 1", "show --sweep 1", "pause --run 1")
    for line, loaded in zip(lines, loaded_by(*lines, folder=tmp_path), strict=True):
        assert "sqlalchemy" in loaded
        assert loaded & (HEAVY | {"pydantic"}) == set(), line


def test_a_worker_starts_without_what_compares_and_searches(tmp_path: Path) -> None:
    """Few workers ever need it, and each would pay for it."""
    program = "import sys, worker.supervisor; print(*sorted(sys.modules))"
    loaded = run_child(program, folder=tmp_path).split()
    assert "worker.attempt" in loaded
    assert [name for name in loaded if name.startswith(("orchestrator.comparison", "orchestrator.growth"))] == []


def test_no_two_classes_have_one_name() -> None:
    places: dict[str, list[str]] = {}
    for path in (path for room in ("orchestrator", "worker", "hlbgpt_core") for path in (ROOT / room).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, []).append(path.relative_to(ROOT).as_posix())
    assert {name: files for name, files in places.items() if len(files) > 1} == {}


def test_files_are_locked_in_one_room_of_the_queue_and_in_one_file_of_the_core() -> None:
    found = {
        one.file
        for room in ("orchestrator", "worker", "hlbgpt_core")
        for one in imports_of(room)
        if one.package == "fcntl"
    }
    assert found == {"orchestrator/files/locks.py", "hlbgpt_core/text/token_cache.py"}


def test_commands_print_through_the_one_rule_for_letters() -> None:
    """`say`, `note` and `print_json` show no letter that a terminal would obey; `print` would."""
    own = {"output.py", "main.py", "parsing.py", "db.py"}  # the rule itself, the help, and a line that is redrawn
    for path in sorted((ROOT / "orchestrator" / "cli").rglob("*.py")):
        calls = [node.func for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.Call)]
        printing = any(isinstance(called, ast.Name) and called.id == "print" for called in calls)
        assert not printing or path.name in own, path
