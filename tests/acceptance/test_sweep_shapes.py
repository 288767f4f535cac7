"""Sweeps of other shapes, sweep files and `orchestrator.submit`: from what is typed to the rows in the database."""

import inspect
import json
import math
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

import orchestrator
from hlbgpt_core.errors import HlbqError
from orchestrator.queue.runs import RunFilter, RunRecord
from orchestrator.queue.sweeps import SweepRecord
from orchestrator.store import OpenMode, open_store
from orchestrator.sweep.sweep_options import option_specs
from tests.command_line import Hlbq, hlbq_in
from tests.sample_sweep import register, sample_facts
from tests.store_examples import Reason, ending

ROOT = Path(__file__).parents[2]


@pytest.fixture
def hlbq(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Hlbq:
    """Run `hlbq` in an empty folder with an empty cache, within this process, its stdin no terminal."""
    monkeypatch.setenv("HLBQ_CACHE", str(tmp_path / "cache"))
    return hlbq_in(tmp_path, monkeypatch, capsys)


def runs_of(sweep: int) -> list[RunRecord]:
    """The runs of a sweep as stored."""
    with open_store("hlbq.db", mode=OpenMode.READ) as store:
        return list(store.runs(RunFilter(sweep_ids=(sweep,))))


def complete_all(data: str = "f00d") -> None:
    """Have a worker complete every run with the code of now."""
    from hlbgpt_core.code_digest import core_digest

    with open_store("hlbq.db", mode=OpenMode.WRITE) as store:
        worker = register(store)
        while (claim := store.claim(worker)) is not None:
            facts = sample_facts(data_fingerprint=data, provenance={"core_digest": core_digest()})
            store.flush(claim.lease, points=(), facts=facts)
            store.finish(claim.lease, ending(Reason.FINISHED))


SHAPES = {
    "--depth 4 8 --width 192 384 --zip depth width --num_heads 1 3": (4, "zip: depth and width are paired"),
    "--depth 4 8 --width 192 384 --num_heads 1 3 6 --where 'width / num_heads >= 64'": (10, "where: width / num_heads"),
    "--depth 4 8 --width 192 384 --num_heads 1 3 --one-at-a-time": (4, "one at a time"),
    "--lr_mult 1e-1..1e1 --num_heads 1 3 --random 7": (7, "random: 7 draws (random seed 0)"),
    "--lr_mult 1 2 4 --num_heads 1 3 --random 100": (6, "random: 100 draws"),
    "--depth 4 8 --width 192 384 --zip depth,width --lr_mult 1..4 --random 5 --random_seed 9": (5, "random seed 9"),
}


@pytest.mark.parametrize("line", SHAPES)
def test_a_shape_is_shown_stored_and_made_again_from_its_file(hlbq: Hlbq, line: str) -> None:
    arms, words = SHAPES[line]
    dry = hlbq(f"submit {line} --num_runs 2 --dry-run")
    assert (dry.code, words in dry.out, f"{arms} arms x 2 seeds" in dry.out) == (0, True, True), dry.out
    done = hlbq(f"submit {line} --num_runs 2 --name shaped --priority 3 --checkpoint_every 7.5 -c")
    assert done.out.startswith(f"sweep 1: {2 * arms} runs: {arms} arms"), done.err
    assert words in hlbq("show --sweep 1").out
    toml = hlbq("show --sweep 1 --toml").out
    Path("again.toml").write_text(toml, encoding="utf-8")
    assert hlbq("submit again.toml").code == 0
    first, second = runs_of(1), runs_of(2)
    assert [(run.arm_key, run.seed) for run in first] == [(run.arm_key, run.seed) for run in second]
    assert (first[0].bookkeeping, first[0].priority) == (second[0].bookkeeping, second[0].priority)
    assert hlbq("show --sweep 2 --toml").out == toml


def test_a_sweep_with_a_policy_that_was_extended_is_made_again_from_its_file(hlbq: Hlbq) -> None:
    assert hlbq("submit --depth 4 8 --width 128 --decide --max_seeds 4").code == 0
    assert hlbq("extend 1 --num_runs 6").code == 0
    Path("again.toml").write_text(hlbq("show --sweep 1 --toml").out, encoding="utf-8")
    again = hlbq("submit again.toml")
    assert again.code == 0 and "6 runs: 2 arms" in again.out, again.err


def test_extend_says_what_becomes_of_each_value(hlbq: Hlbq) -> None:
    """It said that no run was added, and not why."""
    hlbq("submit --depth 2 3 --width 128 --num_heads 2")
    rounded = hlbq("extend 1 --width 100 190")
    assert "width 100 becomes 128" in rounded.err and "2 runs added (2 new arms)" in rounded.out
    refused = hlbq("extend 1 --num_heads 7")
    assert "num_heads 7 does not divide width 128" in refused.err and "0 runs added" in refused.out
    with pytest.warns(UserWarning, match="num_heads 5 does not divide width 192"):
        orchestrator.extend(1, {"num_heads": 5})


def test_more_runs_than_a_sweep_holds_are_refused_by_extend_too(hlbq: Hlbq) -> None:
    """It began to write them all: a zero too many filled the disk."""
    hlbq("submit --depth 2 3 --width 128")
    for added in ("--num_runs 2500001", "--num_runs 1700000 --depth 4"):
        refused = hlbq(f"extend 1 {added} --dry-run")
        assert refused.code == 2 and "and a sweep holds at most 5,000,000" in refused.err


def test_seeds_past_the_last_one_are_refused_by_extend_too(hlbq: Hlbq) -> None:
    assert hlbq(f"submit --depth 4 8 --width 128 --seed {2**63 - 1}").code == 0
    refused = hlbq("extend 1 --num_runs 2")
    assert refused.code == 2 and "is out of range" in refused.err


def test_every_option_survives_the_file(hlbq: Hlbq) -> None:
    line = (
        "submit --max_epochs 2 --dataset pystdlib --tokenizer bytes --linear_value 0 1 --seed 7 --num_runs 2 "
        "--note 'two\nlines \"quoted\" é' -cw --logfile my.csv --append --wandb_project p --keep_checkpoints "
        "--stall_timeout 33 --max_attempts 4"
    )
    assert hlbq(line).code == 0
    Path("again.toml").write_text(hlbq("show --sweep 1 --toml").out, encoding="utf-8")
    assert hlbq("submit again.toml").code == 0
    with open_store("hlbq.db", mode=OpenMode.READ) as store:
        first, second = store.sweeps()
    for name in ("note", "csv", "wandb_project", "definition"):
        assert getattr(first, name) == getattr(second, name), name
    assert [run.bookkeeping for run in runs_of(1)] == [run.bookkeeping for run in runs_of(2)]


def test_the_command_line_goes_before_the_file(hlbq: Hlbq) -> None:
    Path("sweep.toml").write_text(
        "[settings]\nnum_heads = [1, 3, 6]\nmax_epochs = 2\n"
        "[sweep]\nnum_runs = 4\nlog_csv = true\none_at_a_time = true\n"
    )
    lines = ("sweep.toml --num-heads 1 3 --num_runs 2", "--num_runs 2 --num_heads 1 3 sweep.toml")
    for number, line in enumerate(lines, start=1):
        done = hlbq(f"submit {line} --log_csv=false")
        assert done.out.startswith(f"sweep {number}: 4 runs: 2 arms, seeds 100 to 101"), done.err
    with open_store("hlbq.db", mode=OpenMode.READ) as store:
        sweep = store.sweep(1)
    assert sweep is not None
    assert sweep.csv is None
    assert sweep.definition["shape"] == {"one_at_a_time": True}
    assert {run.settings["max_epochs"] for run in runs_of(1)} == {2.0}


BAD_LINES = {
    "--depth 4 8 --width 64 --zip depth width": ("depth has 2 values and width has 1",),
    "--depth 4 8 --zip depth widht": ("widht", "Did you mean 'width'?"),
    "--zip depth width": ("no values of depth", "--depth VALUES"),
    "--where 'widht > 3'": ("no setting 'widht'", "'width'"),
    "--where depth=4": ("not an expression", '--where "depth == 8"'),
    "--where '__import__(\"os\").getcwd() > 3'": ("calls can't be used",),
    "--where 'width.real > 3'": ("attributes",),
    "--where '9**9**9 > 3'": ("too large",),
    "--where width": ("gives 384, not true or false",),
    "--where " + "9" * 5000: ("too many",),
    "--num_heads 1 3 --where 'num_heads > 3'": ("no combination", "is not true"),
    "--lr_mult 1e-4..1e-1": ("is a range", "--random N"),
    "--lr_mult 0..1 --random 3": ("too small",),
    "--random 0": ("0 is too small",),
    "--random x": ("'x' is not a whole number",),
    "--random 3 --one_at_a_time": ("given together",),
    "missing.toml": ("there is no sweep file 'missing.toml'",),
    "unknown.toml": ("unknown.toml", "no setting 'dept'", "'depth'"),
    "option.toml": ("option.toml", "no option 'num_run'", "'num_runs'"),
    "type.toml": ("type.toml", "num_runs: 'many' is not a whole number"),
    "value.toml": ("value.toml", "depth: 'four' is not a number"),
    "small.toml": ("small.toml", "--num_runs: 0 is too small"),
    "latin.toml": ("latin.toml", "is not UTF-8", "offset"),
    "type.toml unknown.toml": ("'unknown.toml' is one argument too many",),
    "--name a.toml b": ("there is no sweep file 'b'",),
    "--preset huge": ("there is no preset 'huge'", "Use one of: tiny-cpu."),
    "--preset tiny-cpu value.toml": ("--preset tiny-cpu was given with the sweep file 'value.toml'", "> mine.toml"),
}
FILES = {
    "unknown.toml": b"[settings]\ndept = 4\n",
    "option.toml": b"[sweep]\nnum_run = 4\n",
    "type.toml": b'[sweep]\nnum_runs = "many"\n',
    "value.toml": b'[settings]\ndepth = "four"\nwidth = 64\n',
    "small.toml": b"[sweep]\nnum_runs = 0\n",
    "latin.toml": b'[sweep]\nname = "caf\xe9"\n',
}


@pytest.mark.parametrize("line", BAD_LINES, ids=lambda line: line[:40])
def test_bad_input_is_refused_and_nothing_is_written(hlbq: Hlbq, tmp_path: Path, line: str) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    done = hlbq(f"submit {line}")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("error: ")
    for words in BAD_LINES[line]:
        assert words in done.err
    assert "Traceback" not in done.err
    assert not (tmp_path / "hlbq.db").exists()


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("statu", "Did you mean 'hlbq status'?"),
        ("frobnicate", "hlbq --help"),
        ("db inf", "Did you mean 'hlbq db info'?"),
        ("status extra", "'extra' is one argument too many"),
        ("compare 3", "'3' is one argument too many\nDid you mean --sweep 3 or --run 3?"),
        ("worker 3", "Did you mean --sweep 3?"),
        ("status --where depth>1", "Write --where depth=VALUE."),
        ("status --where depth>=2", "--where depth>=2: chooses runs by a value, not by an expression"),
        ("status --where depth==2", "Write --where depth=VALUE."),
        ("extend", "sweep"),
        ("--versio", "--versio"),
        ("show 1 --toml", "--sweep 3 --toml"),
    ],
)
def test_every_mistake_is_one_error_line(hlbq: Hlbq, line: str, words: str) -> None:
    done = hlbq(line)
    assert done.code == 2
    assert done.err.startswith("error: ")
    assert words in done.err
    assert "─" not in done.err


