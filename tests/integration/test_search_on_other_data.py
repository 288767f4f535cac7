"""Numbers that do not belong with those of a search's baseline, of other data or of several codes, are not ranked."""

from typing import Any

import pytest
from sqlalchemy import update

from hlbgpt_core.code_digest import core_digest
from hlbgpt_core.points import Split
from orchestrator.growth import searching
from orchestrator.growth.early_stopping import halving_of, judge
from orchestrator.growth.reconciler import take_due_steps
from orchestrator.growth.search import SearchState
from orchestrator.growth.standing import standing_lines, standing_of, summary_lines
from orchestrator.queue import states
from orchestrator.queue.code import CodePart
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.sweeps import DECIDE
from orchestrator.report.contents import read_report
from orchestrator.store import Store
from orchestrator.store.rows import code_json
from orchestrator.store.tables import runs
from tests.conftest import VirtualClock
from tests.integration.test_search import arms_of, loss_of, policy, steps, submitted
from tests.store_examples import ALL, ending, facts, point, register

pytestmark = pytest.mark.reader

pytest.importorskip("optuna")

FIRST, OTHER = "f1rst", "0ther"


def train_on(store: Store, worker: int, fingerprint: str) -> bool:
    """Train the next run on data of this fingerprint; the loss on other data is far lower. False where there is none.
    The step is taken that is due then."""
    steps(store)
    taken = store.claim(worker)
    if taken is None:
        return False
    loss = loss_of(taken.run) - (0 if fingerprint == FIRST else 2)
    told = facts(data_fingerprint=fingerprint, provenance={"core_digest": core_digest()})
    store.flush(taken.lease, points=[point(step, Split.VAL, loss=loss) for step in (1, 2)], facts=told)
    store.finish(taken.lease, ending(states.Reason.FINISHED))
    steps(store)
    return True


def data_here(monkeypatch: pytest.MonkeyPatch, fingerprint: str | None) -> None:
    """What this host knows of the data."""
    monkeypatch.setattr(searching, "cached_fingerprint", lambda dataset, tokenizer: fingerprint)


def state_of(store: Store, sweep: int) -> SearchState:
    return SearchState.of(policy(store, sweep))


@pytest.mark.parametrize(("known_here", "clock_moves"), [(None, 0), (OTHER, 0), (OTHER, -3600)])
def test_a_search_whose_data_changed_ranks_none_on_the_new_data_and_waits(
    store: Store, clock: VirtualClock, monkeypatch: pytest.MonkeyPatch, known_here: str | None, clock_moves: int
) -> None:
    data_here(monkeypatch, known_here)
    sweep, worker = submitted(store, trials=6), register(store)
    for fingerprint in (FIRST, FIRST):
        assert train_on(store, worker, fingerprint)
    clock.advance(clock_moves)  # the runs on the first data looked newest, and the search went on to its end
    best = state_of(store, sweep).best_value
    while train_on(store, worker, OTHER):
        pass
    state = state_of(store, sweep)
    assert state.outcomes == {"measured": 2, "other data": 2} and state.best_value == best
    events = [event.why for event in store.events(sweep_id=sweep, limit=1000)]
    assert events.count("1 arm on other data than the baseline: not ranked") == 2
    assert sum("restore the first data" in why for why in events) == 1, "the worker's last line"
    record = policy(store, sweep)
    assert record.ended_at is None and not store.may_grow()
    told = [*summary_lines(store, (), sweep), "\n".join(standing_lines(standing_of(store, record)))]
    growth = next(part for part in read_report(store, sweep).sections if part.heading == "Growth")
    for text in (*told, "\n".join(growth.details)):
        assert "4 of 6 arms ended, 2 on other data" in text and "not ranked" in text
        assert f"restore the first data, then hlbq decide {sweep}; or search again" in text and "unpause" not in text


