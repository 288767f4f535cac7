"""A path of `text:` that is typed as it was at submit finds the runs, from the folder where it names the same file."""

from pathlib import Path

import pytest

import orchestrator
from hlbgpt_core.errors import HlbqError
from orchestrator.store import OpenMode, open_store
from orchestrator.sweep.baseline import baseline_of
from tests.command_line import Hlbq, hlbq_in
from tests.sample_sweep import register, sample_points, work


@pytest.fixture
def hlbq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hlbq:
    """Two sweeps of two texts each; the first names a baseline."""
    run = hlbq_in(tmp_path, monkeypatch, capsys)
    Path("ds").mkdir()
    for name in ("a", "b"):
        Path(f"ds/{name}.txt").write_text("some words of a text. " * 20_000)
    for baseline in ("--baseline dataset=text:ds/b.txt", ""):
        done = run(f"submit --dataset text:ds/a.txt text:ds/b.txt --depth 2 --width 64 --tokenizer bytes {baseline}")
        assert done.code == 0, done.err
    with open_store("hlbq.db", mode=OpenMode.WRITE) as store:
        worker = register(store)
        for _ in range(4):
            work(store, worker, sample_points(4))
    return run


def test_a_filter_finds_the_runs(hlbq: Hlbq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = hlbq("export d.csv --where dataset=text:ds/a.txt")
    assert done.code == 0 and "2 runs written" in done.err
    assert len(orchestrator.load("hlbq.db", where={"dataset": "text:ds/a.txt"})) == 2
    assert hlbq("export d.csv --where dataset=text:ds/none.txt").code == 2
    assert "names no path" in hlbq("export d.csv --where dataset=text:").err
    monkeypatch.chdir(tmp_path / "ds")
    assert "2 runs written" in hlbq("export d.csv --db ../hlbq.db --where dataset=text:a.txt").err


@pytest.mark.filterwarnings("ignore:one seed only")
def test_a_baseline_is_the_arm_and_stays_it_in_another_folder(
    hlbq: Hlbq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = orchestrator.compare(db="hlbq.db", sweep=2, allow_mixed_data=True, baseline={"dataset": "text:ds/b.txt"})
    assert "b.txt" in found.contrasts[0].baseline
    assert hlbq("compare --allow_mixed_data --sweep 2 --baseline dataset=text:ds/b.txt").code == 0
    with pytest.raises(HlbqError, match="none"):
        orchestrator.compare(db="hlbq.db", sweep=2, allow_mixed_data=True, baseline={"dataset": "text:ds/none.txt"})
    monkeypatch.chdir(tmp_path / "ds")
    with open_store("../hlbq.db", mode=OpenMode.READ) as store:
        first = store.sweep(1)
    assert first is not None and baseline_of(first.definition) == {"dataset": f"text:{tmp_path}/ds/b.txt"}