def test_a_setting_that_the_recipe_does_not_use_leaves_the_arm_out(hlbq: Hlbq) -> None:
    done = hlbq("submit --recipe 0.3.0 0.4.1 --linear_value 0 1")
    assert done.out.startswith("sweep 1: 2 runs: 2 arms, seed 100; 2 combinations left out")
    assert "linear_value is not a setting of recipe 0.3.0 (2 times)" in done.err
    assert [(run.settings["recipe"], run.settings["linear_value"]) for run in runs_of(1)] == [
        ("0.4.1", False), ("0.4.1", True)
    ]  # fmt: skip


def test_recipe_defaults_are_resolved_and_stored_with_each_run(hlbq: Hlbq) -> None:
    assert hlbq("submit --recipe 0.4.1 0.3.0").code == 0
    wanted = ("num_heads", "max_sequence_length", "sequence_growth_steps", "weight_decay", "num_eval_tokens", "depth")
    assert [tuple(run.settings[name] for name in wanted) for run in runs_of(1)] == [
        (1, 1024, 80, 16.0, 153_600, 8), (3, 512, 195, 0.03, 1_048_576, 6)
    ]  # fmt: skip
    # 0.4.1 splits its query-key width of 48 too; 0.3.0 splits the width alone.
    done = hlbq("submit --recipe 0.4.1 0.3.0 --num_heads 32")
    assert "query-key width 48" in done.err
    assert [run.settings["recipe"] for run in runs_of(2)] == ["0.3.0"]


