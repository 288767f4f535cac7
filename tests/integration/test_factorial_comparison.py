"""Main effects, interactions, groups at their best, margins, wins and advice of `hlbq compare`, on both databases."""

import math
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hlbgpt_core.errors import HlbqError
from hlbgpt_core.points import Split
from orchestrator.cli.main import run_program
from orchestrator.comparison.judging.contrasts import Verdict
from orchestrator.comparison.judging.robust import WinVerdict
from orchestrator.comparison.measuring.groups import read_baseline
from orchestrator.comparison.measuring.measures import Goal, PointChoice
from orchestrator.comparison.questions import Question
from orchestrator.comparison.reporting.rendering import counts_of_verdicts, markdown, sentences, tables
from orchestrator.comparison.results import Comparison, compare, recorded
from orchestrator.queue.attempts import Claim, Ending
from orchestrator.queue.runs import RunFilter
from orchestrator.queue.states import Reason
from orchestrator.queue.sweeps import SweepRecord
from orchestrator.store import OpenMode, Store, open_store
from tests import sample_sweep
from tests.integration.test_compare import RUN_NOISE, train_all
from tests.sample_sweep import register, sample_facts, sample_point

pytestmark = pytest.mark.reader

EVERYTHING = RunFilter()
GRID = [{"depth": depth, "num_heads": heads} for depth in (2, 3) for heads in (1, 2)]


def submit_sweep(store: Store, arms: Sequence[Mapping[str, Any]], *, seeds: Sequence[int]) -> SweepRecord:
    """A sweep of `arms`, of which the first is the baseline."""
    sweep = sample_sweep.submit_sweep(store, arms, seeds=seeds)
    definition = {**sweep.definition, "base_arm": {**sample_sweep.BASE, **arms[0]}}
    store.extend(sweep.id, arms=[], runs=[], definition=definition)
    return replace(sweep, definition=definition)


def noise(claim: Claim) -> float:
    """What the seed has in common, and the run's own: fixed, and never the same pattern in two arms."""
    number, arm = claim.run.run_num, claim.run.arm_number
    return 0.3 * math.sin(7.0 * number) + RUN_NOISE[(number * (2 * arm + 1) + arm) % 8]


def loss_by(effects: Mapping[tuple[str, Any], float], *, together: float = 0.0) -> Any:
    """3.8, an effect for each value, `together` for the last arm of GRID, and noise."""

    def loss_of(claim: Claim) -> float:
        settings = claim.run.settings
        both = together if (settings["depth"], settings["num_heads"]) == (3, 2) else 0.0
        return 3.8 + both + sum(effects.get(item, 0.0) for item in settings.items()) + noise(claim)

    return loss_of


def grid(store: Store, loss_of: Any, *, arms: Sequence[Mapping[str, Any]] = GRID, seeds: int = 6) -> None:
    submit_sweep(store, arms, seeds=range(100, 100 + seeds))
    train_all(store, loss_of)


def refusal(store: Store, question: Question, wanted: RunFilter = EVERYTHING) -> str:
    with pytest.raises(HlbqError) as caught:
        compare(store, wanted, question)
    return f"{caught.value.message} | {caught.value.hint}"


def text_of(found: Comparison) -> str:
    return "\n".join([*found.warnings, *sentences(found)])


def test_a_factorial_sweep_opens_with_main_effects(store: Store) -> None:
    grid(store, loss_by({("depth", 3): -0.2}))
    found = compare(store, EVERYTHING, Question())
    assert found.baseline == {"depth": 2, "num_heads": 1} and found.contrasts == ()
    depth, heads = found.main_effects
    assert (depth.label, depth.baseline) == ("depth 3", "depth 2") and depth.finding.verdict is Verdict.BETTER
    assert depth.finding.difference.summary.mean == pytest.approx(-0.2, abs=0.01) and len(depth.arms) == 4
    assert heads.label == "num_heads 2" and heads.finding.verdict is Verdict.UNDECIDED
    assert tables(found)[0].title.startswith("main effects")
    assert "depth 3 against depth 2: better, by" in text_of(found)
    assert found.shares is not None and found.shares.of["depth"] > 0.9 and found.shares.of["num_heads"] < 0.05
    assert "Share of the variance between arms" in text_of(found)
    assert "main effects" in markdown(found)
    armwise = compare(store, EVERYTHING, Question(arms=True))
    assert [one.label for one in armwise.contrasts] == [
        "depth 2, num_heads 2",
        "depth 3, num_heads 1",
        "depth 3, num_heads 2",
    ]
    assert {one.baseline for one in armwise.contrasts} == {"depth 2, num_heads 1"}
    assert counts_of_verdicts(armwise).startswith("2 main effects and 3 arms against 3 baselines: ")
    assert counts_of_verdicts(found) == "2 main effects against 2 baselines: 1 better, 1 undecided."


