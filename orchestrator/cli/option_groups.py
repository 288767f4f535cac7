"""Options that several commands share, as frozen values.

A command that takes an `OptionGroup` and is decorated with `grouped` gets the group's options in its signature, where
typer finds them:

    @app.command(cls=VariadicCommand)
    @grouped
    def cancel(runs: RunFilterOptions, database: DatabaseOption) -> None: ...
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, Self, get_type_hints


class OptionGroup:
    """Base of frozen dataclasses whose fields are `Annotated[type, typer.Option(...)]` with a default."""

    @classmethod
    def option_parameters(cls) -> Sequence[inspect.Parameter]:
        """One parameter for each option, as typer reads them from a signature."""
        hints = get_type_hints(cls, include_extras=True)
        return [
            inspect.Parameter(
                field.name,
                inspect.Parameter.KEYWORD_ONLY,
                annotation=hints[field.name],
                default=field.default_factory() if field.default_factory is not MISSING else field.default,
            )
            for field in fields(cls)  # type: ignore[arg-type]  # every subclass is a dataclass
        ]

    @classmethod
    def from_options(cls, values: Mapping[str, Any]) -> Self:
        """The group from the values that typer parsed."""
        return cls(**values)


def grouped(command: Callable[..., None]) -> Callable[..., None]:
    """`command` with every parameter that is an OptionGroup replaced by the group's options.

    If two groups declare an option of the same name, it is one option and both get its value.
    """
    hints = get_type_hints(command, include_extras=True)
    groups: dict[str, type[OptionGroup]] = {}
    parameters: dict[str, inspect.Parameter] = {}
    for parameter in inspect.signature(command).parameters.values():
        kind = hints[parameter.name]
        if isinstance(kind, type) and issubclass(kind, OptionGroup):
            groups[parameter.name] = kind
            for option in kind.option_parameters():
                parameters.setdefault(option.name, option)
        else:
            parameters[parameter.name] = parameter.replace(annotation=kind, kind=inspect.Parameter.KEYWORD_ONLY)
    grouped_names = {name: [option.name for option in kind.option_parameters()] for name, kind in groups.items()}
    own_names = [name for name in inspect.signature(command).parameters if name not in groups]

    @functools.wraps(command)
    def with_groups(**values: Any) -> None:
        arguments = {name: values[name] for name in own_names}
        for name, kind in groups.items():
            arguments[name] = kind.from_options({option: values[option] for option in grouped_names[name]})
        command(**arguments)

    with_groups.__signature__ = inspect.Signature(list(parameters.values()))  # type: ignore[attr-defined]
    with_groups.__annotations__ = {name: parameter.annotation for name, parameter in parameters.items()}
    return with_groups
