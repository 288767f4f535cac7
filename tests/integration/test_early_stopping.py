"""Early stopping of a search in the store, on both databases: verdicts at rungs, every reader, and who may go on."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy
import pytest

from hlbgpt_core.errors import HlbqError
from hlbgpt_core.points import Directive, Split
from orchestrator.comparison.measuring.measures import PointChoice
from orchestrator.comparison.questions import Question
from orchestrator.comparison.results import compare
from orchestrator.errors import DatabaseBusyError
from orchestrator.export.blocks import Selection
from orchestrator.export.metric_names import Axis
from orchestrator.export.writing import export
from orchestrator.growth import searching
from orchestrator.growth.early_stopping import RUNG, Halving, halving_of, judge
from orchestrator.growth.search import SearchState
from orchestrator.growth.searching import SearchReading
from orchestrator.growth.standing import standing_lines, standing_of
from orchestrator.plots.drawing.final_values import FinalDrawing
from orchestrator.plots.figures import plot_final
from orchestrator.plots.search_figures import search_drawings
from orchestrator.queue.attempts import Claim
from orchestrator.queue.runs import RunFilter, RunRecord
from orchestrator.queue.states import Reason, Retry, State
from orchestrator.queue.sweeps import DECIDE, NewPolicy
from orchestrator.report.contents import read_report
from orchestrator.status.reading import read_status
from orchestrator.status.text import state_text
from orchestrator.status.waiting import failed_among
from orchestrator.store import OpenMode, Store, open_store
from orchestrator.sweep.existing_runs import Existing
from orchestrator.sweep.sweep_options import SweepOptions
from orchestrator.wandb_sync.rows import summary_of
from tests.command_line import hlbq_in
from tests.integration.test_search import AXES, FACTS, loss_of, policy, prepared, steps, submitted, train_one
from tests.store_examples import ALL, ending, point, register
from worker.attempt import Attempt
from worker.rungs import Rungs
from worker.timing import Timing
from worker.trainer.messages import Ended, PointMade

optuna = pytest.importorskip("optuna")

pytestmark = pytest.mark.reader

LENGTH, STOP_EARLY = 8, {"stop_early": "asha", "first_rung": 0.25, "trials": 12}
PRUNED = RunFilter(reasons=(Reason.PRUNED,))


def value_at(run: RunRecord, step: int) -> float:
    """A curve on which the ranks of arms change on the way."""
    lucky = numpy.random.default_rng([step, int(run.arm_key[:8], 16)]).normal(0, 0.05)
    return float(loss_of(run) + 0.3 * (LENGTH - step) + lucky)


def train_until_stopped(store: Store, worker: int, *, dice: Any = None) -> bool:
    """Claim a run and train it, as a worker does; with `dice` it is perhaps lost between points and verdict. False
    where there is no run."""
    taken = store.claim(worker)
    if taken is None:
        return False
    halving = halving_of(store, policy(store, taken.run.sweep_id), taken.run)
    rungs = list(halving.rungs) if halving else []
    for step in range(1, LENGTH + 1):
        evaluation = point(step, Split.VAL, loss=value_at(taken.run, step))
        store.flush(taken.lease, points=[point(step), evaluation], facts=FACTS)
        if dice is not None and dice.random() < 0.1:
            store.finish(taken.lease, ending(Reason.RELEASED))
            return True
        while halving and rungs and evaluation.tokens_seen >= rungs[0]:
            verdict = judge(store, taken.run, halving, rungs.pop(0))
            if not verdict.goes_on:
                store.finish(taken.lease, ending(Reason.PRUNED, error_message=verdict.text))
                return True
            store.note(taken.lease, RUNG, verdict.text)
    store.finish(taken.lease, ending(Reason.FINISHED))
    return True


def search_all(store: Store, worker: int, *, dice: Any = None) -> None:
    steps(store)
    while train_until_stopped(store, worker, dice=dice):
        steps(store)


def test_arms_are_stopped_where_optuna_would_stop_them(store: Store) -> None:
    """The rungs are those of the baseline, which is never stopped; each word is told in an event or with the run."""
    sweep, worker = submitted(store, **STOP_EARLY), register(store)
    search_all(store, worker)
    record = policy(store, sweep)
    state = SearchState.of(record)
    assert record.ended_why == "all 12 arms were tried" and state.rungs == [2048, 6144]
    runs = list(store.runs(ALL))
    pruned = [run for run in runs if run.reason is Reason.PRUNED]
    assert state.outcomes == {"measured": 12 - len(pruned), "pruned": len(pruned)} and len(pruned) >= 4
    pruner = optuna.pruners.SuccessiveHalvingPruner(min_resource=2, reduction_factor=3)
    study = optuna.create_study(pruner=pruner)
    for run in runs:
        trial, stopped_at = study.ask(), 0
        for step in (2, 6):
            trial.report(value_at(run, step), step)
            if trial.should_prune():
                stopped_at = step
                break
        assert run is runs[0] or (run.reason is Reason.PRUNED) == bool(stopped_at)
        assert run.step == (stopped_at or LENGTH) and (run.state is State.CANCELLED) == bool(stopped_at)
        told = [event for event in store.events(run_id=run.id) if event.action == RUNG]
        assert len(told) == (0 if run is runs[0] else {2: 0, 6: 1, 0: 2}[stopped_at])
    assert f"val_loss after 2,048 tokens: {value_at(pruned[0], 2):.4g}, place" in pruned[0].error_message


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.long) for seed in range(1, 2))])
def test_one_worker_stops_the_same_arms_whatever_was_killed(
    store: Store, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    undisturbed, worker = submitted(store, **STOP_EARLY), register(store)
    search_all(store, worker)
    monkeypatch.setattr(searching, "find_existing", lambda plan, store: Existing())
    disturbed = store.submit(prepared(**STOP_EARLY).sweep).id
    search_all(store, worker, dice=numpy.random.default_rng(seed))
    found = [
        [(run.arm_key, run.reason) for run in store.runs(RunFilter(sweep_ids=(sweep,)))]
        for sweep in (undisturbed, disturbed)
    ]
    assert found[0] == found[1] and len(found[0]) == 12


def test_no_reader_takes_a_stopped_run_for_one_that_ended(store: Store, tmp_path: Path) -> None:
    sweep, worker = submitted(store, **STOP_EARLY), register(store)
    search_all(store, worker)
    pruned = {run.id for run in store.runs(PRUNED)}
    wanted = RunFilter(sweep_ids=(sweep,), with_members=True)

    comparison = compare(store, wanted, Question())
    assert sum(group.missing for group in comparison.groups) == len(pruned)
    at_rung = compare(store, wanted, Question(moment=PointChoice.AT, axis=Axis.TOKENS, place=2048))
    assert not any(group.missing for group in at_rung.groups), "up to the rung all are measured"

    export(store, tmp_path / "runs.csv", Selection(runs=wanted))
    with (tmp_path / "runs.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {int(row["run_id"]) for row in rows if not row["last_val_loss"]} == pruned
    assert all(row["val_loss"].startswith("[") for row in rows), "their points are there"

    drawn = plot_final(store, FinalDrawing(metric="val_loss", against="lr_mult"), runs=wanted)
    assert drawn.runs == 12 - len(pruned)
    assert f"{len(pruned)} runs left out: failed, cancelled or stopped early" in drawn.warnings

    (best,) = [run for run in store.runs(ALL) if run.arm_key == SearchState.of(policy(store, sweep)).best]
    assert best.state is State.COMPLETED and store.best_run(sweep) == best
    lines = standing_lines(standing_of(store, policy(store, sweep)))
    assert f"12 of 12 arms ended, {len(pruned)} stopped early" in lines[0]
    growth = next(part for part in read_report(store, sweep).sections if part.heading == "Growth")
    assert f"{len(pruned)} stopped early" in growth.details[0]
    assert [figure.caption for figure in growth.figures] == [
        "best val_loss so far (12 runs)",
        "what the search tried (12 runs)",
    ]
    assert any(line.startswith("best so far, arm by arm: ") and "(arm 1)" in line for line in growth.details)
    told = {run.id: state_text(run) for run in read_status(store, wanted, now=0.0).runs}
    assert {run_id for run_id, text in told.items() if text == "cancelled: pruned"} == pruned
    assert failed_among(store, wanted) == 0
    for run in store.runs(ALL):
        assert ("last_val_loss" in summary_of(store.sendable(run.id))) == (run.id not in pruned)

    assert store.retry(RunFilter(run_ids=(min(pruned),), reasons=(Reason.PRUNED,)), "ada") == 1
    lines = standing_lines(standing_of(store, policy(store, sweep)))
    assert any("since its end 1 arm that it had stopped early went on" in line for line in lines)


def test_stopped_arms_have_no_place_on_the_scale_of_the_metric(store: Store) -> None:
    sweep, worker = submitted(store, **STOP_EARLY), register(store)
    search_all(store, worker)
    stored = store.sweep(sweep)
    assert stored is not None
    number = store.matching(PRUNED)
    search = SearchReading.of(store, policy(store, sweep), stored)
    (_, best), (_, coordinates) = search_drawings(search, ["bytes"])
    dots, line, crosses = best().figure.axes[0].lines
    assert (len(dots.get_xdata()), len(line.get_xdata()), len(crosses.get_xdata())) == (12 - number, 12, number)
    assert list(line.get_ydata()) == sorted(line.get_ydata(), reverse=True)
    assert crosses.get_label() == f"stopped early ({number})"
    drawn = [line for line in coordinates().figure.axes[0].lines if line.get_color() != "#333333"]
    ends = [len(line.get_xdata()) for line in drawn]
    assert sorted(set(ends)) == [3, 4] and ends.count(3) == number
    assert all((line.get_linestyle() == "--") == (len(line.get_xdata()) == 3) for line in drawn)


def test_a_stopped_run_goes_on_only_if_somebody_says_so(store: Store) -> None:
    """And then to its end."""
    sweep, worker = submitted(store, **STOP_EARLY), register(store)
    search_all(store, worker)
    stopped = [run.id for run in store.runs(PRUNED)]
    for how in Retry:
        assert store.retriable(RunFilter(sweep_ids=(sweep,)), how) == 0
    assert store.retry(RunFilter(run_ids=(stopped[0],)), "ada") == 0
    assert store.retry(RunFilter(run_ids=(stopped[0],), reasons=(Reason.PRUNED,)), "ada") == 1
    assert train_until_stopped(store, worker)
    (run,) = store.runs(RunFilter(run_ids=(stopped[0],)))
    assert run.state is State.COMPLETED and run.step == LENGTH


def test_the_command_line_says_what_was_stopped_and_how_it_goes_on(
    location: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with open_store(location, mode=OpenMode.CREATE) as store:
        submitted(store, **STOP_EARLY)
        search_all(store, register(store))
        stopped = next(run.id for run in store.runs(PRUNED))
    hlbq = hlbq_in(tmp_path, monkeypatch, capsys)
    monkeypatch.setenv("HLBQ_DB", location)
    shown = hlbq(f"show {stopped}").out
    assert "cancelled (pruned)" in shown and "tokens: " in shown and "the best 1 go on" in shown
    assert f"hlbq retry --run {stopped} --reason pruned" in shown and "error of attempt" not in shown
    refused = hlbq(f"retry --run {stopped} --json")
    assert '"changed": 0' in refused.out and "1 run stopped early by a search (add --reason pruned)" in refused.err
    assert hlbq("wait").code == 0
    again = hlbq(f"retry --run {stopped} --reason pruned --json")
    assert '"changed": 1' in again.out and "add --reason" not in again.err


def test_a_stopped_arm_does_not_hold_the_search_and_a_cancelled_one_does(store: Store) -> None:
    sweep, worker = submitted(store, stop_early="asha"), register(store)
    while not store.matching(PRUNED):
        steps(store)
        assert train_until_stopped(store, worker)
    assert any(step.added for step in steps(store))
    store.cancel(RunFilter(sweep_ids=(sweep,)), "ada")
    steps(store)
    assert not store.may_grow((sweep,)) and not store.waiting()


def test_seeds_past_the_searchs_own_are_not_stopped(store: Store) -> None:
    sweep, worker = submitted(store, confirm=1, max_seeds=4, **STOP_EARLY), register(store)
    search_all(store, worker)
    fresh = [run for run in store.runs(ALL) if run.seed > 100]
    assert fresh and all(run.state is State.COMPLETED for run in fresh) and policy(store, sweep).ended_why


def second_run(store: Store) -> tuple[Claim, Halving]:
    """The claim of a search's second run, after the first ended, and what it is judged by."""
    submitted(store, **STOP_EARLY)
    worker = register(store)
    assert train_until_stopped(store, worker)
    steps(store)
    taken = store.claim(worker)
    assert taken is not None
    halving = halving_of(store, policy(store, taken.run.sweep_id), taken.run)
    assert halving is not None
    return taken, halving