def test_an_interaction_is_a_difference_of_differences(store: Store) -> None:
    grid(store, loss_by({("depth", 3): -0.2, ("num_heads", 2): -0.1}, together=-0.3))
    found = compare(store, EVERYTHING, Question(effects=True))
    (only,) = found.interactions
    assert only.finding.difference.summary.mean == pytest.approx(-0.3, abs=0.02)
    assert only.finding.verdict is Verdict.LOWER
    assert "effect of num_heads 2 (not 1) at depth 3 against that at depth 2: lower, by 0.29" in text_of(found)
    assert found.shares is not None and found.shares.of["depth x num_heads"] > 0.05


def test_the_sizes_of_families_do_not_shrink_with_filters(store: Store) -> None:
    arms = [{"depth": depth, "num_heads": heads} for depth in (2, 3, 4) for heads in (1, 2)]
    grid(store, loss_by({("depth", 3): -0.02}), arms=arms)
    whole = compare(store, EVERYTHING, Question())
    part = compare(store, RunFilter(where={"depth": [2, 3]}), Question())
    assert [len(found.main_effects) for found in (whole, part)] == [3, 2]
    p_values = [found.main_effects[0].finding.p_value for found in (whole, part)]
    assert p_values[0] == p_values[1] is not None
    one = compare(store, RunFilter(where={"num_heads": 1, "depth": [2, 3]}), Question(arms=True))
    all_arms = compare(store, EVERYTHING, Question(arms=True))
    first = next(found for found in all_arms.contrasts if found.label == "depth 3, num_heads 1")
    # Step by step Holm's factor falls with the members that are shown to be smaller; hidden ones never are.
    hidden, shown = one.contrasts[0].finding.always_valid_p_value, first.finding.always_valid_p_value
    assert hidden is not None and shown is not None and hidden >= shown
    alone = compare(store, RunFilter(where={"num_heads": 1, "depth": [2, 3]}), Question(by=("depth",))).contrasts[0]
    assert alone.finding.always_valid_p_value == pytest.approx(hidden * 2 / 5)


def test_arms_without_a_counterpart_are_named_and_main_effects_are_over_the_others(store: Store) -> None:
    grid(store, loss_by({("depth", 3): -0.2}), arms=GRID[:3])
    found = compare(store, EVERYTHING, Question())
    assert len(found.main_effects[0].arms) == 2 and found.shares is None
    lost = compare(store, EVERYTHING, Question(baseline=read_baseline(["num_heads=2"])))
    assert "some arms are missing" in text_of(lost) and "1 arm of num_heads 1" in text_of(lost)


def test_a_seed_counts_where_all_cells_have_a_number(store: Store) -> None:
    def loss_of(claim: Claim) -> float:
        diverges = claim.run.seed == 101 and claim.run.arm_number == 4
        return math.nan if diverges else loss_by({("depth", 3): -0.2})(claim)

    grid(store, loss_of)
    depth, heads = compare(store, EVERYTHING, Question()).main_effects
    assert sorted(depth.pairs.differences) == sorted(heads.pairs.differences) == [100, 102, 103, 104, 105]
    assert (depth.pairs.diverged, depth.pairs.baseline_diverged) == (1, 0)
    assert [lost.why for lost in depth.pairs.lost] == ["depth 3, num_heads 2: diverged"]


def test_settings_that_change_together_are_one_factor(store: Store) -> None:
    arms = [{"depth": d, "width": w, "num_heads": h} for d, w in ((2, 128), (3, 192)) for h in (1, 2)]
    grid(store, loss_by({("depth", 3): -0.2}), arms=arms)
    found = compare(store, EVERYTHING, Question())
    assert [(one.label, one.baseline) for one in found.main_effects] == [
        ("depth 3, width 192", "depth 2, width 128"),
        ("num_heads 2", "num_heads 1"),
    ]


def test_one_at_a_time_is_not_factorial(store: Store) -> None:
    sweep = submit_sweep(store, GRID[:3], seeds=range(100, 106))
    definition = {**sweep.definition, "shape": {"one_at_a_time": True}}
    store.extend(sweep.id, arms=[], runs=[], definition=definition)
    train_all(store, loss_by({("depth", 3): -0.2}))
    found = compare(store, EVERYTHING, Question())
    assert [one.baseline for one in found.contrasts] == ["depth 2, num_heads 1"] * 2
    said = refusal(store, Question(effects=True))
    assert "changes one setting at a time, and is not factorial | hlbq compare --sweep 1 holds each arm" in said
    store.extend(sweep.id, arms=[], runs=[], definition={**definition, "base_arm": None, "shape": {"random_draws": 3}})
    assert "drawn at random" in refusal(store, Question(effects=True))
    assert compare(store, EVERYTHING, Question()).contrasts == ()


