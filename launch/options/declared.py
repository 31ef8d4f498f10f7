"""A frozen dataclass of options, and the command line that it stands for.

Each field is one argument or option: its type and help are an `Annotated` of Typer's, its default the field's
own.
A field that is a dataclass of options itself is spread into these; its default says theirs.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import MISSING, Field, fields, is_dataclass
from inspect import Parameter
from typing import Any, TypeVar, get_type_hints

import typer
from typer.main import get_command
from typer.models import ArgumentInfo, OptionInfo

Options = TypeVar("Options")


def takes_options(command: Callable[..., int]) -> Callable[..., int]:
    """`command` as Typer registers it: a parameter that is a dataclass of options becomes these options, and
    gets an object of what was given for them. Other parameters stay as they are."""
    hints = get_type_hints(command, include_extras=True)
    spread: list[Parameter] = []
    for name, parameter in inspect.signature(command).parameters.items():
        if is_dataclass(hints[name]):
            spread += _parameters(hints[name])
        else:
            spread.append(parameter.replace(kind=Parameter.KEYWORD_ONLY, annotation=hints[name]))
    taken = {name: hint for name, hint in hints.items() if name != "return"}

    @functools.wraps(command)
    def run(**given: Any) -> int:
        return command(
            **{
                name: _made(hint, given) if is_dataclass(hint) else given[name]
                for name, hint in taken.items()
            }
        )

    run.__signature__ = inspect.Signature(spread)  # type: ignore[attr-defined]
    run.__annotations__ = {parameter.name: parameter.annotation for parameter in spread}
    return run


def parsed(options: type[Options], name: str, arguments: Sequence[str]) -> Options:
    """The options that the command `name` would get for these arguments; its errors where they are wrong."""

    def receive(options: Any) -> Any:
        return options

    receive.__annotations__["options"] = options
    app = typer.Typer()
    app.command(no_args_is_help=False)(takes_options(receive))
    given = get_command(app).main(args=list(arguments), prog_name=name, standalone_mode=False)
    if not isinstance(given, options):
        raise typer.Exit  # it was asked for its help, and has printed it
    return given


def command_line(options: Any, *, without: Collection[str] = ()) -> list[str]:
    """What is typed to give these options again: arguments first, then what differs from the defaults.

    without: fields that are left out.
    """
    arguments: list[str] = []
    others: list[str] = []
    for parameter in _parameters(type(options)):
        value = _value(options, parameter.name)
        (info,) = parameter.annotation.__metadata__
        if isinstance(info, ArgumentInfo):
            arguments.append(str(value))
        elif parameter.name not in without and value != parameter.default:
            flag = _flag(parameter.name, info)
            for one in value if isinstance(value, list) else [value]:
                others += [flag] if one is True else [flag, str(one)]
    return [*arguments, *others]


def _flag(name: str, info: OptionInfo) -> str:
    declared = [info.default, *(info.param_decls or ())]  # Typer takes the first for a default until it looks
    flags = [flag for flag in declared if isinstance(flag, str) and flag.startswith("--")]
    return flags[0] if flags else f"--{name.replace('_', '-')}"


def _parameters(options: type[Any], defaults: Any = None) -> Iterator[Parameter]:
    hints = get_type_hints(options, include_extras=True)
    for field in fields(options):
        default = _default(field) if defaults is None else getattr(defaults, field.name)
        hint = hints[field.name]
        if is_dataclass(hint):
            assert isinstance(hint, type)
            yield from _parameters(hint, None if default is MISSING else default)
        else:
            known = Parameter.empty if default is MISSING else default
            yield Parameter(field.name, Parameter.KEYWORD_ONLY, default=known, annotation=hint)


def _default(field: Field[Any]) -> Any:
    return field.default if field.default_factory is MISSING else field.default_factory()


def _made(options: Any, given: Mapping[str, Any]) -> Any:
    hints = get_type_hints(options)
    return options(
        **{
            field.name: _made(hints[field.name], given)
            if is_dataclass(hints[field.name])
            else given[field.name]
            for field in fields(options)
        }
    )


def _value(options: Any, name: str) -> Any:
    """Of a field, or of one that it was spread into."""
    for field in fields(options):
        value = getattr(options, field.name)
        if field.name == name:
            return value
        if is_dataclass(value) and name in {inner.name for inner in _parameters(type(value))}:
            return _value(value, name)
    raise AttributeError(name)
