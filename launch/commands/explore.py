"""`hrgan explore`: the tools that look at what a generator has learnt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from launch.commands.explore_directions import direction, project, sefa
from launch.commands.explore_views import (
    interpolate,
    mix,
    orbit,
    rotate,
    slit,
    translate,
    truncation,
    walk,
)
from pipeline.errors import UserError


class Tools(TyperGroup):
    """Tools after a snapshot: `hrgan explore RUN TOOL OUT`; `hrgan explore TOOL --help` works too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if len(args) == 2 and args[0] in self.commands and args[1] in ("-h", "--help"):
            args = ["SNAPSHOT_OR_RUN", *args]
        return super().parse_args(ctx, args)

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args and args[0] not in self.commands:
            raise UserError(f"hrgan explore: unknown tool {args[0]!r}; allowed: {', '.join(self.commands)}")
        return super().resolve_command(ctx, args)


explore = typer.Typer(
    name="explore",
    cls=Tools,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


@explore.callback()
def _source(
    context: typer.Context,
    source: Annotated[
        Path, typer.Argument(metavar="SNAPSHOT_OR_RUN", help="A snapshot, or a run: its newest snapshot.")
    ],
) -> None:
    """Look at what a generator has learnt, in pictures.

    A seed stands for the image that hrgan generate --seed makes of it.

    \b
    Examples:
      hrgan explore runs/faces truncation psi.png --seeds 0-7 --psi 0,0.5,0.7,1
      hrgan explore runs/faces interpolate between.gif --seeds 0-4 --loop
      hrgan explore runs/faces project face.png --photo me.jpg
      hrgan explore runs/faces rotate turned.gif --seeds 0-3 --steps 60
    """
    context.obj = source


for _tool in (truncation, interpolate, mix, direction, sefa, walk, project, translate, rotate, orbit, slit):
    explore.command(no_args_is_help=False)(_tool)
