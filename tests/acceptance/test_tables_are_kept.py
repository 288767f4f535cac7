"""What `hlbq run` and `hlbq export` write over, and what they leave as it is."""

import json
from pathlib import Path

import pytest

from orchestrator.export.blocks import Layout, Selection
from orchestrator.export.csv_table import read_csv_rows
from orchestrator.export.replaced_table import check_replaceable
from orchestrator.export.writing import export, rewrite_sweep_csv
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.sweeps import SweepRecord
from orchestrator.store import OpenMode, Store, open_store
from tests.command_line import Hlbq, hlbq_in
from tests.sample_sweep import register, sample_points, submit_sweep, work

RUN = "run --depth 2 --width 64 --tokenizer bytes --db own.db"
NOTES = "my notes\n"


class NoWorkers:
    """In place of the workers that `hlbq run` starts."""

    def __init__(self, *_: object, **__: object) -> None: ...

    def __enter__(self) -> "NoWorkers":
        return self

    def __exit__(self, *_: object) -> None: ...


def trained(store: Store, sweep: SweepRecord, *_: object) -> bool:
    """As workers do: one run, and the rows of `-c`."""
    with open_store("own.db", mode=OpenMode.WRITE) as writing:
        work(writing, register(writing), sample_points(2))
        rewrite_sweep_csv(writing, sweep)
    return False


@pytest.fixture
def hlbq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hlbq:
    monkeypatch.setattr("orchestrator.cli.run.PrestartedWorkers", NoWorkers)
    monkeypatch.setattr("orchestrator.cli.run.work_off", trained)
    return hlbq_in(tmp_path, monkeypatch, capsys)


def write_other(path: str, layout: Layout = Layout.RUNS) -> None:
    """The table of another database, with two runs."""
    with open_store("other.db", mode=OpenMode.CREATE) as store:
        submit_sweep(store, seeds=[7, 8])
        worker = register(store)
        for _ in range(2):
            work(store, worker, sample_points(2))
        export(store, path, Selection(runs=RunFilter(), layout=layout))


def seeds(path: str) -> list[int]:
    return [row["seed"] for row in read_csv_rows(path)]


@pytest.mark.parametrize("output", ["q.csv", "folder/../q.csv", "link.csv"])
def test_the_log_of_a_run_is_its_table_too_and_keeps_the_rows_of_others(hlbq: Hlbq, output: str) -> None:
    Path("folder").mkdir()
    Path("link.csv").symlink_to("q.csv")
    write_other("q.csv")
    done = hlbq(f"{RUN} -c --append --logfile q.csv -o {output}")
    assert done.code == 0 and f"wrote {output} (1 run)" in done.err
    assert seeds("q.csv") == [7, 8, 100]


def test_the_log_of_a_run_without_append_holds_its_own_rows_alone(hlbq: Hlbq) -> None:
    write_other("q.csv")
    assert hlbq(f"{RUN} -c --logfile q.csv -o q.csv").code == 0
    assert seeds("q.csv") == [100]


def test_append_without_a_log_is_refused_before_anything_is_stored(hlbq: Hlbq) -> None:
    write_other("q.csv")
    said = hlbq(f"{RUN} --append -o q.csv")
    assert said.code == 2 and "'q.csv' would be overwritten" in said.err and "-c --append --logfile q.csv" in said.err
    assert seeds("q.csv") == [7, 8] and not Path("own.db").exists()


@pytest.mark.parametrize("name", ["notes.csv", "notes.jsonl", "notes.parquet"])
def test_a_file_that_is_no_table_is_left(hlbq: Hlbq, name: str) -> None:
    Path(name).write_text(NOTES)
    said = hlbq(f"{RUN} -o {name}")
    assert said.code == 2 and f"'{name}' exists already and is not a table" in said.err and "--output" in said.err
    assert not Path("own.db").exists()
    write_other("other.csv")
    said = hlbq(f"export {name} --db other.db")
    assert said.code == 2 and "is not a table" in said.err
    if name.endswith(".csv"):
        said = hlbq(f"export {name} --db other.db --append")
        assert said.code == 2 and "cannot append to it" in said.err and "replace" not in said.err
    assert Path(name).read_text() == NOTES


@pytest.mark.parametrize("ending", ["csv", "jsonl", "parquet"])
@pytest.mark.parametrize("layout", list(Layout))
def test_a_table_that_hlbq_wrote_may_be_replaced(hlbq: Hlbq, ending: str, layout: Layout) -> None:
    name = f"table.{ending}"
    if layout is Layout.ORIGINAL:
        name = "table.csv"
    write_other(name, layout)
    assert hlbq(f"{RUN} -o {name}").code == 0
    assert hlbq(f"export {name} --db own.db --layout {layout}").code == 0
    assert hlbq(f"export {name} --db own.db").code == 0


def test_an_empty_file_and_a_device_are_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "empty.parquet").touch()
    (tmp_path / "null.csv").symlink_to("/dev/null")
    for name in ("empty.parquet", "null.csv", "missing.csv"):
        check_replaceable(tmp_path / name, "--output results.csv")


def test_lines_of_json_that_are_no_rows_are_no_table(hlbq: Hlbq) -> None:
    for text in (json.dumps({"name": 1}), "[1]", "{", "\x00"):
        Path("t.jsonl").write_text(f"{text}\n")
        assert hlbq(f"{RUN} -o t.jsonl").code == 2


def test_the_way_to_resume_names_what_the_workers_were_given(hlbq: Hlbq) -> None:
    done = hlbq("run --db own.db --num_runs 2 --device cpu --threads 2 --state_dir 'my files'")
    assert (
        "1 run left; resume: hlbq worker --db own.db --device cpu --threads 2 --state_dir 'my files' --sweep 1"
        in done.err
    )
