"""The libraries whose internals hlbq leans on: what it uses is there, and pyproject.toml lets no untried version in.

If a test here fails after an upgrade: read what changed in that library, mend the file that the message names, then
move the bound in pyproject.toml and the version in constraints.txt together.
"""

import inspect
import tomllib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, kw_only=True)
class Leaning:
    """A library, and the file of ours that uses its internals."""

    library: str
    file: str

    def advice(self, what: str) -> str:
        """What to do when something is not as it was."""
        return (
            f"{self.library} {version(self.library)} {what}. {self.file} leans on it: mend that file, "
            "then move the bound in pyproject.toml and the version in constraints.txt."
        )


TYPER = Leaning(library="typer", file="orchestrator/cli/parsing.py")
WANDB = Leaning(library="wandb", file="orchestrator/wandb_sync/session.py")

PARAMETER_FIELDS = ("name", "opts", "secondary_opts", "nargs", "multiple", "envvar", "metavar", "type_descriptor")
OPTION_FIELDS = ("is_flag", "count", "min", "max")
DESCRIPTOR_FIELDS = ("annotation", "is_choice", "choices")
CONTEXT_FIELDS = ("resilient_parsing", "command_path", "get_help", "exit")

WANDB_SETTINGS = (
    *("console", "silent", "program", "host", "mode", "base_url", "sync_dir", "disable_git", "disable_code"),
    *("init_timeout", "finish_timeout", "finish_timeout_raises"),
    *("x_disable_meta", "x_disable_stats", "x_disable_machine_info", "x_save_requirements"),
    *("x_skip_transaction_log", "x_update_finish_state"),
    *(
        f"x_{service}_{name}"
        for service in ("file_stream", "file_transfer", "graphql")
        for name in ("retry_max", "retry_wait_min_seconds", "retry_wait_max_seconds", "timeout_seconds")
    ),
)


def lacking(thing: object, names: tuple[str, ...]) -> list[str]:
    return [name for name in names if not hasattr(thing, name)]


@pytest.mark.parametrize("leaning", [TYPER, WANDB], ids=lambda leaning: leaning.library)
def test_the_installed_version_was_tried_and_the_next_is_kept_out(leaning: Leaning) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    [wanted] = [one for one in map(Requirement, project["dependencies"]) if one.name == leaning.library]
    installed = version(leaning.library)
    assert installed in wanted.specifier, leaning.advice(f"is not within {wanted}")
    major, minor = map(int, installed.split(".")[:2])
    for later in (f"{major}.{minor + 1}.0", f"{major + 1}.0.0"):
        assert later not in wanted.specifier, f"pyproject.toml lets {leaning.library} {later} in, which was not tried"
    pins = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    [pin] = [line for line in pins if line.startswith(f"{leaning.library}==")]
    assert pin == f"{leaning.library}=={installed}"


def test_typer_has_what_our_parsing_replaces() -> None:
    import typer
    from typer import core

    for kind, names in (
        (core.TyperCommand, ("parse_args", "get_params")),
        (core.TyperGroup, ("parse_args", "get_params", "resolve_command")),
        (core.TyperOption, ("get_runtime_param",)),
        (core.TyperArgument, ("get_runtime_param",)),
        (typer, ("TyperException", "Abort", "Exit")),
        (typer.Context, CONTEXT_FIELDS[2:]),
    ):
        assert lacking(kind, names) == [], TYPER.advice(f"has no {lacking(kind, names)} in {kind.__name__}")


def test_typer_describes_parameters_as_our_parsing_reads_them() -> None:
    import typer

    seen: dict[str, object] = {}

    def command(
        context: typer.Context,
        words: Annotated[list[str], typer.Argument()],
        number: Annotated[int, typer.Option(min=0)] = 1,
    ) -> None:
        seen.update(context=context, parameters={param.name: param for param in context.command.params})

    app = typer.Typer()
    app.command()(command)
    app(["--number", "2", "word"], standalone_mode=False)
    assert lacking(seen["context"], CONTEXT_FIELDS) == [], TYPER.advice("changed the context")
    parameters = seen["parameters"]
    assert isinstance(parameters, dict)
    option, argument = parameters["number"], parameters["words"]
    for parameter in (option, argument):
        assert lacking(parameter, PARAMETER_FIELDS) == [], TYPER.advice("changed its parameters")
        assert lacking(parameter.type_descriptor, DESCRIPTOR_FIELDS) == [], TYPER.advice("changed its types")
        coerce = parameter.get_runtime_param().coerce
        assert list(inspect.signature(coerce).parameters) == ["value", "param", "ctx"], TYPER.advice("changed coerce")
    assert lacking(option, OPTION_FIELDS) == [], TYPER.advice("changed its options")
    assert (option.type_descriptor.annotation, option.min, argument.nargs) == (int, 0, -1)


def test_wandb_has_the_settings_and_the_log_in_that_the_sync_uses() -> None:
    import wandb
    from wandb.proto.wandb_internal_pb2 import Record, RunExitRecord
    from wandb.sdk.interface.interface import InterfaceBase
    from wandb.sdk.lib import wbauth

    assert lacking(wandb.Settings(), WANDB_SETTINGS) == [], WANDB.advice("lacks settings")
    assert {"host", "source", "prompt"} <= set(inspect.signature(wbauth.authenticate_session).parameters), WANDB.advice(
        "logs in otherwise"
    )
    assert {"id", "resume", "reinit", "dir", "allow_val_change"} <= set(inspect.signature(wandb.init).parameters)
    assert lacking(wandb.Run, ("starting_step", "path", "define_metric", "finish")) == [], WANDB.advice("changed Run")
    # By these an offline part of a running run is no end.
    assert "not_complete" in RunExitRecord.DESCRIPTOR.fields_by_name, WANDB.advice("changed the exit record")
    assert lacking(InterfaceBase, ("_make_exit",)) == [], WANDB.advice("changed the interface")
    # What tests/wandb_files.py reads of the files that are written offline.
    assert {"history", "run", "summary"} <= set(Record.DESCRIPTOR.fields_by_name), WANDB.advice("changed its records")