def test_it_goes_on_once_somebody_who_put_the_data_back_asks(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    data_here(monkeypatch, OTHER)
    sweep, worker = submitted(store, trials=6), register(store)
    for fingerprint in (FIRST, OTHER, OTHER):
        assert train_on(store, worker, fingerprint)
    assert not train_on(store, worker, FIRST)

    def asked() -> list[Any]:
        return list(take_due_steps(store, sweep_ids=(sweep,), actor="ada"))

    assert not any(step.added for step in asked()), "they are not back"
    data_here(monkeypatch, "changed")
    assert [step.added for step in asked()] == [1]
    while train_on(store, worker, FIRST):
        pass
    state = state_of(store, sweep)
    assert state.outcomes == {"measured": 4, "other data": 2} and policy(store, sweep).ended_why


def test_seeds_on_other_data_confirm_nothing(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The last arm alone is on other data: the search waits, and then confirms arms that belong with the baseline."""
    data_here(monkeypatch, OTHER)
    sweep, worker = submitted(store, trials=4, confirm=1, max_seeds=4), register(store)
    for fingerprint in (FIRST, FIRST, FIRST, OTHER):
        assert train_on(store, worker, fingerprint)
    assert not store.may_grow() and policy(store, sweep).ended_at is None
    assert "restore the first data" in summary_lines(store, (), sweep)[0]
    data_here(monkeypatch, FIRST)
    list(take_due_steps(store, sweep_ids=(sweep,), actor="ada"))
    chosen = policy(store, sweep, DECIDE).definition["arms"]
    assert chosen and set(chosen) < set(arms_of(store, sweep)[1:3])


def test_a_confirmed_number_is_the_mean_of_seeds_that_count(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    data_here(monkeypatch, FIRST)
    sweep, worker = submitted(store, trials=2, confirm=1, max_seeds=4), register(store)
    while policy(store, sweep).ended_at is None:
        assert train_on(store, worker, FIRST)
    for fingerprint in (FIRST, FIRST, FIRST, FIRST, OTHER, OTHER):
        assert train_on(store, worker, fingerprint)
    text = standing_lines(standing_of(store, policy(store, sweep, DECIDE)))[1]
    confirmed = float(text.split("confirmed ")[1].split()[0])
    assert "(2 seeds)" in text and abs(confirmed - float(text.split("searched ")[1].split(",")[0])) < 0.1


def test_one_arm_on_other_data_is_left_out_and_the_search_goes_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where one of several hosts has an old copy."""
    data_here(monkeypatch, FIRST)
    sweep, worker = submitted(store, trials=5), register(store)
    for fingerprint in (FIRST, OTHER, FIRST, OTHER, FIRST):
        assert train_on(store, worker, fingerprint)
    state = state_of(store, sweep)
    assert state.outcomes == {"measured": 3, "other data": 2} and policy(store, sweep).ended_why
    assert state.best_value is not None and state.best_value > 1
    assert "not ranked" in summary_lines(store, (), sweep)[0]


def test_an_arm_of_two_codes_is_not_ranked(store: Store) -> None:
    sweep, worker = submitted(store, trials=3), register(store)
    assert train_on(store, worker, FIRST) and train_on(store, worker, FIRST)
    with store._write() as connection:
        two = code_json([CodePart(digest="aa", after=0), CodePart(digest="bb", after=1)])
        connection.execute(update(runs).where(runs.c.id == 2).values(code=two))
    assert train_on(store, worker, FIRST)
    state = state_of(store, sweep)
    assert state.outcomes == {"measured": 2, "mixed code": 1} and policy(store, sweep).ended_why
    assert "1 of mixed code" in summary_lines(store, (), sweep)[0]


def test_a_rung_is_judged_by_runs_on_the_same_data_and_of_one_code(store: Store) -> None:
    """A run on other data goes on, and is no measure of others."""
    sweep, worker = submitted(store, trials=6, stop_early="asha"), register(store)
    for fingerprint in (FIRST, FIRST, OTHER):
        assert train_on(store, worker, fingerprint)
    taken = store.claim(worker)
    assert taken is not None
    halving = halving_of(store, policy(store, sweep), taken.run)
    assert halving is not None and list(halving.rungs) == [1024]
    store.flush(taken.lease, points=[point(1, Split.VAL, loss=1.0)], facts=facts(data_fingerprint=FIRST))
    verdict = judge(store, taken.run, halving, 1024)
    assert verdict.goes_on and "place 1 of 3;" in verdict.text
    (other,) = [run for run in store.runs(RunFilter(sweep_ids=(sweep,))) if run.facts["data_fingerprint"] == OTHER]
    verdict = judge(store, other, halving, 1024)
    assert verdict.goes_on and "compares with the others" in verdict.text
    with store._write() as connection:
        two = code_json([CodePart(digest="aa", after=0), CodePart(digest="bb", after=1)])
        connection.execute(update(runs).where(runs.c.id == 2).values(code=two))
    assert "place 1 of 2;" in judge(store, taken.run, halving, 1024).text
    assert store.data_of([run.id for run in store.runs(ALL)])[other.id] == OTHER
