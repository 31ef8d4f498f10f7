"""Options as one object: the command line that it declares, what a command gets, and the way back."""

from __future__ import annotations

import importlib
import pkgutil
from dataclasses import dataclass, field, is_dataclass
from typing import Annotated, Any, Literal

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.main import get_command

import launch.options
from launch.options.declared import command_line, parsed, takes_options
from launch.options.evaluate import EvaluateOptions
from launch.options.generate import GenerateOptions
from pipeline.errors import UserError


@dataclass(frozen=True)
class Inner:
    depth: Annotated[int, typer.Option(min=1, help="How deep.")] = 1
    name: Annotated[str | None, typer.Option("--called", help="What it is called.")] = None


@dataclass(frozen=True, kw_only=True)
class Outer:
    source: Annotated[str, typer.Argument(help="From where.")]
    way: Annotated[Literal["up", "down"], typer.Option(help="Where to.")] = "up"
    inner: Inner = Inner(depth=3)
    loud: Annotated[bool, typer.Option("--loud", help="With noise.")] = False
    words: Annotated[list[str], typer.Option("--word", help="May be repeated.")] = field(default_factory=list)

    def __post_init__(self) -> None:
        if self.loud and self.way == "down":
            raise UserError("--loud: only upwards")


def outer(*arguments: str) -> Outer:
    return parsed(Outer, "hrgan toy", arguments)


def test_defaults_are_the_fields_own_and_those_of_a_spread_field_its_defaults() -> None:
    assert outer("x") == Outer(source="x", inner=Inner(depth=3, name=None))


def test_every_option_reaches_its_field() -> None:
    found = outer("--way", "down", "x", "--depth", "5", "--called", "n", "--word", "a", "--word", "b c")
    assert found == Outer(source="x", way="down", inner=Inner(5, "n"), words=["a", "b c"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("x", "--way", "left"), "'left' is not one of 'up', 'down'"),
        (("x", "--depth", "0"), "greater than or equal to 1"),
        ((), "Missing argument"),
        (("x", "--nmae", "y"), "No such option: --nmae"),
    ],
)
def test_what_is_wrong_is_an_error_of_usage(arguments: tuple[str, ...], message: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - Typer's, of whichever click it brings
        outer(*arguments)
    assert isinstance(caught.value, typer.BadParameter.__mro__[1])
    assert message in caught.value.format_message()  # type: ignore[attr-defined]


def test_options_that_do_not_go_together_are_the_objects_own_error() -> None:
    with pytest.raises(UserError, match="only upwards"):
        outer("x", "--loud", "--way", "down")


def test_help_has_each_option_once_with_its_help() -> None:
    @takes_options
    def toy(context: typer.Context, options: Outer) -> int:
        return 0

    app = typer.Typer()
    app.command()(toy)
    parameters = {one.name: one for one in get_command(app).params}
    names = ["source", "way", "depth", "name", "loud", "words"]
    assert [name for name in parameters if name not in ("install_completion", "show_completion")] == names
    assert parameters["depth"].help == "How deep."  # type: ignore[attr-defined]


@settings(max_examples=30, deadline=None)
@given(
    st.builds(
        Outer,
        source=st.text(st.characters(codec="utf-8", exclude_characters="-"), min_size=1),
        way=st.just("up"),
        inner=st.builds(Inner, st.integers(1, 9), st.none() | st.text("ab ", min_size=1)),
        loud=st.booleans(),
        words=st.lists(st.text("ab'\" ", min_size=1), max_size=3),
    )
)
def test_the_command_line_of_options_gives_them_again(options: Outer) -> None:
    assert outer(*command_line(options)) == options


def test_the_command_line_says_only_what_differs_from_the_defaults() -> None:
    options = Outer(source="x", inner=Inner(3, "n"), loud=True, words=["a", "b"])
    assert command_line(options) == ["x", "--called", "n", "--loud", "--word", "a", "--word", "b"]
    assert command_line(options, without=("name", "words")) == ["x", "--loud"]


def declared() -> list[type[Any]]:
    modules = [
        importlib.import_module(f"launch.options.{found.name}")
        for found in pkgutil.iter_modules(launch.options.__path__)
    ]
    return [
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and is_dataclass(value) and value.__module__ == module.__name__
    ]


@pytest.mark.parametrize("options", declared(), ids=lambda options: options.__name__)
def test_every_option_of_every_command_has_help_that_is_a_sentence(options: type[Any]) -> None:
    def command(options: Any) -> int:
        return 0

    command.__annotations__["options"] = options
    app = typer.Typer(add_completion=False)
    app.command()(takes_options(command))
    for parameter in get_command(app).params:
        text = parameter.help  # type: ignore[attr-defined]
        assert text, parameter.name
        assert text.endswith("."), text


def test_options_that_exclude_each_other() -> None:
    for arguments in (
        ("r", "--data", "d", "--all", "--watch"),
        ("r", "--data", "d", "--watch", "--all"),
    ):
        with pytest.raises(UserError, match="--all and --watch"):
            parsed(EvaluateOptions, "hrgan evaluate", arguments)
    with pytest.raises(UserError, match="--columns: only one picture has columns"):
        parsed(GenerateOptions, "hrgan generate", ("r", "out", "--count", "1", "--columns", "2"))


def test_scope_of_an_evaluation() -> None:
    scopes = {"": "newest", "--all": "all", "--watch": "watch"}
    for flag, scope in scopes.items():
        arguments = ["r", "--data", "d", *flag.split()]
        assert parsed(EvaluateOptions, "hrgan evaluate", arguments).scope == scope