def test_a_run_without_an_evaluation_before_the_rung_goes_on(store: Store) -> None:
    """No value at the rung, no verdict: what came late says nothing of it."""
    taken, halving = second_run(store)
    assert list(halving.rungs) == [2048, 6144]
    store.flush(taken.lease, points=[point(5, Split.VAL, loss=99.0)])
    verdict = judge(store, taken.run, halving, 2048)
    assert verdict.goes_on and "no evaluation came before" in verdict.text


def test_a_word_that_was_written_twice_is_of_one_rung(store: Store) -> None:
    """The database took it, and its answer was lost. The run was then not judged at its next rung."""
    taken, halving = second_run(store)
    store.flush(taken.lease, points=[point(step, Split.VAL, loss=0.1) for step in (1, 2)])
    for _ in range(2):
        store.note(taken.lease, RUNG, judge(store, taken.run, halving, 2048).text)
    after = halving_of(store, policy(store, taken.run.sweep_id), taken.run)
    assert after is not None and list(after.rungs) == [6144]


def attempt_at_a_rung(store: Store, folder: Path) -> Attempt:
    """A worker's attempt at the third arm, which is at the first rung and worse than the others there."""
    submitted(store, **STOP_EARLY)
    worker = register(store)
    for _ in range(2):
        steps(store)
        assert train_until_stopped(store, worker)
    steps(store)
    taken = store.claim(worker)
    assert taken is not None
    halving = halving_of(store, policy(store, taken.run.sweep_id), taken.run)
    rungs = Rungs(store, taken, halving)
    timing = Timing(flush_seconds=100.0)
    attempt = Attempt(taken, store=store, state_folder=folder, timing=timing, clock=lambda: 0.0, rungs=rungs)
    assert attempt.directive_at_rung() is None and attempt.flush_due_in() > 0
    for step in (1, 2):
        lease = {"run_id": taken.lease.run_id, "fence": taken.lease.fence}
        attempt.take(PointMade(**lease, point=point(step, Split.VAL, loss=99.0)))
    return attempt


