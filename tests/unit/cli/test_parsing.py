"""Reading the command line: several values an option, in every spelling that people use."""

from dataclasses import dataclass
from typing import Annotated, Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from orchestrator.cli.main import run_program
from orchestrator.cli.option_groups import OptionGroup, grouped, option
from orchestrator.cli.parsing import TOGETHER, VariadicCommand
from orchestrator.errors import UsageError
from orchestrator.queue.states import State


@dataclass(frozen=True, kw_only=True)
class SweepOptions(OptionGroup):
    """Options as `submit` has them: lists of text."""

    depth: tuple[str, ...] = option((), help="", metavar="INT...")
    lr_mult: tuple[str, ...] = option((), help="")
    num_heads: tuple[str, ...] = option((), help="")
    zip: tuple[str, ...] = option((), help="", metavar=TOGETHER)


@dataclass(frozen=True, kw_only=True)
class FlagOptions(OptionGroup):
    """Flags and single values."""

    log_csv: bool = option(False, "--log_csv", "-c", help="")
    log_wandb: bool = option(False, "--log_wandb", "-w", help="")
    num_runs: int = option(1, "--num_runs", "-n", help="", minimum=1, maximum=9)
    name: str = option("", help="")


def parse(line: str | list[str]) -> dict[str, Any]:
    """What a command without positional arguments is called with."""
    called: dict[str, Any] = {}

    @grouped
    def command(sweep: SweepOptions, flags: FlagOptions) -> None:
        called.update(vars(sweep) | vars(flags))

    _run(command, line)
    untouched = {**vars(SweepOptions()), **vars(FlagOptions())}
    given = {name: value for name, value in called.items() if value != untouched[name]}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in given.items()}


def parse_table(line: str) -> dict[str, Any]:
    """What a command with positional arguments is called with."""
    called: dict[str, Any] = {}

    def command(
        files: Annotated[list[str], typer.Argument()],
        sweep: Annotated[list[int], typer.Option("--sweep", "-s")] = [],  # noqa: B006 (typer copies it)
        state: Annotated[list[State], typer.Option("--state")] = [],  # noqa: B006
        text: Annotated[list[str], typer.Option("--text")] = [],  # noqa: B006
    ) -> None:
        called.update(files=files, sweep=sweep, state=state, text=text)

    _run(command, line)
    return {name: value for name, value in called.items() if value}


def _run(command: Any, line: str | list[str]) -> None:
    app = typer.Typer()
    app.command(cls=VariadicCommand)(command)
    app(line if isinstance(line, list) else line.split(), standalone_mode=False)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("--depth 4 8 16", {"depth": ["4", "8", "16"]}),
        ("--depth=4 8", {"depth": ["4", "8"]}),
        ("--depth 4 --depth 8 --lr-mult 1 --depth=16", {"depth": ["4", "8", "16"], "lr_mult": ["1"]}),
        ("-cw --depth 4", {"log_csv": True, "log_wandb": True, "depth": ["4"]}),
        ("-wcn3", {"log_csv": True, "log_wandb": True, "num_runs": 3}),
        ("-wn 3 -c", {"log_csv": True, "log_wandb": True, "num_runs": 3}),
        ("-n=3", {"num_runs": 3}),
        ("--zip depth width --zip a b c", {"zip": [["depth", "width"], ["a", "b", "c"]]}),
        ("--zip=depth width -c", {"zip": [["depth", "width"]], "log_csv": True}),
        ("--log_csv=true --log_wandb=false", {"log_csv": True}),
        ("--lr_mult -1 -.5 1e-4 -2E+3 +7 -inf", {"lr_mult": ["-1", "-.5", "1e-4", "-2E+3", "+7", "-inf"]}),
        ("--num-heads 1 3 --num_heads 6", {"num_heads": ["1", "3", "6"]}),
        ("--log-csv --num-runs 2", {"log_csv": True, "num_runs": 2}),
        ("--depth 4 8 --", {"depth": ["4", "8"]}),
        ("--name -1", {"name": "-1"}),
        ("--name=--depth", {"name": "--depth"}),
        ("--depth=", {"depth": [""]}),
    ],
)
def test_every_spelling(line: str, expected: dict[str, Any]) -> None:
    assert parse(line) == expected


