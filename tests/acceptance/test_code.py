"""`hlbq code` and runs of two codes, as people meet them."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from hlbgpt_core.code_digest import CoreCode
from hlbgpt_core.points import Split
from orchestrator.code.archive import pack
from orchestrator.queue.attempts import Claim
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason
from orchestrator.queue.sweeps import SweepRecord
from orchestrator.store import OpenMode, Store, open_store
from tests.command_line import Done, hlbq_in
from tests.store_examples import claim, ending, facts, point, register, saved

OLD, NEW = "aaaa000000000000", "bbbb000000000000"
Hlbq = Callable[[str], Done]


@pytest.fixture
def hlbq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hlbq:
    """`hlbq` in a folder of its own, with a sweep of two arms and two seeds."""
    call = hlbq_in(tmp_path, monkeypatch, capsys)
    assert call("submit --depth 2 4 --width 64 --num_runs 2 --tokenizer bytes").code == 0
    return call


def begin(store: Store, worker: int, code: str) -> Claim:
    taken = claim(store, worker, code=code)
    store.flush(taken.lease, points=(), facts=facts(provenance={"core_digest": code, "git_commit": f"git{code[:4]}"}))
    return taken


def end(store: Store, taken: Claim, loss: float) -> None:
    last = [point(9), point(9, Split.VAL, loss=loss)]
    store.finish(taken.lease, ending(Reason.FINISHED), points=last)


def work(*codes: str) -> None:
    """Complete a run by each of these codes."""
    with open_store("hlbq.db", mode=OpenMode.WRITE) as store:
        worker = register(store)
        store.keep_code(pack(OLD, {"settings.py": b"DEPTH = 8\n"}, git_commit="gitaaaa"))
        store.keep_code(pack(NEW, {"settings.py": b"DEPTH = 9\n", "mine.py": b"A = 1\n"}, git_commit="gitbbbb"))
        for number, code in enumerate(codes):
            end(store, begin(store, worker, code), 4.0 + number / 10)


def hold_one() -> None:
    """One run at step 6 by OLD, which a worker of NEW would not go on with."""
    with open_store("hlbq.db", mode=OpenMode.WRITE) as store:
        worker = register(store)
        taken = begin(store, worker, OLD)
        store.commit_checkpoint(taken.lease, saved(6), points=[point(6)])
        store.finish(taken.lease, ending(Reason.RELEASED))
        assert claim(store, worker, code=NEW).run.id == 2


def test_codes_are_listed_and_compared_and_taken_out(
    hlbq: Hlbq, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work(OLD, NEW)
    listed = json.loads(hlbq("code list --json").out)
    assert [(one["digest"], one["runs"], one["git_commit"]) for one in listed["codes"]] == [
        (OLD, 1, "gitaaaa"),
        (NEW, 1, "gitbbbb"),
    ]
    assert listed["here"] == CoreCode().digest() and f"the code here is {listed['here']}" in hlbq("code list").out
    diff = hlbq("code diff aaaa bbbb")
    assert "-DEPTH = 8\n+DEPTH = 9\n" in diff.out and "+A = 1" in diff.out and "2 files, 3 lines" in diff.err
    assert hlbq("code diff 1 2").out == diff.out
    assert "settings.py" in hlbq("show 2 --diff").out
    out = tmp_path / "old code"
    taken = hlbq(f"code checkout 2 '{out}' --db hlbq.db")
    assert taken.code == 0 and f"PYTHONPATH='{out}' hlbq worker --db hlbq.db\n" in taken.err
    assert (out / "hlbgpt_core" / "mine.py").read_bytes() == b"A = 1\n"
    assert "they differ" not in hlbq("code diff 2 2").err
    again = hlbq(f"code checkout 2 '{out}'")
    assert again.code == 2 and "exists already" in again.err
    monkeypatch.setenv("HOME", str(tmp_path))
    assert hlbq("code checkout 2 '~/at home'").code == 0
    assert (tmp_path / "at home" / "hlbgpt_core" / "mine.py").exists()  # and no folder is called ~


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("code diff cccc here", "no code 'cccc'"),
        ("code diff a here", "no code 'a'"),
        ("code diff 99 here", "no run 99"),
        ("code diff 4 here", "run 4 has no code yet"),
        ("code same here here --why x", "both are code"),
        ("code same aaaa bbbb --why ''", "--why is empty"),
        ("retry --run 1 --from_start --resume_across_code", "contradict"),
        ("show --sweep 1 --diff", "--diff"),
    ],
)
def test_what_is_wrong_is_said(hlbq: Hlbq, line: str, says: str) -> None:
    work(OLD, NEW)
    found = hlbq(line)
    assert (found.code, says in found.err) == (2, True), found.err


def test_a_held_run_is_told_with_three_ways_out(hlbq: Hlbq) -> None:
    hold_one()
    for told in (hlbq("status").out, hlbq("show 1").out):
        assert "held" in told and "hlbq code same aaaa0000 bbbb0000 --why" in told
        assert "hlbq retry --run 1 --from_start" in told and "hlbq retry --run 1 --resume_across_code" in told
    assert json.loads(hlbq("status --json").out)["held"] == [{"runs": [1], "its_code": OLD, "code": NEW}]
    assert "1 run back in the queue" in hlbq("retry --run 1 --from_start").out
    assert "held" not in hlbq("status").out


def test_declaring_the_same_frees_a_held_run(hlbq: Hlbq) -> None:
    hold_one()
    said = hlbq('code same aaaa bbbb --why "a comment"')
    assert said.code == 0 and "1 run no longer held" in said.out
    assert "a comment" in hlbq("code list").out and "held" not in hlbq("status").out


def test_a_run_of_two_codes_is_marked_everywhere_and_left_out_of_compare(hlbq: Hlbq) -> None:
    with open_store("hlbq.db", mode=OpenMode.WRITE) as store:
        worker = register(store)
        taken = begin(store, worker, OLD)
        store.commit_checkpoint(taken.lease, saved(6), points=[point(6)])
        store.finish(taken.lease, ending(Reason.RELEASED))
        taken = claim(store, worker)
        store.flush(taken.lease, points=(), facts=facts(provenance={"core_digest": NEW}))
        end(store, taken, 4.5)
        end(store, begin(store, worker, NEW), 4.1)
    assert "mixed code" in hlbq("status").out
    assert f"{OLD} from step 1 (git gitaaaa), {NEW} from step 7: mixed code" in hlbq("show 1").out
    rows = hlbq("export -").out.splitlines()
    cells = dict(zip(rows[0].split(","), rows[1].rsplit(",", rows[1].count(",")), strict=False))
    assert f"{OLD} {NEW}" in rows[1] and "code" in cells
    points = hlbq("export - --layout points").out.splitlines()
    assert points[0].endswith("code,git_commit,recorded_at")
    assert [row.split(",")[-3:-1] for row in points[1:4]] == [[OLD, "gitaaaa"], [NEW, ""], [NEW, ""]]
    compared = hlbq("compare")
    assert "1 run of mixed code left out (1)" in compared.err and compared.code == 0
    assert "left out" not in hlbq("compare --allow_mixed_code").err
    assert hlbq("report 1 page.html").code == 0 and "mixed code" in Path("page.html").read_text()
    assert "mixed code" in hlbq("plot figure.png").err
    hlbq('code same aaaa bbbb --why "a comment"')
    assert "mixed" not in hlbq("compare").err and "mixed" not in hlbq("status").out


def test_comparing_across_codes_is_told_with_the_size_of_the_difference(hlbq: Hlbq) -> None:
    work(OLD, NEW, OLD, NEW)
    told = "from aaaa0000 to bbbb0000: 2 files, 3 lines (hlbq code diff aaaa0000 bbbb0000)"
    for line in ("compare", "plot figure.png", "plot --final depth figure.png"):
        warned = hlbq(line).err
        assert "aaaa0000 (2 runs), bbbb0000 (2 runs)" in warned and told in warned, warned
    assert told in hlbq("report 1 page.html").err + Path("page.html").read_text()
    by = hlbq("compare --by code").out
    assert OLD in by and NEW in by
    extended = hlbq("extend 1 --num_runs 3")
    assert "computed by other code" in extended.err and extended.code == 0
    hlbq('code same aaaa bbbb --why "a comment"')
    assert "codes" not in hlbq("compare").err


def test_wait_does_not_wait_for_what_somebody_must_choose(hlbq: Hlbq) -> None:
    hold_one()
    with open_store("hlbq.db", mode=OpenMode.WRITE) as store:
        store.cancel(RunFilter(run_ids=(2, 3, 4)), "user")
    for line in ("wait --every 0.05", "wait --every 0.05 --run 1", "wait --every 0.05 --sweep 1 --json"):
        done = hlbq(line)
        assert done.code == 1 and "1 pending" in done.err
        assert "held until you choose" in done.err and "hlbq retry --run 1 --from_start" in done.err
    assert hlbq("wait --every 0.05 --run 2").code == 0
    hlbq("retry --run 1 --from_start")
    hlbq("cancel --run 1 --yes")
    assert hlbq("wait --every 0.05").code == 0


def test_run_ends_with_the_choices_of_its_held_runs(hlbq: Hlbq, monkeypatch: pytest.MonkeyPatch) -> None:
    class NoWorkers:
        def __init__(self, *_: object, **__: object) -> None: ...

        def __enter__(self) -> "NoWorkers":
            return self

        def __exit__(self, *_: object) -> None: ...

    def held(store: Store, sweep: SweepRecord, *_: object) -> bool:
        with open_store("hlbq.db", mode=OpenMode.WRITE) as writing:
            writing.cancel(RunFilter(run_ids=(1, 2, 3, 4)), "user")
            worker = register(writing)
            taken = begin(writing, worker, OLD)
            writing.commit_checkpoint(taken.lease, saved(6), points=[point(6)])
            writing.finish(taken.lease, ending(Reason.RELEASED))
            end(writing, claim(writing, worker, code=NEW), 4.0)
        return False

    monkeypatch.setattr("orchestrator.cli.run.PrestartedWorkers", NoWorkers)
    monkeypatch.setattr("orchestrator.cli.run.work_off", held)
    done = hlbq("run --depth 2 --width 64 --num_runs 2 --tokenizer bytes")
    assert done.code == 1 and "run 5 was started by code aaaa0000" in done.err
    assert "hlbq retry --run 5 --resume_across_code" in done.err and "left; resume" not in done.err
