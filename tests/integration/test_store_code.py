"""The code that computed runs, on both databases: its sources, digests declared the same, runs held for a change."""

import pytest

from hlbgpt_core.code_digest import CoreCode
from hlbgpt_core.points import Split
from hlbgpt_core.same_code import SAME_CODE
from orchestrator.code.archive import LARGEST_BYTES, pack, unpack
from orchestrator.code.differences import diff_lines, diff_size
from orchestrator.code.names import find_code, find_digest
from orchestrator.comparison.planning import read_noise
from orchestrator.errors import CodeNotLoadedError, UsageError
from orchestrator.growth.by_hand import stored_arms
from orchestrator.queue.attempts import Claim
from orchestrator.queue.code import CodePart
from orchestrator.queue.runs import RunFilter, RunRecord
from orchestrator.queue.states import Limits, Reason, Retry, State
from orchestrator.store import Store
from tests.store_examples import ALL, claim, ending, facts, point, register, saved, steps, submit

OLD, NEW, OTHER = "aaaa000000000000", "bbbb000000000000", "cccc000000000000"
SOURCES = {"settings.py": b"DEPTH = 8\n", "recipes/v041.py": b"WIDTH = 4\r\nNAME = '\xff'\n"}


def begin(store: Store, worker: int, code: str, commit: str = "") -> Claim:
    """A claim by this code, whose trainer has said so."""
    taken = claim(store, worker, code=code)
    known = facts(provenance={"core_digest": code, "git_commit": commit or None, "git_dirty": ""})
    store.flush(taken.lease, points=(), facts=known)
    return taken


def stop_at_6(store: Store, worker: int, code: str = OLD) -> None:
    """One run from its start to a checkpoint at step 6, and back to the queue."""
    taken = begin(store, worker, code, commit="1234")
    store.flush(taken.lease, points=[point(3)])
    store.commit_checkpoint(taken.lease, saved(6), points=[point(6)])
    store.finish(taken.lease, ending(Reason.RELEASED))


def the_run(store: Store, number: int = 1) -> RunRecord:
    run = store.run(number)
    assert run is not None
    return run


def test_sources_are_kept_once_for_each_digest_and_come_back_byte_for_byte(store: Store) -> None:
    assert not store.knows_code(OLD)
    store.keep_code(pack(OLD, SOURCES, git_commit="1234"))
    store.keep_code(pack(OLD, {}, git_commit="5678"))
    kept = store.code(OLD)
    assert kept is not None and store.knows_code(OLD) and store.code(NEW) is None
    assert (unpack(kept), kept.git_commit, kept.num_files) == (SOURCES, "1234", 2)
    assert [(one.digest, one.sources) for one in store.codes()] == [(OLD, "")]


def test_sources_past_the_limit_are_named_and_not_kept(store: Store) -> None:
    store.keep_code(pack(OLD, {"weights.py": b"#" * (LARGEST_BYTES + 1)}, git_commit=""))
    kept = store.code(OLD)
    assert kept is not None
    with pytest.raises(UsageError, match="10,000,001 bytes, above the limit of 10,000,000"):
        unpack(kept)


def test_a_diff_names_files_and_lines() -> None:
    after = {"settings.py": b"DEPTH = 9\n", "mine.py": b"A = 1\nB = 2\n"}
    assert diff_size(SOURCES, after) == "3 files, 6 lines"
    lines = list(diff_lines(SOURCES, after))
    assert {"--- a/settings.py", "-DEPTH = 8", "+DEPTH = 9", "+++ /dev/null", "--- /dev/null"} <= set(lines)
    assert list(diff_lines(SOURCES, SOURCES)) == []


def test_same_code_is_symmetric_transitive_and_knows_what_is_shipped(store: Store) -> None:
    first, *_, last = SAME_CODE[-1]
    assert store.same_code().equal(first, last) and not store.same_code().equal(OLD, NEW)
    store.declare_same(OLD, NEW, why="a comment", actor="ada")
    store.declare_same(OTHER, NEW, why="a name", actor="ada")
    store.declare_same(NEW, OTHER, why="said again", actor="ada")
    same = store.same_code()
    assert same.equal(NEW, OLD) and same.equal(OTHER, OLD) and not same.equal(OLD, first)
    assert [why for *_, why in store.declared_same()] == ["a comment", "a name", "said again"]
    assert store.events()[0].action == "same code" and store.events()[0].why == f"{NEW} {OTHER}: said again"


def test_a_run_knows_the_code_of_its_points(store: Store) -> None:
    submit(store)
    worker = register(store)
    stop_at_6(store, worker)
    assert the_run(store).code == (CodePart(digest=OLD, after=0, git_commit="1234"),)
    assert not store.same_code().are_mixed(the_run(store).code)


