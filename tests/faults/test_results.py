"""What the long fault suite found is kept: it goes on where it was, and adds the parts of one fault."""

import contextlib
from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults import suite
from tests.faults.harness import Ground
from tests.faults.report import FaultRow
from tests.faults.results import Results

GOOD = FaultRow(fault="a fault", database="SQLite", landed=5, counts={"runs": 3, "double claims": 0}, seconds=1.5)


def test_parts_of_a_fault_are_added_and_other_code_is_marked(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    Results(path).add(("b", 0), "old", [replace(GOOD, fault="another")])
    Results(path).add(("a", 1), "new", [replace(GOOD, counts={"runs": 4, "at step": 1}, broken=("x",))])
    Results(path).add(("a", 0), "new", [GOOD])
    assert set(Results(path).done) == {("a", 0), ("a", 1), ("b", 0)}
    together, other = Results(path).rows(("a", "b"), "new")
    assert (together.landed, together.seconds, together.broken, together.code) == (10, 3.0, ("x",), "new")
    assert dict(together.counts) == {"runs": 7, "double claims": 0, "at step": 1} and not together.kept
    assert (other.code, other.cells()[-3]) == ("old *", "3 runs, 0 double claims")


def test_parts_of_two_codes_are_marked(tmp_path: Path) -> None:
    results = Results(tmp_path / "results.jsonl")
    results.add(("a", 0), "old", [GOOD])
    results.add(("a", 1), "new", [GOOD])
    assert [row.code for row in results.rows(("a",), "new")] == ["new, old *"]


def test_half_a_line_of_a_killed_suite_is_tried_again(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    Results(path).add(("a", 0), "new", [GOOD])
    path.write_text(path.read_text() + '{"fault": "a", "se')
    assert set(Results(path).done) == {("a", 0)}
    Results(path).add(("a", 1), "new", [GOOD])
    assert set(Results(path).done) == {("a", 0), ("a", 1)}


def test_a_suite_that_was_stopped_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tried: list[int] = []

    def scene(scale: float, ground: Ground) -> list[FaultRow]:
        tried.append(ground.seed)
        if tried.count(2) == 1 and ground.seed == 2:
            raise KeyboardInterrupt
        return [GOOD]

    monkeypatch.setattr("tests.faults.claimers.run", scene)
    monkeypatch.setattr(suite, "prepared_ground", lambda: contextlib.nullcontext(Ground(folder=tmp_path)))
    path = tmp_path / "results.jsonl"
    line = ["--only", "claimers", "--lanes", "1", "--results", str(path)]
    assert suite.main([*line, "--minutes", "0"]) == 0 and tried == []
    assert "5 of 5 parts are left" in capsys.readouterr().err
    suite.main(line)
    before = set(Results(path).done)
    assert ("claimers", 2) not in before and "the same command goes on" in capsys.readouterr().err
    tried.clear()
    tried.append(2)
    assert suite.main(line) == 0
    assert {("claimers", seed) for seed in tried[1:]} == {("claimers", seed) for seed in range(5)} - before
    assert "| a fault | SQLite | 25 | 0 | 0 | 0 | 15 runs, 0 double claims |" in capsys.readouterr().out