def test_what_effects_need(store: Store) -> None:
    grid(store, loss_by({}), arms=GRID[:1], seeds=2)
    assert "the arms of sweep 1 do not differ, so it is not factorial" in refusal(store, Question(effects=True))
    assert compare(store, EVERYTHING, Question()).contrasts == ()
    grid(store, loss_by({}), arms=[GRID[0], GRID[1]], seeds=2)
    second = RunFilter(sweep_ids=(2,))
    assert "differ in num_heads alone" in refusal(store, Question(effects=True), second)
    assert "two ways to group" in refusal(store, Question(effects=True, by=("num_heads",)), second)
    assert "runs of several sweeps" in refusal(store, Question(effects=True))
    submit_sweep(store, GRID, seeds=[100])
    assert "no run has a number" in refusal(store, Question(), RunFilter(sweep_ids=(3,)))


LENGTHS = [{"depth": depth, "lr_mult": lr} for depth in (2, 3) for lr in (0.5, 1.0, 2.0)]


def tuned_loss(claim: Claim) -> float:
    """Depth 3 is better at its own best, which is another one."""
    depth, lr = claim.run.settings["depth"], claim.run.settings["lr_mult"]
    best = {2: 1.0, 3: 0.5}[depth]
    if (depth, lr) == (3, 2.0):
        return math.nan
    return 3.8 - 0.3 * (depth == 3) + 0.1 * abs(math.log2(lr / best)) + noise(claim)


def test_each_group_at_its_own_best(store: Store) -> None:
    grid(store, tuned_loss, arms=LENGTHS, seeds=8)
    found = compare(store, EVERYTHING, Question(tune="lr_mult"))
    shallow, deep = found.tuned
    assert (shallow.label, shallow.value, shallow.verdict) == ("depth 2", 1.0, None)
    assert (deep.value, deep.verdict, deep.unusable, deep.seeds) == (0.5, Verdict.BETTER, [2.0], 8)
    assert "Some lr_mult of it beats every lr_mult of depth 2." in text_of(found)
    assert tables(found)[-1].rows[1][4] == "2"
    assert "asks a separate question" in refusal(store, Question(tune="lr_mult", margin=0.1))
    other = compare(store, EVERYTHING, Question(tune="lr_mult", baseline=read_baseline(["depth=3"])))
    assert other.tuned[0].verdict is Verdict.WORSE
    assert any("chosen by these seeds" in table.title for table in tables(found))
    recorded(found, lambda: nullcontext(store), pytest.fail)
    assert compare(store, EVERYTHING, Question(tune="lr_mult")).is_recorded


@pytest.mark.parametrize("goal", [Goal.LOWER, Goal.HIGHER])
@pytest.mark.parametrize(("diverged", "verdict"), [(0, Verdict.BETTER), (1, Verdict.UNDECIDED)])
def test_a_value_that_diverged_more_often_is_not_the_best_one(
    store: Store, goal: Goal, diverged: int, verdict: Verdict
) -> None:
    """At lr_mult 2 depth 3 has its best mean, over the one seed that came through."""

    def loss_of(claim: Claim) -> float:
        depth, lr = claim.run.settings["depth"], claim.run.settings["lr_mult"]
        if depth == 3 and claim.run.run_num <= {1.0: diverged, 2.0: 7}[lr]:
            return math.nan
        loss = 3.8 - 0.3 * lr * (depth == 3) + noise(claim)
        return loss if goal is Goal.LOWER else -loss

    grid(store, loss_of, arms=[arm for arm in LENGTHS if arm["lr_mult"] > 0.5], seeds=8)
    _, deep = compare(store, EVERYTHING, Question(tune="lr_mult", goal=goal)).tuned
    assert (deep.value, deep.seeds, deep.verdict) == (1.0, 8 - diverged, verdict)


