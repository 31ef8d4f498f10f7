"""The configurations that come with hrgan, by name, wherever it is installed."""

from __future__ import annotations

import difflib
import os
from functools import cache
from pathlib import Path

from pipeline.errors import UserError

CLUSTERS = "cluster/"
"""The group of cluster files: what their names begin with. Those of runs are in the group ""."""
_SUFFIX = ".yaml"


@cache
def folder() -> Path:
    """Where they lie: `pipeline/configs` of an installation, which in a checkout is a link to `configs`."""
    package = Path(__file__).parents[1]
    places = [package / "configs"]
    # A copy of a checkout may have lost the link. Beside an installed package, `configs` is a stranger's.
    if (package.parent / "pyproject.toml").is_file():
        places.append(package.parent / "configs")
    return next((place for place in places if place.is_dir()), places[0]).resolve()


def names(group: str = "") -> list[str]:
    """All names of that group, sorted: "stylegan2-256"; "cluster/example"."""
    return sorted(f"{group}{path.stem}" for path in (folder() / group).glob(f"*{_SUFFIX}"))


def find(name: str) -> Path | None:
    """The file of that name, which may end in ".yaml"; None if none is called so."""
    stem = name.removesuffix(_SUFFIX)
    return folder() / f"{stem}{_SUFFIX}" if stem in [*names(), *names(CLUSTERS)] else None


def shipped(name: str) -> Path:
    """The file of that name, which may end in ".yaml". UserError, with the nearest, if there is none."""
    path = find(name)
    if path is None:
        nearest = near(name) or [f"{CLUSTERS}{one}" for one in near(name, CLUSTERS)]
        raise UserError(f"{name}: {_unknown(nearest)}")
    return path


def locate(given: Path, group: str = "") -> Path:
    """The file that a person means by a path or by a name in that group; a file that is there comes first.

    UserError, with the nearest files or names, for a bare word that is neither; a path that leads nowhere is
    given back, for whoever reads it to complain of.
    """
    if os.path.exists(given) and not os.path.isdir(given):
        return given
    path = find(str(given)) or find(f"{group}{given}")
    if path is None and given.parent == Path():
        raise UserError(f"{given}: {absent(given, group)}")
    return path or given


def absent(path: Path, group: str = "") -> str:
    """What to say of a path where no configuration is: the nearest files there, or names in that group."""
    if os.path.isdir(path):
        return "is a folder; expected a YAML file"
    there = path.parent
    files = sorted(p.name for p in there.glob(f"*{_SUFFIX}")) if os.path.isdir(there) else []
    close = difflib.get_close_matches(path.name, files, n=1)
    if close:
        return f"no such file; did you mean {there / close[0]}?"
    named = near(path.name, group)
    if named or there == Path():
        return f"no such file, and {_unknown(named)}"
    return f"no such file; in {there} there are: {', '.join(files)}" if files else "no such file"


def near(name: str, group: str = "") -> list[str]:
    """Names in that group that a person may have meant, the nearest first."""
    stem = Path(name).name.removesuffix(_SUFFIX)
    return difflib.get_close_matches(stem, [one.removeprefix(group) for one in names(group)], n=3)


def _unknown(nearest: list[str]) -> str:
    meant = f"did you mean {' or '.join(nearest)}?" if nearest else "hrgan configs lists those that do"
    return f"no configuration of that name comes with hrgan; {meant}"
