"""Runs that were completed before, found by arm and seed, on both databases; and what a plan makes of them."""

from collections.abc import Callable

import pytest

from orchestrator.queue.code import CodePart
from orchestrator.queue.runs import CompletedRun
from orchestrator.queue.states import Reason
from orchestrator.queue.sweeps import NewSweep
from orchestrator.store import Store
from orchestrator.sweep.existing_runs import Existing, find_existing
from orchestrator.sweep.plan import Plan, make_plan
from tests.sample_sweep import register, sample_facts
from tests.store_examples import ending, saved

CODE = "c0de"
DATA = "f00d"
BY_CODE = (CodePart(digest=CODE, after=0),)


def plan_of(*heads: int, num_runs: int = 1, seed: int = 100) -> Plan:
    """A plan with an arm for each number of heads."""
    return make_plan({"num_heads": heads, "tokenizer": ("bytes",)}, num_runs=num_runs, first_seed=seed)


def submit(store: Store, plan: Plan) -> None:
    """Queue the plan."""
    store.submit(NewSweep(arms=plan.new_arms(), runs=plan.new_runs()))


def work(store: Store, *, runs: int, code: str = CODE, data: str = DATA, reason: Reason = Reason.FINISHED) -> None:
    """Have a worker end the next `runs` runs."""
    worker = register(store)
    for _ in range(runs):
        claim = store.claim(worker)
        assert claim is not None
        facts = sample_facts(data_fingerprint=data, provenance={"core_digest": code})
        store.flush(claim.lease, points=(), facts=facts)
        store.finish(claim.lease, ending(reason, permanent=True))


def found(store: Store, plan: Plan, *, data: str | None = DATA, code: str = CODE) -> Existing:
    """What of the plan exists, on a host that knows this data and has this code."""
    return find_existing(plan, store, fingerprint=lambda dataset, tokenizer: data, digest=lambda: code)


def test_completed_runs_of_any_sweep_are_found_by_arm_and_seed(store: Store) -> None:
    submit(store, plan_of(1, num_runs=2))
    submit(store, plan_of(3, num_runs=2))
    work(store, runs=3)
    keys = {arm.settings.num_heads: arm.key for arm in plan_of(1, 3).arms}
    asked = store.completed([keys[1], keys[3], "no such key"], range(100, 102))
    assert sorted(asked, key=lambda run: (run.arm_key != keys[1], run.seed)) == [
        CompletedRun(arm_key=keys[1], seed=100, data_fingerprint=DATA, code=BY_CODE),
        CompletedRun(arm_key=keys[1], seed=101, data_fingerprint=DATA, code=BY_CODE),
        CompletedRun(arm_key=keys[3], seed=100, data_fingerprint=DATA, code=BY_CODE),
    ]
    assert [run.seed for run in store.completed([keys[1]], range(101, 500))] == [101]
    assert store.completed([], range(100, 200)) == set()
    assert store.newest_completed(asked) == {(keys[1], 100): 1, (keys[1], 101): 2, (keys[3], 100): 3}


def test_what_is_not_taken_is_counted_alone(store: Store) -> None:
    submit(store, plan_of(1, 3))
    work(store, runs=2)
    assert find_existing(plan_of(1, 3, 6), store, taken=False, fingerprint=lambda *_: None, digest=lambda: CODE) == (
        Existing(count=2, unchecked=2)
    )


def test_one_run_is_told_of_as_one() -> None:
    one = "1 run completed before with"
    assert Existing(count=1, other_data=1).lines(skipped=False) == [
        f"{one} the same data and code: add --skip_existing to leave it out",
        f"{one} other data: this does not count",
    ]


@pytest.mark.parametrize("reason", [Reason.ERROR, Reason.DIVERGED])
def test_runs_that_failed_do_not_count(store: Store, reason: Reason) -> None:
    submit(store, plan_of(1))
    work(store, runs=1, reason=reason)
    assert found(store, plan_of(1)) == Existing()