@pytest.mark.parametrize(
    ("tune", "seeds", "said"),
    [
        ("depth", 2, "--tune depth: these runs have one value of it | Sweep several values of depth"),
        ("lr_mult", 1, "--tune lr_mult: there is one seed (100), and a choice by one seed is luck"),
        ("lr_mult", 2, "--tune lr_mult: there is one group"),
        ("lr_mlt", 2, "Did you mean 'lr_mult'?"),
    ],
)
def test_what_tuning_needs(store: Store, tune: str, seeds: int, said: str) -> None:
    grid(store, tuned_loss, arms=LENGTHS[:3], seeds=seeds)
    assert said in refusal(store, Question(tune=tune))


def two_arms(store: Store, difference: float, *, seeds: int = 8, spread: float = 1.0) -> None:
    submit_sweep(store, GRID[:2], seeds=range(100, 100 + seeds))

    def loss_of(claim: Claim) -> float:
        own = difference + spread * RUN_NOISE[claim.run.run_num % 8] if claim.run.settings["num_heads"] == 2 else 0.0
        return 3.8 + math.sin(claim.run.run_num) + own

    train_all(store, loss_of)


def test_no_difference_that_matters(store: Store) -> None:
    two_arms(store, 0.0)
    found = compare(store, EVERYTHING, Question(margin=0.05))
    assert found.contrasts[0].finding.verdict is Verdict.NO_DIFFERENCE and found.extension is None
    assert "num_heads 2 against num_heads 1: no difference larger than 0.05, over 8 pairs." in text_of(found)
    assert compare(store, EVERYTHING, Question()).contrasts[0].finding.verdict is Verdict.UNDECIDED
    narrow = compare(store, EVERYTHING, Question(margin=0.0005)).contrasts[0].finding
    assert narrow.verdict is Verdict.UNDECIDED and narrow.advice is not None


def test_a_difference_within_the_margin_is_both(store: Store) -> None:
    two_arms(store, 0.03)
    found = compare(store, EVERYTHING, Question(margin=0.1))
    finding = found.contrasts[0].finding
    assert finding.verdict is Verdict.WORSE and finding.is_within_margin
    assert "worse, by less than 0.1 (0.03" in text_of(found)


