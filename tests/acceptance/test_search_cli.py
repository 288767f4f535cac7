"""`hlbq search` as people type it, with real workers that train on the CPU and are killed."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from orchestrator.comparison.policy import State as Decided
from orchestrator.growth.search import SearchState
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import TERMINAL, Reason, State
from orchestrator.queue.sweeps import DECIDE, SEARCH
from orchestrator.store import OpenMode, Store, open_store
from tests.command_line import hlbq_and_workers_in
from tests.faults.harness import wait_until
from tests.tiny_model import TINY_OPTIONS

pytest.importorskip("optuna")

TINY = [word for word in TINY_OPTIONS if word not in ("--lr_mult", "0.5")]
WORKER = [sys.executable, "-P", "-m", "orchestrator.cli.main", "worker", "--device", "cpu", "--deterministic"]


def ended(store: Store) -> int:
    return sum(store.counts(RunFilter())[state] for state in TERMINAL)


def arms(store: Store) -> Sequence[str]:
    (record,) = [record for record in store.policies() if record.kind == SEARCH]
    return SearchState.of(record).arms


def test_run_ends_with_what_the_search_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    hlbq = hlbq_and_workers_in(tmp_path, monkeypatch, capsys)
    (tmp_path / "text.txt").write_text("A search tries one arm after another. " * 3000)
    (tmp_path / "search.toml").write_text(
        '[settings]\ndataset = "text:text.txt"\nlr_mult = "0.1..2"\n[sweep]\ntrials = 2\nconfirm = 1\nmax_seeds = 4\n'
    )
    said = hlbq("run", "search.toml", *TINY, "--device", "cpu", "--max_steps", "3").out
    assert "has searched by val_loss (tpe): 2 of 2 arms ended" in said and "the luckiest so far" in said
    assert "confirmed" in said and "hlbq extend" not in said


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_a_search_outlives_a_killed_worker(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    """It stops bad arms early; with one worker at a time its arms are those of a search that nobody disturbed."""
    (tmp_path / "text.txt").write_text("A search tries one arm after another. " * 3000)
    hlbq = hlbq_and_workers_in(tmp_path, monkeypatch, capsys)
    line = ["search", "--dataset", "text:text.txt", *TINY, "--lr_mult", "0.1..2", "--warmup_steps", "2..40"]
    line += ["--max_steps", "6", "--trials", "20", "--confirm", "1", "--max_seeds", "4"]
    line += ["--stop_early", "asha", "--eval_every", "1"]
    for name in ("undisturbed", "disturbed") if workers == 1 else ("disturbed",):
        hlbq(*line, "--db", f"{name}.db")
    with open_store(str(tmp_path / "disturbed.db"), mode=OpenMode.WRITE) as store:
        argv = [*WORKER, "--db", "disturbed.db"]
        others = [subprocess.Popen(argv, cwd=tmp_path, stderr=subprocess.DEVNULL) for _ in range(workers)]
        try:
            wait_until(lambda: ended(store) >= 2, seconds=300, what="two arms are tried")
        finally:
            others[0].kill()
        for other in others:
            other.wait(timeout=600)
        hlbq("worker", "--device", "cpu", "--deterministic", "--db", "disturbed.db")
        found = arms(store)
        assert len(found) == len(set(found)) == 20
        others = store.matching(RunFilter(states=(State.COMPLETED,))) > 1  # it may stop all but the baseline
        decided = [record for record in store.policies() if record.kind == DECIDE]
        assert [len(Decided.of(record).closures) for record in decided if record.ended_why] == [1] * others
        assert not store.may_grow() and not store.waiting()
    if workers == 1:
        hlbq("worker", "--device", "cpu", "--deterministic", "--db", "undisturbed.db")
        with open_store(str(tmp_path / "undisturbed.db"), mode=OpenMode.READ) as store:
            assert arms(store) == found
            assert store.matching(RunFilter(reasons=(Reason.PRUNED,)))
