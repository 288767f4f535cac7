"""A search in the store: the reconciler's steps, what exists, who stops it, and confirmation, on both databases."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy
import pytest
from sqlalchemy import update

import orchestrator
from hlbgpt_core.code_digest import core_digest
from hlbgpt_core.errors import HlbqError
from hlbgpt_core.points import Split
from orchestrator.cli.main import run_program
from orchestrator.comparison.judging.policy import ClosureReason, PolicyState, policy_of
from orchestrator.comparison.questions import Question
from orchestrator.comparison.results import compare
from orchestrator.comparison.statistics import ALPHA
from orchestrator.errors import UsageError
from orchestrator.growth import search, searching
from orchestrator.growth.by_hand import addition_to
from orchestrator.growth.declaring import with_policy
from orchestrator.growth.reconciler import take_due_steps
from orchestrator.growth.search import SearchState
from orchestrator.growth.standing import standing_lines, standing_of, summary_lines
from orchestrator.queue import states
from orchestrator.queue.code import CodePart
from orchestrator.queue.notices import NotifyMark
from orchestrator.queue.runs import RunFilter, RunRecord
from orchestrator.queue.sweeps import DECIDE, SEARCH, PolicyRecord
from orchestrator.report.contents import read_report
from orchestrator.store import OpenMode, Store, open_store, tables
from orchestrator.store.rows import code_json
from orchestrator.sweep.existing_runs import Existing, find_existing
from orchestrator.sweep.submission import PreparedSweep, prepare_sweep
from orchestrator.sweep.sweep_options import SweepOptions
from tests.store_examples import ALL, ending, facts, point, register

pytestmark = pytest.mark.reader

pytest.importorskip("optuna")

AXES: dict[str, list[Any]] = {
    "depth": [2],
    "width": [192],
    "lr_mult": ["0.5..8"],
    "warmup_steps": ["20..400"],
    "num_heads": [1, 2, 3],
}


# What a trainer of the code here tells: its runs exist for later searches.
FACTS = facts(provenance={"core_digest": core_digest()})


def prepared(
    axes: Mapping[str, list[Any]] = AXES, *, store: Store | None = None, trials: int = 8, **options: Any
) -> PreparedSweep:
    chosen = SweepOptions(trials=trials, where=["num_heads != 2"], **options)
    found = prepare_sweep(
        axes,
        chosen,
        db="unused.db",
        argv=[],
        find_existing=lambda plan: Existing() if store is None else find_existing(plan, store),
    )
    return with_policy(found, chosen)


def submitted(store: Store, **options: Any) -> int:
    """A search; returns its sweep's number."""
    notify = options.pop("notify", None)
    return store.submit(replace(prepared(store=store, **options).sweep, notify=notify)).id


def loss_of(run: RunRecord) -> float:
    """A bowl with noise that is the same whoever trains the run."""
    lr, warmup = math.log(run.settings["lr_mult"]), math.log(run.settings["warmup_steps"])
    noise = numpy.random.default_rng([run.seed, int(run.arm_key[:8], 16)]).normal(0, 0.01)
    return float(2 + (lr - 0.3) ** 2 + 0.1 * (warmup - 4) ** 2 + noise)


def finish(store: Store, taken: Any, reason: states.Reason = states.Reason.FINISHED) -> None:
    """End a claimed run, with its loss if it finishes."""
    if reason is states.Reason.FINISHED:
        store.flush(taken.lease, points=[point(1), point(1, Split.VAL, loss=loss_of(taken.run))], facts=FACTS)
    store.finish(taken.lease, ending(reason, permanent=True))


def train_one(store: Store, worker: int) -> bool:
    """Claim a run and finish it; False where there is none."""
    taken = store.claim(worker)
    if taken is not None:
        finish(store, taken)
    return taken is not None


def steps(store: Store) -> list[Any]:
    return list(take_due_steps(store, actor="me"))


def end_in_turn(store: Store, reasons: Sequence[states.Reason]) -> None:
    """Claim a run for each reason, and end it so; with all steps that are due."""
    worker = register(store)
    for reason in reasons:
        steps(store)
        taken = store.claim(worker)
        assert taken is not None
        finish(store, taken, reason)
    steps(store)