def test_divergence_forbids_no_difference_too(store: Store) -> None:
    submit_sweep(store, GRID[:2], seeds=range(100, 109))
    train_all(
        store,
        lambda claim: math.nan if claim.run.id == 18 else 3.8 + (claim.run.id % 2) * RUN_NOISE[claim.run.id // 2 % 8],
    )
    found = compare(store, EVERYTHING, Question(margin=0.05))
    assert found.contrasts[0].finding.verdict is Verdict.UNDECIDED
    assert "It looks as if there were none in the 8 pairs" in text_of(found) or "It looks better" in text_of(found)


@pytest.mark.parametrize("margin", ["0", "-0.1", "nan", "inf"])
def test_a_margin_is_above_zero(store: Store, margin: str) -> None:
    two_arms(store, 0.0, seeds=2)
    assert "the margin is a difference above 0" in refusal(store, Question(margin=float(margin)))


def test_identical_arms_ask_what_the_setting_does(store: Store) -> None:
    two_arms(store, 0.0, seeds=6, spread=0.0)
    found = compare(store, EVERYTHING, Question(margin=0.1))
    assert found.contrasts[0].finding.verdict is Verdict.IDENTICAL and found.extension is None
    assert "identical in all 6 pairs: does the setting do anything?" in text_of(found) and "seeds" not in text_of(found)


def test_seeds_won_hold_beside_a_diverged_run(store: Store) -> None:
    submit_sweep(store, GRID[:2], seeds=range(100, 112))
    train_all(
        store,
        lambda claim: (
            math.nan if claim.run.id == 24 else 4.0 - 0.5 * (claim.run.arm_number == 2) + RUN_NOISE[claim.run.id % 8]
        ),
    )
    assert compare(store, EVERYTHING, Question()).contrasts[0].finding.held_back is Verdict.BETTER
    found = compare(store, EVERYTHING, Question(robust=True))
    wins = found.contrasts[0].wins
    assert wins is not None and (wins.won, wins.lost, wins.verdict) == (11, 1, WinVerdict.MORE)
    assert wins.p_value == pytest.approx(13 * 12 / 2**12)
    assert "num_heads 2 against num_heads 1: wins more often (11 of 12 seeds)." in text_of(found)
    assert "better" not in text_of(found) and "by signs" in found.question
    recorded(found, lambda: nullcontext(store), pytest.fail)
    few = compare(store, RunFilter(where={"run_num": [1, 2, 3]}), Question(robust=True))
    assert "undecided by the seeds won (3 of 3 seeds); below 8 no verdict is possible." in text_of(few)
    assert "look 2 at this question" in text_of(few)


def test_best_points_of_different_intervals_are_refused(store: Store) -> None:
    submit_sweep(store, [{"eval_every": 50}, {"eval_every": 100}], seeds=[100, 101])
    train_all(store, lambda claim: 4.0 + claim.run.id)
    said = refusal(store, Question(moment=PointChoice.BEST))
    assert "evaluated at different intervals (eval_every 50, 100)" in said and "--where eval_every=50" in said
    assert len(compare(store, EVERYTHING, Question()).contrasts) == 1


def test_a_metric_that_some_arms_lack(store: Store) -> None:
    submit_sweep(store, GRID[:3], seeds=[100, 101])
    worker = register(store)
    while (claim := store.claim(worker)) is not None:
        extra = {"sharpness": float(claim.run.id)} if claim.run.arm_number != 2 else {}
        points = [sample_point(Split.VAL, 10, loss=4.0, extra=extra)]
        store.flush(claim.lease, points=points, facts=sample_facts())
        store.finish(claim.lease, Ending(reason=Reason.FINISHED))
    found = compare(store, EVERYTHING, Question(metric="val_sharpness"))
    depth, heads = found.main_effects
    assert len(depth.pairs.differences) == 2 and len(heads.pairs.differences) == 0
    assert "(depth 2, num_heads 2: has no val_sharpness)" in text_of(found)


def test_groups_of_different_arms_are_matched_and_it_is_said(store: Store) -> None:
    def loss_of(claim: Claim) -> float:
        return 3.25 + (claim.run.settings["num_heads"] == 2) + noise(claim)

    grid(store, loss_of, arms=GRID[:3])
    found = compare(store, EVERYTHING, Question(by=("depth",)))
    assert abs(found.contrasts[0].finding.difference.summary.mean or 1.0) < 0.02
    assert "the groups do not hold the same arms" in text_of(found)


def test_noise_that_may_mislead_is_warned_of(store: Store) -> None:
    submit_sweep(store, GRID[:2], seeds=range(100, 110))
    train_all(store, lambda claim: 4.0 + RUN_NOISE[claim.run.id % 7] + 3.0 * (claim.run.id == 20))
    text = text_of(compare(store, EVERYTHING, Question()))
    assert "one pair lies more than 8 deviations from the others (num_heads 2)" in text and "--robust" in text
    assert "--robust" not in text_of(compare(store, EVERYTHING, Question(robust=True)))


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Three depths and six seeds: depth 3 is better for certain, depth 4 is not told apart."""
    path = str(tmp_path / "hlbq.db")
    with open_store(path, mode=OpenMode.CREATE) as store:
        submit_sweep(store, [{"depth": depth} for depth in (2, 3, 4)], seeds=range(100, 106))
        effects = loss_by({("depth", 3): -0.2, ("depth", 4): 0.012})
        train_all(store, effects)
    return path


def test_undecided_arms_alone_get_more_seeds(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["compare", "--db", database]) == 0
    shown = capsys.readouterr().out
    assert "depth 3 against depth 2: better" in shown and "next: hlbq extend 1 --undecided --num_runs " in shown
    assert run_program(["extend", "1", "--db", database, "--undecided", "--num_runs", "8"]) == 0
    assert "4 runs added" in capsys.readouterr().out
    with open_store(database, mode=OpenMode.READ) as store:
        counts = [sum(run.settings["depth"] == depth for run in store.runs(EVERYTHING)) for depth in (2, 3, 4)]
    assert counts == [8, 6, 8]


def test_what_undecided_refuses(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["extend", "1", "--db", database, "--undecided"]) == 2
    assert "--undecided --num_runs 10" in capsys.readouterr().err
    assert run_program(["extend", "1", "--db", database, "--undecided", "--num_runs", "8", "--depth", "5"]) == 2
    with open_store(database, mode=OpenMode.WRITE) as store:
        submit_sweep(store, GRID[:1], seeds=range(100, 102))
        train_all(store, lambda claim: 3.8)
    assert run_program(["extend", "2", "--db", database, "--undecided", "--num_runs", "8"]) == 2
    assert "none of its arms has a baseline" in capsys.readouterr().err


def test_the_command_takes_all_of_it(database: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_program(["compare", "--db", database, "--margin", "0.5", "--json"]) == 0
    assert '"no difference"' in capsys.readouterr().out
    assert run_program(["compare", "--db", database, "--margin", "nan"]) == 2
    assert run_program(["compare", "--db", database, "--robust", "--markdown"]) == 0
    assert "seeds won" in capsys.readouterr().out
    assert run_program(["compare", "--db", database, "--effects"]) == 2
    assert "differ in depth alone" in capsys.readouterr().err