def test_submit_says_what_exists_and_skips_it_when_asked(hlbq: Hlbq) -> None:
    assert "completed before" not in hlbq("submit --num_heads 1 3").err
    assert "completed before" not in hlbq("submit --num_heads 1 3").err, "queued runs do not exist yet"
    complete_all()
    told = hlbq("submit --num_heads 1 3 6 --num_runs 2 --dry-run")
    assert "2 runs completed before with the same data and code: add --skip_existing to leave them out" in told.err
    assert "2 of them were compared by the dataset's name only" in told.err
    done = hlbq("submit --num_heads 1 3 6 --num_runs 2 --skip_existing")
    assert done.out.startswith("sweep 3: 4 runs: 3 arms, seeds 100 to 101; 2 existing runs left out")
    assert [(run.settings["num_heads"], run.seed) for run in runs_of(3)] == [(6, 100), (1, 101), (3, 101), (6, 101)]


def test_nothing_is_submitted_where_everything_exists(hlbq: Hlbq) -> None:
    hlbq("submit")
    complete_all()
    done = hlbq("submit --skip-existing")
    assert (done.code, done.out) == (0, "")
    assert "Nothing was submitted: every run exists already." in done.err
    answer = json.loads(hlbq("submit --skip_existing --json").out)
    assert (answer["sweep"], answer["runs"], answer["skipped"], answer["existing_unchecked"]) == (None, 0, 1, 1)
    with open_store("hlbq.db", mode=OpenMode.READ) as store:
        assert len(store.sweeps()) == 1