def train_all(store: Store, worker: int) -> None:
    steps(store)
    while train_one(store, worker):
        steps(store)


def policy(store: Store, sweep: int, kind: str = SEARCH) -> PolicyRecord:
    (found,) = [record for record in store.policies((sweep,)) if record.kind == kind]
    return found


def arms_of(store: Store, sweep: int) -> list[str]:
    return list(SearchState.of(policy(store, sweep)).arms)


def test_a_search_runs_to_its_end(store: Store) -> None:
    sweep, worker = submitted(store), register(store)
    assert store.counts(ALL)[states.State.PENDING] == 1, "the baseline, before anything was proposed"
    train_all(store, worker)
    record, runs = policy(store, sweep), list(store.runs(ALL))
    assert record.ended_why == "all 8 arms were tried" and not store.may_grow()
    state = SearchState.of(record)
    assert [run.arm_key for run in runs] == list(state.arms) and {run.seed for run in runs} == {100}
    assert state.best_value == min(loss_of(run) for run in runs) and state.left_out
    baseline = runs[0].settings
    assert (baseline["lr_mult"], baseline["num_heads"]) == (2.62, 1)
    (line,) = summary_lines(store, (), sweep)
    assert (
        "has searched by val_loss (tpe): 8 of 8 arms ended" in line
        and "the luckiest so far: num_heads 3, lr_mult" in line
    )
    growth = next(part for part in read_report(store, sweep).sections if part.heading == "Growth")
    assert any("the luckiest so far" in text for text in growth.details)


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 3))])
def test_one_worker_gets_the_same_arms_whatever_was_killed(
    store: Store, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Runs are released or lost, and steps computed by somebody who dies before writing."""
    draw = numpy.random.default_rng(seed)
    undisturbed, worker = submitted(store), register(store)
    train_all(store, worker)
    # Like any other host's code, so that the runs do not stand for those of the second search.
    monkeypatch.setattr(searching, "find_existing", lambda plan, store: Existing())
    disturbed = store.submit(prepared().sweep).id
    while True:
        if draw.random() < 0.5:
            steps(store)
        taken = store.claim(worker)
        if taken is None:
            if not any(step.added for step in steps(store)) and not store.waiting():
                break
            continue
        finish(store, taken, states.Reason.FINISHED if draw.random() < 0.6 else states.Reason.RELEASED)
    assert arms_of(store, disturbed) == arms_of(store, undisturbed)


def test_two_workers_get_an_arm_each_and_none_twice(store: Store) -> None:
    """Whoever ends first; one of them dies and is reaped."""
    sweep, workers = submitted(store, trials=10), [register(store, number) for number in (1, 2)]
    steps(store)
    assert store.counts(ALL)[states.State.PENDING] == 2
    first, second = (store.claim(worker) for worker in workers)
    assert first is not None and second is not None
    finish(store, second)
    steps(store)
    (dead,) = [worker for worker in store.workers() if worker.id == workers[0]]
    store.reap(workers[0], seen_beat=dead.beat, why="a test")
    train_all(store, workers[1])
    runs = list(store.runs(ALL))
    assert len({run.arm_key for run in runs}) == len(runs) == 10 and policy(store, sweep).ended_why


def test_the_best_are_confirmed_on_fresh_seeds(store: Store) -> None:
    sweep, worker = submitted(store, confirm=2, max_seeds=8, num_runs=2), register(store)
    while train_one(store, worker) or steps(store):
        steps(store)
    search, decided = SearchState.of(policy(store, sweep)), policy(store, sweep, DECIDE)
    chosen = policy_of(decided)
    assert chosen.first_seed == 102 and len(chosen.arms) == 2 and chosen.arms[0] == search.best
    assert set(chosen.baselines) == {search.arms[0]} and chosen.is_capped
    closed = PolicyState.of(decided).closures
    assert {closure.arm for closure in closed} == set(chosen.arms) and decided.ended_why
    fresh = {run.arm_key for run in store.runs(ALL) if run.seed >= 102}
    assert fresh == set(chosen.everyone), "no other arm got one"
    lines = standing_lines(standing_of(store, decided))
    assert "on seeds from 102 on" in lines[0] and "searched 2.1" in lines[1] and "confirmed 2.1" in lines[1]
    comparison = compare(store, RunFilter(sweep_ids=(sweep,), with_members=True), Question())
    assert "on seeds from 102 on" in comparison.rule and comparison.extension is None
    for contrast in comparison.contrasts:
        if set(contrast.arms) & set(chosen.arms):
            assert min(contrast.pairs.differences) >= 102
            finding = contrast.finding
            assert (finding.verdict.value in ("better", "worse")) == ((finding.always_valid_p_value or 1.0) <= ALPHA)
            assert (finding.p_value or 1.0) <= 2 * (finding.difference.p_value or 1.0), "of two arms, not of the table"
        else:
            assert contrast.declared == "tried by the search, and not confirmed"
    named = compare(store, RunFilter(sweep_ids=(sweep,), with_members=True), Question(baseline=comparison.baseline))
    assert named.contrasts == comparison.contrasts, "the declared baseline, named, is the declared comparison"
    best = next(one for one in comparison.contrasts if search.best in one.arms)
    (closure,) = [one for one in closed if one.arm == search.best]
    assert (closure.reason is ClosureReason.BETTER) == (best.finding.verdict.value == "better")


def test_what_the_search_saw_is_told_without_seeds_that_somebody_added(store: Store) -> None:
    sweep, worker = submitted(store, trials=6, confirm=2, max_seeds=5), register(store)
    while len(arms_of(store, sweep)) < 6:
        train_one(store, worker)
        steps(store)
    stored = store.sweep(sweep)
    assert stored is not None
    addition_to(store, stored, {}, 3).apply(store, sweep)
    while train_one(store, worker) or steps(store):
        steps(store)
    assert {101, 102} <= {run.seed for run in store.runs(ALL)}
    search, confirmed = policy(store, sweep), standing_of(store, policy(store, sweep, DECIDE))
    best = SearchState.of(search).best_value
    assert f"searched {best:.4g}, confirmed" in standing_lines(confirmed)[1]


@pytest.mark.parametrize(
    ("reasons", "told"),
    [
        ([states.Reason.DIVERGED] * 2, "nothing to confirm: no arm was measured"),
        ([states.Reason.FINISHED, states.Reason.DIVERGED], "nothing to confirm: no arm but the baseline was measured"),
    ],
)
def test_a_search_that_has_nothing_to_confirm_says_what_was_measured(
    store: Store, reasons: list[states.Reason], told: str
) -> None:
    sweep = submitted(store, trials=2, confirm=1, max_seeds=4)
    end_in_turn(store, reasons)
    assert policy(store, sweep).ended_why == f"all 2 arms were tried; {told}"


def test_arms_of_two_codes_beside_each_other_are_named(store: Store) -> None:
    """Each by one code, so all are ranked: what is best may be so by its code."""
    sweep, worker = submitted(store, trials=4), register(store)
    train_all(store, worker)
    assert "codes" not in "".join(summary_lines(store, (), sweep))
    with store._write() as connection:
        for number, run in enumerate(store.runs(ALL)):
            code = code_json([CodePart(digest="ab"[number % 2] * 16, after=0)])
            connection.execute(update(tables.runs).where(tables.runs.c.id == run.id).values(code=code))
    told = "runs of 2 codes are shown together: aaaaaaaa (2 runs), bbbbbbbb (2 runs)"
    assert told in summary_lines(store, (), sweep)[0]
    assert told in "".join(standing_lines(standing_of(store, policy(store, sweep))))


def test_runs_that_exist_cost_nothing(store: Store) -> None:
    """A longer search takes the arms of a shorter one with the same seed as they are, then goes on."""
    short, worker = submitted(store, trials=6), register(store)
    train_all(store, worker)
    longer = submitted(store, trials=9, confirm=1, max_seeds=4)
    train_all(store, worker)
    assert arms_of(store, longer)[:6] == arms_of(store, short)
    own = [run for run in store.runs(RunFilter(sweep_ids=(longer,))) if run.seed == 100]
    assert len(own) == 3
    everything = list(store.runs(RunFilter(sweep_ids=(longer,), with_members=True)))
    assert len({run.arm_key for run in everything}) == 9
    told = [event.why for event in store.events(sweep_id=longer) if event.action == SEARCH]
    assert any("completed before with the same data and code" in why for why in told)
    assert policy(store, longer, DECIDE).ended_why, "a lent arm is confirmed too"


def test_an_arm_whose_run_is_deleted_during_the_step_that_takes_it_is_trained(store: Store) -> None:
    """The arm stayed without a run: it was open for ever, and the search never ended."""
    short, worker = submitted(store, trials=3), register(store)
    train_all(store, worker)
    longer = store.submit(prepared(trials=4).sweep)
    assert train_one(store, worker)
    step = searching.search_step(store, policy(store, longer.id), longer)
    assert step.members
    store.delete([run.id for run in store.runs(RunFilter(sweep_ids=(short,)))], "ada")
    with pytest.raises(UsageError, match="was deleted meanwhile"):
        store.take_step(step, "me")
    train_all(store, worker)
    assert policy(store, longer.id).ended_why == "all 4 arms were tried"


def test_what_is_cancelled_or_paused_waits_for_a_person(store: Store) -> None:
    sweep, worker = submitted(store, confirm=1, max_seeds=4), register(store)
    train_one(store, worker)
    steps(store)
    for stop, go_on in ((store.cancel, store.retry), (store.pause, store.unpause)):
        stop(RunFilter(sweep_ids=(sweep,)), "ada")
        steps(store)
        assert not store.may_grow() and store.claim(worker) is None
        (line,) = summary_lines(store, (), sweep)
        assert "paused, cancelled or failed: hlbq unpause or hlbq retry" in line
        go_on(RunFilter(sweep_ids=(sweep,)), "ada")
        steps(store)
    train_all(store, worker)
    assert policy(store, sweep).ended_why


def test_an_arm_that_fails_or_diverges_is_tried_once(store: Store) -> None:
    """Two failures in a row hold the search: something else may be wrong."""
    sweep = submitted(store, trials=6)
    reasons = [states.Reason.DIVERGED, states.Reason.DIVERGED, states.Reason.OOM, states.Reason.FINISHED]
    end_in_turn(store, [*reasons, states.Reason.OOM, states.Reason.OOM])
    state = SearchState.of(policy(store, sweep))
    assert state.outcomes == {"diverged": 2, "failed": 3, "measured": 1} and len(set(state.arms)) == 6
    assert policy(store, sweep).ended_why, "nothing is left that a person could help with"


def test_a_search_is_over_once_its_confirmation_is(store: Store) -> None:
    """`--notify` tells of the end once."""
    mark = NotifyMark(token="0123456789abcdef", by="ada on here")
    sweep, worker = submitted(store, trials=3, confirm=1, max_seeds=4, notify=mark), register(store)
    steps(store)
    while train_one(store, worker):
        if not store.waiting():
            assert not store.undelivered()
            steps(store)
    assert policy(store, sweep, DECIDE).ended_why
    assert [notice.sweep_id for notice in store.undelivered()] == [sweep]


@pytest.mark.parametrize(
    ("axes", "options", "message"),
    [
        ({}, {"trials": 0}, "trials: 0 is too small"),
        ({}, {"sampler": "tpi"}, "--sampler tpi: there is no such sampler"),
        ({"lr_mult": ["8..0.5"]}, {}, "the range 8..0.5 must rise"),
        ({"lr_mult": ["2..2"]}, {}, "the range 2..2 must rise"),
        ({"weight_decay": ["0..2"]}, {}, "from a number above 0"),
        ({"weight_decay": ["0..0:linear"]}, {}, "the range 0..0:linear must rise"),
        ({"lr_mult": [".."]}, {}, "'' is not a number"),
        ({"lr_mult": ["0.5..8", "9"]}, {}, "a range was given with other values"),
        ({"lr_mult": [1], "warmup_steps": [50], "num_heads": [1]}, {}, "there is nothing to search"),
        ({"tokenizer": ["a..b"]}, {}, "a..b"),
        ({}, {"baseline": ["lr_mult=9"]}, "--baseline lr_mult=9: the search does not reach that"),
        ({}, {"baseline": ["num_heads=4"]}, "--baseline num_heads=4: the search does not reach that"),
        ({}, {"baseline": ["num_heads=2"]}, "the baseline, with which the search begins"),
        ({}, {"random": 3}, "--random was given with --trials"),
        ({}, {"decide": True}, "--decide was given with --trials"),
        ({}, {"one_at_a_time": True}, "--one_at_a_time was given with --trials"),
        ({}, {"metric": "val_los"}, "val_los"),
        ({}, {"metric": "lr"}, "is higher or lower better"),
        ({}, {"metric": "test_loss"}, "not every arm is evaluated on test text"),
        ({}, {"confirm": 2, "max_seeds": 2, "first_look": 2}, "no verdict on 2 arms is possible below"),
        ({}, {"trials": 4, "confirm": 4}, "--confirm 4: a search of --trials 4 tries 3 arms more than the baseline"),
        ({}, {"max_seeds": 2}, "--max_seeds 2 is less than --first_look 3"),
        ({}, {"margin": -1.0}, "--margin -1"),
    ],
)
def test_what_cannot_be_searched_is_refused(
    axes: Mapping[str, list[Any]], options: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(HlbqError, match=message):
        SweepOptions.of(options)
        prepared({**AXES, **axes}, **options)


def test_optuna_that_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(search, "find_spec", lambda name: None)
    with pytest.raises(HlbqError, match="needs optuna") as raised:
        prepared()
    assert raised.value.hint == "pip install 'hlbq[search]'"


def test_a_host_without_optuna_says_so_when_it_takes_a_step(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A traceback told of it, and the steps of all sweeps after this one were not taken."""
    submitted(store, trials=3)
    train_one(store, register(store))
    monkeypatch.setattr(search, "find_spec", lambda name: None)
    with pytest.raises(HlbqError, match="needs optuna"):
        list(take_due_steps(store, actor="me"))


def test_the_seeds_that_confirm_are_there_from_the_beginning() -> None:
    prepared(trials=3, confirm=1, seed=2**63 - 21)
    with pytest.raises(HlbqError, match=f"seed {2**63} is out of range"):
        prepared(trials=3, confirm=1, seed=2**63 - 20)


def test_a_search_from_python_is_the_one_of_the_command_line(location: str) -> None:
    sweep = orchestrator.submit(AXES, db=location, trials=5, where=["num_heads != 2"], search_seed=4, confirm=1)
    with open_store(location, mode=OpenMode.READ) as store:
        typed = prepared(trials=5, search_seed=4, confirm=1).sweep.policy
        stored = store.policy(sweep.id)
        assert stored is not None and typed is not None
        assert {**stored.definition} == {**typed.definition} and stored.kind == typed.kind == SEARCH
    assert sweep.definition["axes"]["lr_mult"] == ["0.5..8.0"] and sweep.definition["options"]["trials"] == 5


def test_a_report_says_what_mattered(store: Store) -> None:
    """Of a search that is long enough; of two noisy settings the one that makes the loss."""
    sweep, worker = submitted(store, trials=25, sampler="random"), register(store)
    train_all(store, worker)
    growth = next(part for part in read_report(store, sweep).sections if part.heading == "Growth")
    (line,) = [text for text in growth.details if "PED-ANOVA" in text]
    assert "best 10 % of arms (PED-ANOVA): lr_mult 0." in line


def test_a_search_takes_no_more_values_by_hand(store: Store) -> None:
    sweep = store.sweep(submitted(store))
    assert sweep is not None
    with pytest.raises(HlbqError, match="chosen by a search"):
        addition_to(store, sweep, {"num_heads": ["6"]}, None)
    assert addition_to(store, sweep, {}, 2).plan.num_runs == 2


def test_a_policy_that_replaces_a_running_search_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    location = str(tmp_path / "hlbq.db")
    with open_store(location, mode=OpenMode.CREATE) as store:
        sweep, worker = submitted(store), register(store)
        for _ in range(3):
            steps(store)
            train_one(store, worker)
    assert run_program(["decide", str(sweep), "--redeclare", "--db", location]) == 0
    told = "its search has ended and tries no more arms; this policy decides between those that it tried"
    assert f"sweep {sweep}: {told}" in " ".join(capsys.readouterr().err.split())