def test_a_worker_that_is_cut_off_goes_on_and_judges_later(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The trainer waits for a moment alone; the word stops the run whenever it comes."""
    attempt = attempt_at_a_rung(store, tmp_path)
    assert attempt.flush_due_in() == 0, "a rung does not wait for the next flush"
    assert attempt.directive_at_rung() is None, "its points are not stored yet"
    attempt.write()
    with monkeypatch.context() as cut_off:
        cut_off.setattr(store, "run_lines", lambda sweep_id: _raise(DatabaseBusyError("no answer")))
        with pytest.raises(DatabaseBusyError):
            attempt.directive_at_rung()
    assert attempt.flush_due_in() == 0, "asked again at once"
    assert attempt.directive_at_rung() is Directive.RELEASE
    assert attempt.directive_at_rung() is None
    lease = attempt.lease
    attempt.take(Ended(run_id=lease.run_id, fence=lease.fence, reason=Reason.RELEASED))
    attempt.write()
    assert attempt.after is not None and attempt.after.reason is Reason.PRUNED
    assert "place 3 of 3; the best 1 go on" in attempt.after.error_message


def test_a_run_that_ends_before_the_word_is_completed(store: Store, tmp_path: Path) -> None:
    attempt = attempt_at_a_rung(store, tmp_path)
    attempt.write()
    assert attempt.directive_at_rung() is Directive.RELEASE
    attempt.take(Ended(run_id=attempt.lease.run_id, fence=attempt.lease.fence, reason=Reason.FINISHED))
    attempt.write()
    assert attempt.after is not None and attempt.after.state is State.COMPLETED


def test_a_run_goes_on_at_a_rung_once_its_search_was_replaced(store: Store, tmp_path: Path) -> None:
    """A search that was ended by `hlbq decide --redeclare` went on to stop the runs that trained just then."""
    attempt = attempt_at_a_rung(store, tmp_path)
    store.declare(1, NewPolicy(kind=DECIDE, definition={}), replace=True)
    attempt.write()
    assert attempt.directive_at_rung() is Directive.CONTINUE


def test_a_run_that_somebody_cancelled_at_a_rung_is_left_alone(store: Store, tmp_path: Path) -> None:
    attempt = attempt_at_a_rung(store, tmp_path)
    store.cancel(RunFilter(run_ids=(attempt.lease.run_id,)), "ada")
    attempt.write()
    assert attempt.fenced and attempt.directive_at_rung() is None


def _raise(error: Exception) -> Any:
    raise error


def test_arms_that_diverge_are_no_failure_of_a_search(store: Store) -> None:
    """Unless nothing else came of it; other failures count."""
    submitted(store, trials=4)
    worker = register(store)
    reasons = iter([Reason.DIVERGED, None, Reason.OOM])
    for reason in reasons:
        steps(store)
        if reason is None:
            assert failed_among(store, ALL) == 1 and train_one(store, worker)
            assert failed_among(store, ALL) == 0
            continue
        taken = store.claim(worker)
        assert taken is not None
        store.finish(taken.lease, ending(reason, permanent=True))
    assert failed_among(store, ALL) == 1
    assert failed_among(store, RunFilter(reasons=(Reason.OOM,))) == 1


@pytest.mark.parametrize(
    ("axes", "options", "message"),
    [
        ({}, {"stop_early": "hyperband"}, "--stop_early hyperband: there is no such rule"),
        ({}, {"reduction": 1}, "reduction: 1 is too small"),
        ({}, {"first_rung": 0.0}, "--first_rung 0: not a share of a run"),
        ({}, {"first_rung": 1.0}, "--first_rung 1: not a share of a run"),
        ({}, {"first_rung": float("nan")}, "first_rung: 'nan' is not a finite number"),
        ({"max_steps": [100]}, {"first_rung": 0.25}, "no evaluation before the first rung, which is at step 25 of 100"),
        ({}, {"num_runs": 2}, "it is for arms of one seed"),
        ({"test_tokens": [2048]}, {"metric": "test_loss"}, "evaluations in a run do not measure test_loss"),
    ],
)
def test_what_cannot_be_stopped_early_is_refused(
    axes: Mapping[str, list[Any]], options: Mapping[str, Any], message: str
) -> None:
    with pytest.raises(HlbqError, match=message):
        SweepOptions.of(options)
        prepared({**AXES, **axes}, **{"stop_early": "asha", **options})


def test_options_of_early_stopping_without_it_are_named() -> None:
    assert "--reduction: no effect without --stop_early asha" in prepared(reduction=4).warnings