def test_a_plan_without_what_exists(store: Store) -> None:
    submit(store, plan_of(1, 3))
    work(store, runs=2)
    wanted = plan_of(1, 3, 6, num_runs=2)
    existing = found(store, wanted)
    assert len(existing.runs) == 2
    plan = wanted.without(existing.runs)
    assert plan.total_runs == 4
    arms = plan.new_arms()
    assert [(arms[run.arm].settings["num_heads"], run.seed, run.run_num) for run in plan.new_runs()] == [
        (6, 100, 1), (1, 101, 2), (3, 101, 2), (6, 101, 2)
    ]  # fmt: skip


def test_an_arm_that_exists_whole_is_not_stored_again(store: Store) -> None:
    submit(store, plan_of(1))
    work(store, runs=1)
    plan = plan_of(1, 3).without(found(store, plan_of(1, 3)).runs)
    assert [arm.settings["num_heads"] for arm in plan.new_arms()] == [3]
    assert [(run.arm, run.seed) for run in plan.new_runs()] == [(0, 100)]


@pytest.mark.parametrize(
    ("data", "code", "expected"),
    [
        (DATA, CODE, (1, 0, 0, 0)),
        (None, CODE, (1, 1, 0, 0)),
        ("other", CODE, (0, 0, 1, 0)),
        (DATA, "other", (0, 0, 0, 1)),
        (None, "other", (0, 0, 0, 1)),
    ],
)
def test_the_same_settings_with_other_data_or_code_are_not_the_same_run(
    store: Store, data: str | None, code: str, expected: tuple[int, ...]
) -> None:
    submit(store, plan_of(1))
    work(store, runs=1)
    existing = found(store, plan_of(1), data=data, code=code)
    counts = (existing.count, existing.unchecked, existing.other_data, existing.other_code)
    assert counts == expected


def test_of_several_completed_runs_the_one_that_matches_counts(store: Store) -> None:
    for code in ("older", CODE, "newer"):
        submit(store, plan_of(1))
        work(store, runs=1, code=code)
    existing = found(store, plan_of(1))
    assert (list(existing.runs.values()), existing.other_code) == ([2], 0)


def test_each_dataset_is_looked_up_once(store: Store) -> None:
    plan = plan_of(1, 3, num_runs=3)
    submit(store, plan)
    work(store, runs=6)
    asked: list[tuple[str, str]] = []

    def fingerprint(dataset: str, tokenizer: str) -> str:
        asked.append((dataset, tokenizer))
        return DATA

    find_existing(plan, store, fingerprint=fingerprint, digest=lambda: CODE)
    assert asked == [("wikitext-103", "bytes")]


def test_more_arms_than_a_statement_has_parameters(store: Store) -> None:
    plan = plan_of(1)
    submit(store, plan)
    work(store, runs=1)
    keys = [f"{number:016x}" for number in range(100_000)]
    assert [run.seed for run in store.completed([*keys, plan.arms[0].key], range(100, 101))] == [100]


def test_extend_can_change_the_definition(store: Store, open_again: Callable[[], Store]) -> None:
    plan = plan_of(1)
    store.submit(NewSweep(arms=plan.new_arms(), runs=plan.new_runs(), definition={"num_runs": 1}))
    store.extend(1, arms=[], runs=[])
    sweep = open_again().sweep(1)
    assert sweep is not None
    assert sweep.definition == {"num_runs": 1}
    store.extend(1, arms=[], runs=[], definition={"num_runs": 2})
    sweep = open_again().sweep(1)
    assert sweep is not None
    assert sweep.definition == {"num_runs": 2}


def test_a_run_of_two_codes_is_no_run_of_either_until_they_are_declared_the_same(store: Store) -> None:
    submit(store, plan_of(1))
    worker = register(store)
    for code in (CODE, "0ther"):
        claim = store.claim(worker)
        assert claim is not None
        facts = sample_facts(data_fingerprint=DATA, provenance={"core_digest": code})
        store.flush(claim.lease, points=(), facts=facts)
        store.commit_checkpoint(claim.lease, saved(6 if code == CODE else 8))
        store.finish(claim.lease, ending(Reason.RELEASED if code == CODE else Reason.FINISHED))
    assert [found(store, plan_of(1), code=code).other_code for code in (CODE, "0ther")] == [1, 1]
    store.declare_same(CODE, "0ther", why="a comment", actor="ada")
    assert [len(found(store, plan_of(1), code=code).runs) for code in (CODE, "0ther")] == [1, 1]