def test_a_text_is_compared_by_its_fingerprint_where_its_tokens_are_cached(hlbq: Hlbq) -> None:
    from hlbgpt_core.text.data import load_data

    text = Path("my.txt")
    text.write_text("plain words\n" * 3000)
    line = "submit --dataset text:my.txt --tokenizer bytes --skip_existing"
    assert hlbq(line).code == 0
    complete_all(data=load_data(f"text:{text.absolute()}", "bytes").fingerprint)
    done = hlbq(line)
    assert "Nothing was submitted" in done.err
    assert "name only" not in done.err
    os.utime(text, (1, 1))
    assert "Nothing was submitted" in hlbq(line).err, "the same text with another date"
    text.write_text("other words\n" * 3000)
    done = hlbq(line)
    assert done.out.startswith("sweep 2: 1 run:")
    assert "1 run completed before with other data: this does not count" in done.err


@pytest.mark.parametrize(
    ("submitted", "extended", "arms"),
    [
        ("--num_heads 1 3", ["--lr_mult 1.31", "--num_heads 6"], 6),
        ("--num_heads 1 3 --one_at_a_time", ["--lr_mult 1.31", "--num_heads 6"], 4),
        ("--num_heads 1 3 --depth 4 8 --width 192 384 --zip depth width", ["--lr_mult 1.31"], 8),
        ("--model_scale 0.5", ["--depth 4 --width 192"], 4),
        ("", ["--depth 4"], 2),
    ],
)
def test_values_of_a_setting_that_was_none_of_the_sweeps_join_the_one_that_it_had(
    hlbq: Hlbq, submitted: str, extended: Sequence[str], arms: int
) -> None:
    hlbq(f"submit --tokenizer bytes {submitted}")
    for more in extended:
        assert hlbq(f"extend 1 {more}").code == 0
    keys = {run.arm_key for run in runs_of(1)}
    assert len(keys) == arms
    Path("again.toml").write_text(hlbq("show --sweep 1 --toml").out)
    assert hlbq("submit again.toml").code == 0
    assert {run.arm_key for run in runs_of(2)} == keys


def test_a_setting_that_differs_by_another_one_is_no_axis_afterwards(hlbq: Hlbq) -> None:
    hlbq("submit --model_scale 0.5 1")
    refused = hlbq("extend 1 --depth 4 --width 192")
    assert refused.code == 2 and "depth follows from other settings in sweep 1: 5, 8" in refused.err


