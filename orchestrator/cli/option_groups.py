"""Options that several commands share, as frozen values.

A command that takes an `OptionGroup` gets the group's options in its signature, where typer finds them:

    def delete(runs: RunFilterOptions, database: DatabaseOption, force: bool = option(False, help="...")) -> None: ...

    add_commands(app, delete)
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, ClassVar, Self, TypeVar, get_type_hints

import typer

from orchestrator.cli.parsing import TOGETHER, SuggestingGroup, VariadicCommand
from orchestrator.sweep.option_spec import OptionSpec
from orchestrator.sweep.option_spec import option as option

Command = TypeVar("Command", bound=Callable[..., None])


class OptionGroup:
    """Base of frozen dataclasses whose fields are declared by `option`, are typer's arguments, or are groups; other
    dataclasses of options, such as SweepOptions, are groups too. `panel` is their panel of `--help`."""

    panel: ClassVar[str | None] = None

    @classmethod
    def option_parameters(cls, command: str) -> Sequence[inspect.Parameter]:
        """One parameter for each option that the command of this name takes, as typer reads them from a signature."""
        found: list[inspect.Parameter] = []
        for field in dataclasses.fields(cls):  # type: ignore[arg-type]  # every subclass is a dataclass
            kind: Any = field.type
            found += _parameters(kind, command) if _is_group(kind) else [_declared(field.name, kind, field, cls.panel)]
        return found

    @classmethod
    def from_options(cls, values: Mapping[str, Any], command: str) -> Self:
        """The group from the values of its options that the command takes."""
        kinds = {field.name: field.type for field in dataclasses.fields(cls)}  # type: ignore[arg-type]
        return cls(**_several_as_tuples(_arguments(kinds, values, command)))


def _is_group(kind: Any) -> bool:
    return isinstance(kind, type) and dataclasses.is_dataclass(kind)


@functools.cache
def _parameters(group: Any, command: str) -> Sequence[inspect.Parameter]:
    """The options of a group that a command takes."""
    if issubclass(group, OptionGroup):
        return tuple(group.option_parameters(command))
    return tuple(spec_parameter(one) for one in group.options() if one.commands is None or command in one.commands)


def _arguments(kinds: Mapping[str, Any], values: Mapping[str, Any], command: str) -> dict[str, Any]:
    """What stands under these names: the value of an option, or a group made of those of its options."""
    found = {}
    for name, kind in kinds.items():
        if not _is_group(kind):
            found[name] = values[name]
            continue
        own = {one.name: values[one.name] for one in _parameters(kind, command)}
        is_ours = issubclass(kind, OptionGroup)
        found[name] = kind.from_options(own, command) if is_ours else kind(**_several_as_tuples(own))
    return found


def _several_as_tuples(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: tuple(one) if isinstance(one, list) else one for name, one in values.items()}


def _declared(name: str, kind: Any, field: "dataclasses.Field[Any]", panel: str | None = None) -> inspect.Parameter:
    if not field.metadata:
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=kind, default=field.default)
    known = {"panel": panel, **field.metadata}
    return spec_parameter(OptionSpec(name=name, type=kind, default=field.default, **known))


@functools.cache
def spec_parameter(spec: OptionSpec) -> inspect.Parameter:
    """The parameter of an option, made once for all commands that take it: `hlbq --help` declares every command."""
    declared = typer.Option(
        *spec.spellings,
        help=spec.help,
        metavar=TOGETHER if spec.nested else spec.metavar,
        min=spec.minimum,
        max=spec.maximum,
        rich_help_panel=spec.panel,
        hidden=spec.hidden,
    )
    kind: Any = spec.type
    if spec.several:
        kind = list[str] if spec.nested else list[spec.value_type]  # type: ignore[name-defined]
    default = [] if spec.several else spec.default
    annotation = Annotated[kind, declared]
    return inspect.Parameter(spec.name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with its declared options as typer reads them, and every OptionGroup replaced by the group's options.
    If two groups declare an option of the same name, it is one option and both get its value."""
    hints = get_type_hints(command, include_extras=True)
    parameters: dict[str, inspect.Parameter] = {}
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        if _is_group(kind):
            for one in _parameters(kind, command.__name__):
                parameters.setdefault(one.name, one)
        elif isinstance(parameter.default, dataclasses.Field):
            parameters[parameter.name] = _declared(parameter.name, kind, parameter.default)
        else:
            parameters[parameter.name] = parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY)
    kinds = {name: hints[name] for name in inspect.signature(command).parameters}

    @functools.wraps(command)
    def with_groups(**values: Any) -> None:
        command(**_arguments(kinds, values, command.__name__))

    with_groups.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    with_groups.__annotations__ = {name: parameter.annotation for name, parameter in parameters.items()}
    return with_groups


@dataclasses.dataclass(frozen=True)
class CommandGroup:
    """Commands under one name: `hlbq db info`, `hlbq db check`."""

    name: str
    help: str
    commands: Sequence[Callable[..., None]]


def read_by(kind: type[VariadicCommand]) -> Callable[[Command], Command]:
    """Have the words of a command read by `kind`."""

    def marked(command: Command) -> Command:
        vars(command)["kind"] = kind
        return command

    return marked


def add_commands(app: typer.Typer, *commands: Callable[..., None] | CommandGroup) -> None:
    """Add functions as commands of their names: `export_model` is `export-model`, and `list_` is `list`."""
    for command in commands:
        if isinstance(command, CommandGroup):
            group = typer.Typer(cls=SuggestingGroup, help=command.help, no_args_is_help=True)
            add_commands(group, *command.commands)
            app.add_typer(group, name=command.name)
        else:
            kind = vars(command).get("kind", VariadicCommand)
            app.command(command.__name__.strip("_").replace("_", "-"), cls=kind)(grouped(command))