def test_a_run_is_held_when_it_would_go_on_by_other_code(store: Store) -> None:
    submit(store, depths=(2, 4))
    worker = register(store)
    stop_at_6(store, worker)
    before = the_run(store)
    told: list[int] = []
    taken = store.claim(worker, code=NEW, on_hold=told.extend)
    assert taken is not None and (taken.run.id, told) == (2, [1])  # the worker goes on with other runs
    held = the_run(store)
    assert (held.state, held.paused, held.held, held.fence) == (State.PENDING, True, NEW, before.fence)
    assert (held.checkpoint, held.reason, held.last_train_loss) == (saved(6), before.reason, before.last_train_loss)
    assert steps(store, 1) == [3, 6] and store.held_runs() == [(1, OLD, NEW)]
    event = store.events(run_id=1)[0]
    assert event.action == "hold" and OLD in event.why and NEW in event.why
    assert len(store.attempts(1)) == 1 and store.claim(register(store, 2), code=OLD) is None


def test_a_run_whose_claim_was_never_heard_of_is_held_when_the_code_changes_meanwhile(store: Store) -> None:
    """The answer to the claim was lost, hlbgpt_core was edited, the worker asked again: the run went on by new code."""
    submit(store)
    worker = register(store)
    stop_at_6(store, worker)
    claim(store, worker, code=OLD)
    assert claim(store, worker, code=OLD).lease.fence == 2  # the same code: the same claim
    with pytest.raises(CodeNotLoadedError):
        store.claim(worker, code=NEW, code_loads=False)
    assert store.claim(worker, code=NEW) is None
    assert store.held_runs() == [(1, OLD, NEW)] and the_run(store).checkpoint == saved(6)
    assert [attempt.reason for attempt in store.attempts(1)] == [Reason.RELEASED, Reason.RELEASED]


@pytest.mark.parametrize("code", [OLD, ""])
def test_a_run_goes_on_by_the_same_code_or_where_nobody_asks(store: Store, code: str) -> None:
    submit(store)
    worker = register(store)
    stop_at_6(store, worker)
    assert claim(store, worker, code=code).run.id == 1


def test_a_run_without_a_checkpoint_starts_by_any_code(store: Store) -> None:
    submit(store)
    worker = register(store)
    store.finish(begin(store, worker, OLD).lease, ending(Reason.RELEASED))
    store.finish(begin(store, worker, NEW).lease, ending(Reason.FINISHED), points=[point(9)])
    assert [part.digest for part in the_run(store).code] == [NEW]


def test_declaring_codes_the_same_frees_what_was_held_for_them(store: Store) -> None:
    submit(store)
    worker = register(store)
    stop_at_6(store, worker)
    assert store.claim(worker, code=NEW) is None
    assert store.declare_same(NEW, OTHER, why="a name", actor="ada") == 0
    assert store.declare_same(OTHER, OLD, why="a comment", actor="ada") == 1
    begin(store, worker, NEW)
    assert not the_run(store).paused and store.held_runs() == []
    assert not store.same_code().are_mixed(the_run(store).code)


def test_a_run_is_free_again_once_a_worker_has_its_code(store: Store) -> None:
    """An edit was undone: nobody has to choose between a code and itself."""
    submit(store, depths=(2, 4))
    worker = register(store)
    stop_at_6(store, worker)
    claim(store, worker, code=NEW)
    assert store.code_is_back(OTHER, "worker 2") == store.code_is_back(NEW, "worker 2") == 0
    assert store.code_is_back(OLD, "worker 2") == 1
    freed = the_run(store)
    assert (freed.paused, freed.held, freed.checkpoint, store.held_runs()) == (False, "", saved(6), [])
    event = store.events(run_id=1)[0]
    assert (event.action, event.actor, event.why) == ("unpause", "worker 2", f"its code is back, {NEW} is gone")
    assert claim(store, register(store, 2), code=OLD).run.id == 1


def test_a_held_run_may_start_again(store: Store) -> None:
    submit(store, depths=(2, 4))
    worker = register(store)
    stop_at_6(store, worker)
    claim(store, worker, code=NEW)
    assert store.retry(ALL, "ada") == 0
    assert (store.retriable(ALL, Retry.FROM_START), store.retry(ALL, "ada", Retry.FROM_START)) == (1, 1)
    again = the_run(store)
    assert (again.paused, again.held, again.checkpoint, again.step, again.code) == (False, "", None, 0, ())
    assert steps(store, 1) == []
    assert store.events(run_id=1)[0].why == "from step 0"