@settings(max_examples=80, deadline=None)
@given(
    values=st.lists(st.floats(allow_nan=False).map(repr), min_size=1, max_size=5),
    spelling=st.sampled_from(("--lr_mult", "--lr-mult")),
    split=st.integers(0, 4),
    equals=st.booleans(),
)
def test_values_arrive_in_order_however_they_are_typed(
    values: list[str], spelling: str, split: int, equals: bool
) -> None:
    head, tail = values[:split] or values, values[split:] if values[:split] else []
    first = [f"{spelling}={head[0]}", *head[1:]] if equals else [spelling, *head]
    assert parse([*first, "-c", *([spelling, *tail] if tail else [])])["lr_mult"] == values


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("results.csv --sweep 3 4", {"files": ["results.csv"], "sweep": [3, 4]}),
        ("--sweep 3 4 results.csv", {"files": ["results.csv"], "sweep": [3, 4]}),
        ("-s 3 4 results.csv", {"files": ["results.csv"], "sweep": [3, 4]}),
        ("--sweep 3 -- 4", {"files": ["4"], "sweep": [3]}),
        ("--state failed running results.csv", {"files": ["results.csv"], "state": [State.FAILED, State.RUNNING]}),
        ("--text a b -- c", {"files": ["c"], "text": ["a", "b"]}),
        ("-- --sweep", {"files": ["--sweep"]}),
    ],
)
def test_positional_arguments_after_a_list(line: str, expected: dict[str, Any]) -> None:
    assert parse_table(line) == expected


@pytest.mark.parametrize(
    ("line", "message", "hint"),
    [
        ("--dept 4", "there is no option '--dept'", "--depth"),
        ("--num-head 4", "there is no option '--num-head'", "--num_heads"),
        ("--zzzzzz", "there is no option '--zzzzzz'", "--help"),
        ("-depth 4", "there is no option '-d' (in '-depth')", "--depth"),
        ("-cx", "there is no option '-x' (in '-cx')", "Did you mean -c?"),
        ("--depth --lr_mult 1", "--depth needs a value", "--depth 4 8"),
        ("--depth", "--depth needs a value", ""),
        ("--name --depth 4", "--name needs a value", ""),
        ("--lr_mult -1..1:linear", "'-1..1:linear' begins with a dash", "--lr_mult=-1..1:linear"),
        ("--name -lw", "'-lw' begins with a dash", "--name=-lw"),
        ("--name -cw", "--name needs a value", ""),
        ("-lw", "there is no option '-l' (in '-lw')", "Did you mean -w?"),
        ("--tap 4", "there is no option '--tap'", "Add --help"),
        ("--log_csv=1", "takes no value, but got '1'", "--log_csv alone"),
        ("--num_runs 1 --num-runs 2", "given twice", ""),
        ("extra", "'extra' is one argument too many", "--help"),
        ("--log_csv extra", "'extra' is one argument too many", "--help"),
        ("-3", "there is no option '-3'", "--help"),
        ("--num_runs x", "'x' is not a whole number", ""),
        ("--num_runs 0", "0 is too small", "at least 1"),
        ("--num_runs 10", "10 is too large", "at most 9"),
        ("--num_runs " + "9" * 400, "is too large", ""),
    ],
)
def test_refusals_name_the_value_and_the_way_out(line: str, message: str, hint: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse(line)
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_choice_that_is_none_is_refused_with_the_nearest() -> None:
    with pytest.raises(UsageError) as caught:
        parse_table("x --state faled")
    assert "'faled'" in caught.value.message
    assert "Did you mean 'failed'?" in caught.value.hint


def test_an_option_that_two_groups_declare_is_one_option() -> None:
    @dataclass(frozen=True, kw_only=True)
    class Other(OptionGroup):
        name: str = option("", help="")

    seen: list[str] = []

    @grouped
    def command(flags: FlagOptions, other: Other) -> None:
        seen.extend([flags.name, other.name])

    _run(command, "--name both")
    assert seen == ["both", "both"]


@pytest.mark.parametrize(
    ("words", "example"),
    [
        ("plot f.png --final", "--final depth"),
        ("plot f.png --heatmap", "--heatmap depth width"),
        ("compare --baseline", "--baseline depth=4"),
        ("compare --goal", "--goal lower"),
        ("status --tag", "--tag TAG"),
    ],
)
def test_an_option_without_a_value_is_shown_with_one_that_it_takes(
    words: str, example: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run_program(words.split()) == 2
    assert capsys.readouterr().err.endswith(f"For instance: {example}\n")
