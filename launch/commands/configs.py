"""`hrgan configs`: the configurations that come with hrgan."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer

from pipeline.words import table

_SCRIPTS = Path(__file__).parents[1] / "cluster/slurm"


def configs(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="Print this configuration; without it, all are listed."),
    ] = None,
) -> int:
    """List the configurations that come with hrgan, or print one.

    hrgan train takes them by name. A changed copy still inherits from them, wherever it is. Cluster files and
    scripts for sbatch come with hrgan, too.

    \b
    Examples:
      hrgan configs
      hrgan configs stylegan2-256 > mine.yaml
    """
    from pipeline.config.shipped import CLUSTERS, names, shipped

    if name is not None:
        script = _SCRIPTS / Path(name).name
        path = script if script.suffix == ".sbatch" and script.is_file() else shipped(name)
        typer.echo(path.read_text(encoding="utf-8"), nl=False)
        return 0
    rows = sorted(map(_row, names()), key=lambda row: (row[1], len(row[2]), row[2], row[0]))
    typer.echo(table(rows, ("name", "family", "side", "what it trains")))
    typer.echo(f"\nFor hrgan submit --cluster: {', '.join(names(CLUSTERS))}")
    typer.echo(f"For sbatch: {', '.join(sorted(path.name for path in _SCRIPTS.glob('*.sbatch')))}")
    return 0


def _row(name: str) -> tuple[str, str, str, str]:
    from pipeline.config.shipped import shipped
    from pipeline.config.sources import read_layers

    path = shipped(name)
    layers = [layer.tree for layer in read_layers(path)]
    family, side = _last(layers, "family", "name"), _last(layers, "data", "resolution")
    return name, family or "-", str(side or "any"), title(path.read_text(encoding="utf-8"))


def _last(trees: list[dict[str, Any]], section: str, key: str) -> Any:
    return next((tree[section][key] for tree in reversed(trees) if key in tree.get(section, {})), None)


def title(text: str) -> str:
    """The first sentence of a configuration's header."""
    lines = [line.lstrip("# ") for line in text.split("\n#\n")[0].splitlines() if line.startswith("#")]
    return re.split(r"\.(?: (?=[A-Z])|$)", " ".join(lines))[0]
