"""What is said before anything is trained, and small things of the commands around a sweep."""

import json
from pathlib import Path

import pytest

from hlbgpt_core.code_digest import core_digest
from hlbgpt_core.points import Split
from orchestrator.queue.attempts import Claim, Ending
from orchestrator.queue.states import Reason
from orchestrator.store import OpenMode, open_store
from tests.command_line import Hlbq, hlbq_in
from tests.sample_sweep import register, sample_facts, sample_point

TINY = "--depth 2 --width 64 --tokenizer bytes --dataset pystdlib"


@pytest.fixture
def hlbq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hlbq:
    """Run `hlbq` in an empty folder with an empty cache, within this process, its stdin no terminal."""
    monkeypatch.setenv("HLBQ_CACHE", str(tmp_path / "cache"))
    return hlbq_in(tmp_path, monkeypatch, capsys)


def loss_of(claim: Claim) -> float:
    """What seeds have in common, and a little noise of the arm."""
    return 3.0 + claim.run.seed % 7 + 0.001 * (claim.run.id * 7 % 5)


def complete_all() -> None:
    """Complete every run with a val loss."""
    with open_store("hlbq.db", mode=OpenMode.WRITE) as store:
        worker = register(store)
        facts = sample_facts(provenance={"core_digest": core_digest()})
        while (claim := store.claim(worker)) is not None:
            points = [sample_point(Split.VAL, 10, loss=loss_of(claim))]
            store.flush(claim.lease, points=points, facts=facts)
            store.finish(claim.lease, Ending(reason=Reason.FINISHED))


@pytest.mark.parametrize("stop", ["", "--dry-run"])
def test_too_few_seeds_for_any_verdict_are_named(hlbq: Hlbq, stop: str) -> None:
    assert "2 seeds: no verdict is possible below 4" in hlbq(f"submit --num_heads 1 3 --num_runs 2 {stop}").err
    assert "1 seed: no verdict is possible below 5" in hlbq(f"submit --num_heads 1 2 3 4 6 8 {stop}").err
    for line in ("--num_heads 1 3 --num_runs 4", "--num_heads 1", "--lr_mult 1..2 --random 2"):
        assert "verdict" not in hlbq(f"submit {line} {stop}").err


def test_the_seeds_for_an_effect_follow_from_the_noise_given(hlbq: Hlbq) -> None:
    line = "submit --num_heads 1 3 --num_runs 4 --dry-run"
    done = hlbq(f"{line} --plan_for 0.01 --noise 0.004")
    assert "an effect of 0.01 needs 6 seeds for a verdict in 4 of 5 cases (noise 0.004;" in done.err
    found = json.loads(hlbq(f"{line} --plan_for 0.01 --noise 0.004 --json").out)
    assert (found["fewest_seeds"], found["needed_seeds"], found["noise"]) == (4, 6, 0.004)
    # A policy with a cap needs less evidence, and has fewer seeds.
    decided = hlbq("submit --num_heads 1 3 --dry-run --plan_for 0.01 --noise 0.004 --decide").err
    assert "an effect of 0.01 needs 5 seeds" in decided and "no verdict is possible" not in decided
    alone = hlbq("submit --num_heads 1 --dry-run --plan_for 0.01 --noise 0.004").err
    assert "warning: --plan_for has no effect: the sweep has no arms to compare" in alone
    assert "needs more than 20 seeds" in hlbq(f"{line} --plan_for 0.002 --noise 0.004 --decide").err
    assert "needs more than 1,000 seeds" in hlbq(f"{line} --plan_for 0.00001 --noise 0.004").err
    assert "--noise has no effect without --plan_for" in hlbq(f"{line} --noise 0.004").err


def test_noise_is_learned_from_earlier_runs_of_like_arms(hlbq: Hlbq) -> None:
    line = f"submit {TINY} --max_tokens 1e6 --plan_for 0.01 --dry-run"
    refused = hlbq(f"{line} --num_heads 1 2")
    assert refused.code == 2 and "no earlier runs of similar arms" in refused.err and "--noise 0.004" in refused.err
    hlbq(f"submit {TINY} --num_heads 1 2 --num_runs 5 --max_tokens 1e6")
    complete_all()
    assert "at most, estimated from earlier runs" in hlbq(f"{line} --num_heads 2 4").err
    assert hlbq(f"{line} --num_heads 2 4 --max_epochs 3").code == 2  # no like arms


@pytest.mark.parametrize("value", ["0", "-0.01", "nan"])
def test_an_effect_or_noise_that_is_no_size_is_refused(hlbq: Hlbq, value: str) -> None:
    for option in (f"--plan_for={value} --noise 0.1", f"--plan_for 0.1 --noise={value}"):
        done = hlbq(f"submit --num_heads 1 3 {option}")
        assert done.code == 2 and ("not a size" in done.err or "not a finite number" in done.err)
    assert not Path("hlbq.db").exists()


def test_tokens_of_prepared_data_are_known(hlbq: Hlbq) -> None:
    from hlbgpt_core.text.data import load_data

    Path("text.txt").write_text("some words of a text. " * 3000)
    lengths = "--max_sequence_length 32 --initial_sequence_length 32 --num_eval_tokens 64"
    line = f"submit --depth 2 --width 64 --tokenizer bytes --dataset text:text.txt {lengths} --max_epochs 2 --dry-run"
    assert "known once a worker has read the data" in hlbq(line).out
    load_data(f"text:{Path('text.txt').absolute()}", "bytes")
    assert "tokens: at most 1" in hlbq(line).out