def test_a_held_run_may_go_on_across_codes_and_is_mixed_from_its_first_point_on(store: Store) -> None:
    submit(store)
    worker = register(store)
    stop_at_6(store, worker)
    assert store.claim(worker, code=NEW) is None
    assert store.retry(ALL, "ada", Retry.ACROSS_CODE) == 1
    taken = begin(store, worker, NEW)
    assert not store.same_code().are_mixed(the_run(store).code)
    store.flush(taken.lease, points=[point(7)])
    assert store.same_code().codes(the_run(store).code) == (OLD, NEW)
    store.finish(taken.lease, ending(Reason.RELEASED))
    assert not store.same_code().are_mixed(the_run(store).code)  # its point 7 is gone
    taken = begin(store, worker, NEW)
    store.commit_checkpoint(taken.lease, saved(8), points=[point(8)])
    store.finish(taken.lease, ending(Reason.RELEASED))
    begin(store, worker, OTHER)
    assert [(part.digest, part.after) for part in the_run(store).code] == [(OLD, 0), (NEW, 6)]
    store.declare_same(OLD, NEW, why="a comment", actor="ada")
    assert not store.same_code().are_mixed(the_run(store).code)


def test_a_sweep_may_be_submitted_to_go_on_by_any_code(store: Store) -> None:
    from dataclasses import replace

    from tests.store_examples import new_sweep

    asked = new_sweep()
    store.submit(replace(asked, bookkeeping=replace(asked.bookkeeping, resume_across_code=True)))
    worker = register(store)
    stop_at_6(store, worker)
    assert claim(store, worker, code=NEW).run.id == 1


def test_a_failed_run_that_is_retried_by_other_code_is_held(store: Store) -> None:
    submit(store, limits=Limits(max_attempts=1))
    worker = register(store)
    taken = begin(store, worker, OLD)
    store.commit_checkpoint(taken.lease, saved(6), points=[point(6)])
    store.finish(taken.lease, ending(Reason.ERROR))
    assert store.retry(RunFilter(run_ids=(1,)), "ada") == 1
    assert store.claim(worker, code=NEW) is None and store.held_runs() == [(1, OLD, NEW)]
    assert store.unpause(ALL, "ada") == 1 and store.held_runs() == []
    assert claim(store, worker, code=OLD).run.id == 1


def test_runs_are_counted_by_code(store: Store) -> None:
    submit(store, depths=(2, 4))
    worker = register(store)
    for code in (OLD, NEW):
        store.finish(begin(store, worker, code).lease, ending(Reason.FINISHED))
    assert store.runs_by_code() == {OLD: 1, NEW: 1}


def test_noise_is_learned_across_digests_that_are_the_same_code(store: Store) -> None:
    """Each arm was trained by a digest of its own: no two can be paired unless those are one."""
    worker, sweep = register(store), submit(store, depths=(2, 4), seeds=3)
    for number in range(6):
        taken = begin(store, worker, OLD if number % 2 else NEW)
        store.flush(taken.lease, points=[point(1, Split.VAL, loss=3.0 + 0.01 * number**2)])
        store.finish(taken.lease, ending(Reason.FINISHED))
    plan = stored_arms(store, sweep)
    assert read_noise(store, plan) is None
    store.declare_same(OLD, NEW, why="test", actor="me")
    noise = read_noise(store, plan)
    assert noise is not None and noise.degrees == 2


def test_a_digest_may_begin_with_digits_alone(store: Store) -> None:
    """Eight letters are shown of each: in one of 43 digests they are all digits."""
    submit(store)
    for digest in ("0717651500000000", "1234567800000000"):
        store.keep_code(pack(digest, SOURCES, git_commit=""))
        assert find_digest(store, digest[:8]) == digest == find_digest(store, digest)
    store.flush(begin(store, register(store), OLD).lease, points=[point(1)])
    assert find_digest(store, "1") == OLD
    for name, why in (("87654321", "no run 87654321"), ("9" * 16, "no run 9"), ("12", "no run 12")):
        with pytest.raises(UsageError, match=why):
            find_digest(store, name)


def test_the_code_here_is_that_on_disk_where_the_same_digest_was_kept_with_other_comments(store: Store) -> None:
    here = CoreCode()
    on_disk = here.sources()
    kept = {**on_disk, "settings.py": on_disk["settings.py"] + b"# a comment\n"}
    store.keep_code(pack(here.digest(), kept, git_commit=""))
    assert find_code(store, "here").sources == on_disk
    assert find_code(store, here.digest()).sources == kept