def test_extend_keeps_the_shape(hlbq: Hlbq) -> None:
    assert hlbq("submit --depth 4 8 --width 192 384 --zip depth width --where 'width < 700'").code == 0
    refused = hlbq("extend 1 --depth 16")
    assert (refused.code, "depth has 3 values and width has 2" in refused.err) == (2, True)
    assert hlbq("extend 1 --depth 16 --width 576").out == "sweep 1: 1 run added (1 new arm)\n"
    assert hlbq("extend 1 --depth 32 --width 768").out == "sweep 1: 0 runs added (0 new arms)\n"
    hlbq("extend 1 --num_runs 2")
    Path("again.toml").write_text(hlbq("show --sweep 1 --toml").out)
    hlbq("submit again.toml")
    assert {(run.arm_key, run.seed) for run in runs_of(1)} == {(run.arm_key, run.seed) for run in runs_of(2)}


def test_a_drawn_sweep_takes_more_seeds_and_no_more_values(hlbq: Hlbq) -> None:
    hlbq("submit --lr_mult 1..4 --random 3")
    assert "drawn at random" in hlbq("extend 1 --lr_mult 5").err
    assert hlbq("extend 1 --num_runs 2").out == "sweep 1: 3 runs added (0 new arms)\n"


def test_the_examples_of_the_pages_on_sweeps_and_python(hlbq: Hlbq, capsys: pytest.CaptureFixture[str]) -> None:
    section = (ROOT / "docs" / "python.md").read_text(encoding="utf-8").partition("## Submit a sweep")[2]
    exec(compile(re.findall(r"```python\n(.*?)```", section, re.DOTALL)[0], "python.md", "exec"), {})
    assert capsys.readouterr().out.startswith("1 6\n")
    assert {(run.settings["depth"], run.settings["num_heads"], run.seed) for run in runs_of(1)} == {
        (depth, heads, seed) for depth, heads in ((2, 1), (4, 1), (4, 2)) for seed in (100, 101)
    }
    page = (ROOT / "docs" / "scripting.md").read_text(encoding="utf-8")
    (toml,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    Path("sweep.toml").write_text(toml, encoding="utf-8")
    assert hlbq("submit sweep.toml").out.startswith("sweep 2: 36 runs: 12 arms")
    for line in re.findall(r"^hlbq (submit --.*)$", page, re.MULTILINE):
        assert hlbq(line).code == 0, line


def test_the_call_makes_the_same_sweep_as_the_command(hlbq: Hlbq) -> None:
    hlbq("submit --depth 4 8 --width 192 384 --zip depth width --lr_mult 1..4 --random 3 --num_runs 2 --priority 2")
    sweep = orchestrator.submit(
        {"depth": [4, 8], "width": [192, 384], "lr_mult": "1..4"},
        zip=[("depth", "width")],
        random=3,
        num_runs=2,
        priority=2,
    )
    assert [(run.arm_key, run.seed) for run in runs_of(1)] == [(run.arm_key, run.seed) for run in runs_of(sweep.id)]
    assert [run.priority for run in runs_of(sweep.id)] == [2] * 6
    assert hlbq(f"show --sweep {sweep.id} --toml").out == hlbq("show --sweep 1 --toml").out


OPTIONS = {
    "name": "named",
    "note": "a note",
    "log_csv": True,
    "logfile": "my.csv",
    "append": True,
    "log_wandb": True,
    "wandb_project": "p",
    "checkpoint_every": 5.0,
    "keep_checkpoints": True,
    "keep_best": True,
    "stall_timeout": 33.0,
    "max_attempts": 4,
    "skip_existing": True,
    "seed": 7,
}


def test_the_call_takes_every_option_of_the_command(hlbq: Hlbq) -> None:
    typed = " ".join(
        f"--{name}" if value is True else f"--{name} {shlex.quote(str(value))}" for name, value in OPTIONS.items()
    )
    assert hlbq(f"submit {typed}").code == 0
    called = orchestrator.submit({}, **OPTIONS)
    with open_store("hlbq.db", mode=OpenMode.READ) as store:
        first, second = store.sweeps()
    assert called == second
    for name in ("name", "note", "csv", "wandb_project", "definition"):
        assert getattr(first, name) == getattr(second, name), name
    assert [(run.bookkeeping, run.seed) for run in runs_of(1)] == [(run.bookkeeping, run.seed) for run in runs_of(2)]


def test_the_call_shows_the_arguments_it_takes() -> None:
    shown = inspect.signature(orchestrator.submit)
    assert next(iter(shown.parameters)) == "settings"
    assert {"db", "preset", "notify"} < set(shown.parameters)
    for spec in option_specs().values():
        assert shown.parameters[spec.name].default == spec.default, spec.name
    assert shown.return_annotation is SweepRecord


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"num_run": 3}, "there is no option 'num_run'\nDid you mean 'num_runs'?"),
        ({"depth": 4}, "'depth' is a setting\nPut it in the settings"),
        ({"num_runs": "many"}, "num_runs: 'many' is not a whole number"),
        ({"num_runs": 0}, "num_runs: 0 is too small"),
        ({"max_attempts": 2**63}, "Use a value below 2**63."),
        ({"checkpoint_every": math.inf}, "checkpoint_every: 'inf' is not a finite number"),
        ({"stall_timeout": math.nan}, "stall_timeout: 'nan' is not a finite number"),
        ({"log_csv": 1}, "log_csv: '1' is not true or false"),
        ({"name": 5}, "name: '5' is not text"),
        ({"zip": ["depth", "width"]}, 'Write [["depth", "width"]].'),
        ({"log_csv": True, "logfile": "missing/my.csv"}, "Make it first: mkdir -p"),
        ({"note": "\ud800"}, "is not UTF-8"),
        ({"preset": "tiny-cup"}, "Did you mean 'tiny-cpu'?"),
    ],
)
def test_the_call_refuses_what_is_no_option(hlbq: Hlbq, tmp_path: Path, options: dict[str, Any], words: str) -> None:
    with pytest.raises(HlbqError) as caught:
        orchestrator.submit({}, **options)
    assert words in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_the_call_takes_one_text_as_a_list_and_warns_of_options_without_effect(hlbq: Hlbq) -> None:
    with pytest.warns(UserWarning, match="--logfile and --append have no effect"):
        sweep = orchestrator.submit({"num_heads": [1, 3]}, where="num_heads > 1", append=True, random=None)
    assert [run.settings["num_heads"] for run in runs_of(sweep.id)] == [3]