def test_a_short_time_is_no_zero(hlbq: Hlbq) -> None:
    from orchestrator.cli.review import History, estimated_seconds, seed_lines
    from orchestrator.comparison.planning import Noise, seed_plan
    from orchestrator.sweep.options import axes_of
    from orchestrator.sweep.plan import make_plan

    plan = make_plan(axes_of({"num_heads": [1, 3], "max_tokens": [1000]}))
    fast = History(speeds={plan.arms[0].sizes.num_params: 1e6})
    assert estimated_seconds(plan, fast) == pytest.approx(0.002)
    (_, line) = seed_lines(plan, seed_plan(1, 1.0, Noise(deviation=1.0)), fast)
    assert "at most about 1 s of one device" in line


def test_what_settings_become_and_what_they_are_called_is_said(hlbq: Hlbq) -> None:
    assert "warning: width 60 becomes 64: widths are multiples of 64" in hlbq("submit --depth 2 --width 60").err
    refused = hlbq("submit --learning_rate 0.1")
    assert "learning_rate is not a setting of recipe 0.4.1; use lr_mult" in refused.err


def test_left_out_combinations_show_what_differs(hlbq: Hlbq) -> None:
    out = hlbq("submit --depth 4 --width 384 --max_epochs 2 --num_heads 1 5 --dry-run").out
    row = next(line for line in out.splitlines() if line.startswith("num_heads=5"))
    assert row.split("  ")[0] == "num_heads=5"


def test_extend_can_be_tried(hlbq: Hlbq) -> None:
    hlbq("submit --num_heads 1 3 --num_runs 2")
    done = hlbq("extend 1 --num_runs 5 --num_heads 6 --dry-run")
    assert done.code == 0 and "Without it: 11 runs (1 new arm)" in done.err, done.err
    assert "3 arms x 5 seeds" in done.out
    with open_store("hlbq.db", mode=OpenMode.READ) as store:
        assert sum(store.sweeps()[0].counts.values()) == 4


def test_pause_never_asks(hlbq: Hlbq) -> None:
    hlbq("submit --num_runs 2")
    assert hlbq("pause --sweep 1").out == "2 runs paused\n"
    assert hlbq("unpause --sweep 1").out == "2 runs unpaused\n"


def test_an_export_without_points_writes_no_file(hlbq: Hlbq) -> None:
    hlbq("submit")
    for file in ("results.csv", "results.jsonl"):
        done = hlbq(f"export {file}")
        assert (done.code, Path(file).exists()) == (0, False) and "Nothing was written" in done.err
        assert f"Write pending runs too: hlbq export {file} --all" in done.err
        assert "none of the runs of sweep 1, the latest, has points yet" in done.err
    assert "pending runs" not in hlbq("export points.csv --layout points").err
    assert "none of these runs has points yet" in hlbq("export results.csv --sweep 1").err
    assert hlbq("export all.csv --all").code == 0 and Path("all.csv").exists()


def test_runs_that_exist_are_compared_and_not_changed(hlbq: Hlbq) -> None:
    hlbq(f"submit {TINY} --num_heads 1 --num_runs 4")
    complete_all()
    done = hlbq(f"submit {TINY} --num_heads 1 2 --num_runs 4 --skip_existing")
    assert done.out.startswith("sweep 2: 4 runs"), done.err
    complete_all()
    compared = hlbq("compare")
    assert "(sweep 2, 8 runs, 4 of them of sweep 1)" in compared.out
    assert "num_heads 2 against num_heads 1:" in compared.out
    assert "of sweep 1" in hlbq("show --sweep 2").out
    assert hlbq("cancel --sweep 2 --yes").out == "0 runs cancelled\n"
    assert hlbq("compare --all").out.count("num_heads 2 against") == 0  # several sweeps have no baseline of their own
    dry = hlbq("extend 2 --num_runs 5 --dry-run")
    assert "Without it: 2 runs (0 new arms)" in dry.err


ZIPPED = "--depth 2 4 --width 128 256 --zip depth width --baseline depth=2"


def test_a_baseline_that_names_one_of_zipped_settings_is_the_arm_that_has_it(hlbq: Hlbq) -> None:
    assert "1 arm against the baseline" in hlbq(f"submit {ZIPPED} --dry-run --plan_for 0.01 --noise 0.004").err
    assert hlbq(f"submit {ZIPPED} --num_runs 5").code == 0
    complete_all()
    for asked in ("", "--baseline depth=2", "--baseline depth=2 --by depth"):
        found = hlbq(f"compare {asked} --no_record").out
        assert "depth 4, width 256 against depth 2, width 128" in found or "depth 4 against depth 2" in found
    assert hlbq("decide 1 --baseline depth=2").code == 0
    for asked in ("", "--baseline depth=2"):
        assert "intervals and their p by the sweep's policy" in hlbq(f"compare --sweep 1 {asked} --no_record").out
    assert hlbq(f"submit {ZIPPED} --decide --name grows").code == 0


@pytest.mark.parametrize(
    ("axes", "baseline", "open_arms"),
    [
        ("--depth 2 4 --width 128 256", "depth=2", 2),
        ("--expand_factor 1 2 --num_heads 1 2", "expand_factor=1", 2),
        ("--model_scale 0.5 1 --lr_mult 1 2", "lr_mult=1", 2),
        ("--depth 2 4 8 --width 128", "", 2),
    ],
)
def test_a_baseline_decides_whatever_the_size_of_a_model_follows_from(
    hlbq: Hlbq, axes: str, baseline: str, open_arms: int
) -> None:
    named = f"--baseline {baseline}" if baseline else ""
    assert hlbq(f"submit {axes} --decide {named}").code == 0
    assert f"{open_arms} arms open" in hlbq("decide 1").out
