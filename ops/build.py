"""`python -m ops.build`: compile the operations for this machine, once.

Everything that computes does so by itself when it starts (see `use`); this command does it beforehand.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ops.building import tools
from ops.building.cache import Cache, default_root
from ops.building.make import Made, find, make
from ops.building.recipe import SOURCES, Kind, Recipe, cpu_recipe, cuda_recipe
from ops.building.report import read_log, table
from ops.building.tools import CannotBuild

DEMAND_CUDA = "HRGAN_OPS_CUDA"
_CPU_ONLY = f"no GPU is visible; --cuda or {DEMAND_CUDA}=1 compiles all the same"


NOT_YET = "not compiled yet: python -m ops.build, or any command that computes with it"


@dataclass(frozen=True)
class Status:
    """The state of one library: its path, or the cause why it is missing. Nothing is compiled for this."""

    path: Path | None
    digest: str | None
    cause: str | None = None


def obtain(
    kind: Kind,
    tell: Callable[[str], None],
    *,
    build: bool = True,
    root: Path = SOURCES,
    archs: str | None = None,
    force: bool = False,
    retry: bool = False,
    verbose: bool = False,
) -> Made:
    """Returns the library of one kind, compiled if necessary. Raises CannotBuild with the reason if there is
    none.

    root: the folder of the sources. build: whether to compile; False only takes what is in the cache.
    archs: see `tools.choose_archs`. force: whether to compile a library that exists again. retry: whether to
    try again what failed recently. verbose: whether to show the output of the compilers.
    """
    recipe, cache = _recipe(kind, root, archs), Cache(default_root())
    if build:
        if retry:
            cache.pardon(recipe.digest)
        return make(recipe, cache, tell, force=force, verbose=verbose)
    path = find(recipe, cache)
    if path is None:
        raise CannotBuild(recipe.missing or cache.failure(recipe.digest) or NOT_YET)
    return Made(path)


def status(kind: Kind, root: Path = SOURCES) -> Status:
    """Returns the state of one library, for `hrgan doctor`."""
    try:
        recipe = _recipe(kind, root, None)
    except CannotBuild as error:
        return Status(None, None, str(error))
    try:
        return Status(obtain(kind, lambda line: None, build=False, root=root).path, recipe.digest)
    except CannotBuild as error:
        return Status(None, recipe.digest, str(error))


def _recipe(kind: Kind, root: Path, archs: str | None) -> Recipe:
    return cuda_recipe(root, archs) if kind == "cuda" else cpu_recipe(root)


def main(arguments: Sequence[str] | None = None) -> int:
    """Compiles what is asked for or, by default, what this machine can use. The exit code is 1 if something
    that was asked for failed."""
    options = _parser().parse_args(arguments)
    asked = [kind for kind in ("cpu", "cuda") if getattr(options, kind)]
    failed = [kind for kind in asked or _useful() if not _build(kind, options)]  # type: ignore[arg-type]
    if not asked and "cuda" not in _useful():
        print(f"cuda: not compiled ({_CPU_ONLY})")
    return int(any(kind in asked for kind in failed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m ops.build", description=__doc__)
    parser.add_argument("--cpu", action="store_true", help="the CPU library; exit code 1 if it fails")
    parser.add_argument("--cuda", action="store_true", help="the CUDA library, without a GPU too; likewise")
    parser.add_argument("--arch", metavar="LIST", help='GPU architectures, such as "8.0;9.0+PTX"')
    parser.add_argument("--force", action="store_true", help="compile again what is there")
    parser.add_argument("--verbose", action="store_true", help="show what the compilers say")
    parser.add_argument("--report", action="store_true", help="registers and spills of each CUDA kernel")
    return parser


def _useful() -> list[Kind]:
    """Returns the kinds of libraries that commands on this machine would load."""
    demanded = os.environ.get(DEMAND_CUDA, "") not in ("", "0")
    return ["cpu", "cuda"] if demanded or tools.visible_archs() else ["cpu"]


def _build(kind: Kind, options: argparse.Namespace) -> bool:
    try:
        made = obtain(
            kind, _print, archs=options.arch, force=options.force, retry=True, verbose=options.verbose
        )
    except CannotBuild as error:
        print(f"{kind}: not compiled ({error})", file=sys.stderr)
        return False
    print(f"{kind}: {f'compiled in {made.seconds:.0f} s' if made.seconds else 'there'}: {made.path}")
    if options.report and kind == "cuda":
        print(table(read_log(made.log.read_text(encoding="utf-8"))))
    return True


def _print(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