def test_a_preset_is_a_sweep_file_that_can_be_printed_and_edited(hlbq: Hlbq) -> None:
    listed = hlbq("preset").out
    assert re.search(r"^tiny-cpu  \w", listed, re.MULTILINE)
    printed = hlbq("preset tiny-cpu")
    Path("mine.toml").write_text(printed.out, encoding="utf-8")
    for line in ("mine.toml", "--preset tiny-cpu", "--num_heads 1 2 --preset=tiny-cpu --num-runs 2"):
        done = hlbq(f"submit {line} --width 192")
        assert done.code == 0, done.err
    orchestrator.submit({"width": 192, "num_heads": [1, 2]}, preset="tiny-cpu", num_runs=2)
    keys = [[(run.arm_key, run.seed) for run in runs_of(sweep)] for sweep in (1, 2, 3, 4)]
    assert (keys[0], keys[2]) == (keys[1], keys[3])
    assert {(run.settings["width"], run.settings["max_steps"], run.seed) for run in runs_of(3)} == {
        (192, 200, 100), (192, 200, 101)
    }  # fmt: skip
    refused = hlbq("preset tiny")
    assert (refused.code, refused.out) == (2, "") and "Use one of: tiny-cpu" in refused.err


def test_the_call_warns_of_what_is_left_out_and_raises_what_is_refused(hlbq: Hlbq) -> None:
    with pytest.warns(UserWarning, match="num_heads 5 does not divide"):
        orchestrator.submit({"num_heads": [1, 5]})
    for settings in ({"dept": 4}, {"num_heads": 0}, {"depth": 4}, {"dataset": "text:missing.txt"}, {"lr_mult": "1..2"}):
        with pytest.raises(HlbqError):
            orchestrator.submit(settings)
    complete_all()
    with pytest.raises(HlbqError, match="every run exists"):
        orchestrator.submit({"num_heads": 1}, skip_existing=True)
    with open_store("hlbq.db", mode=OpenMode.READ) as store:
        assert len(store.sweeps()) == 1
