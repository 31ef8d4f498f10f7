"""Every engine against one process, and every engine's checkpoints under every other, as tables.

Each tiny family trains some steps with all its phases and penalties over gloo, on 1, 2 and 4 ranks under
each engine with the same global batch. A cell is the worst difference of any weight (averaged ones and family
memory included) from one `replicated` process, relative to the largest of its tensor, which counts as 0.001
at least. "last bit" is what rounding alone does: one process whose first weights differ in their last bit.
"-": the family does not offer it. Ranks that do not agree to the bit are an error.
"""

from __future__ import annotations

import argparse
import datetime
import math
import os
import sys
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch

from pipeline.models.registry import FAMILIES
from pipeline.storage.tensors import load_tensors
from tools.ranks import run_module
from tools.torture.matrix_ranks import CONTROL, KINDS, SAVERS, VARIANTS

WORLDS = (1, 2, 4)
_LEAST = 1e-3
_COMPARED = ("networks/", "average/", "memory/")


def difference(ours: Path, theirs: Path) -> float:
    """Returns the worst relative difference of two files' weights; inf if they hold different tensors or a
    NaN, nan if there are no such files."""
    if not theirs.exists():
        return float("nan")
    a, b = load_tensors(ours), load_tensors(theirs)
    if a.keys() != b.keys():
        return float("inf")
    worst = 0.0
    for name in a:
        if name.startswith(_COMPARED) and a[name].numel():
            x, y = a[name].double(), b[name].double()
            gap = float((x - y).abs().max() / y.abs().max().clamp(min=_LEAST))
            worst = max(worst, gap if torch.isfinite(x).all() else float("inf"))
    return worst


def run(out: Path, families: Sequence[str], worlds: Sequence[int] = WORLDS) -> None:
    """Trains, saves and continues in all combinations; leaves one file per cell in `out`."""
    for part in ("train", "load"):
        for world in worlds:
            run_module("tools.torture.matrix_ranks", world, [str(out), part, *families])


def cell(out: Path, part: str, name: str, kind: str, world: int) -> float:
    """Returns the difference of a whole run ("train"), or of one step of a variant, from one `replicated`
    process."""
    alone = out / f"{part}-{name}-replicated-x1.safetensors"
    return difference(out / f"{part}-{name}-{kind}-x{world}.safetensors", alone)


def continued(out: Path, name: str, saver: tuple[str, int], kind: str, world: int) -> float:
    """Returns the difference of a run that continued from `saver`'s checkpoint from one process that never
    stopped."""
    ours = out / f"load-{name}-{saver[0]}-x{saver[1]}-{kind}-x{world}.safetensors"
    return difference(ours, out / f"train-{name}-replicated-x1.safetensors")


def table(corner: str, columns: Sequence[str], rows: Iterable[tuple[str, Sequence[float]]]) -> str:
    """Returns a table in Markdown."""
    lines = [f"| {corner} | " + " | ".join(columns) + " |", "|---" * (len(columns) + 1) + "|"]
    lines += [f"| {name} | " + " | ".join(map(_cell, values)) + " |" for name, values in rows]
    return "\n".join(lines)


def _cell(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.0e}" if value else "0"


def tables(out: Path, families: Sequence[str], worlds: Sequence[int] = WORLDS) -> str:
    """Returns all tables."""
    places = [(kind, world) for kind in KINDS for world in worlds]
    columns = [f"{kind} x{world}" for kind, world in places]
    both = [*((kind, 2) for kind in KINDS), (CONTROL, 1)]
    equal = [(n, [cell(out, "train", n, k, w) for k, w in [*places, (CONTROL, 1)]]) for n in families]
    varied = [(f"{v}, {n}", [cell(out, v, n, k, w) for k, w in both]) for v in VARIANTS for n in families]
    loaded = [
        (f"{s[0]} x{s[1]}", [max(continued(out, n, s, k, w) for n in families) for k, w in places])
        for s in SAVERS
    ]
    parts = [
        table("family", [*columns, CONTROL], equal),
        table("variant, family (2 ranks, one step)", [*KINDS, CONTROL], varied),
        table("saved by", columns, loaded),
    ]
    return "\n\n".join(parts)


def main() -> None:
    """Runs the matrix and prints its tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--families", nargs="+", default=sorted(FAMILIES), choices=sorted(FAMILIES))
    parser.add_argument("--out", type=Path, help="keep the tensors here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        out = arguments.out or Path(scratch)
        out.mkdir(parents=True, exist_ok=True)
        run(out, arguments.families)
        command = " ".join(["python -m tools.torture.engine_matrix", *sys.argv[1:]])
        print(f"`{command}`, {datetime.date.today()}, torch {torch.__version__}, {os.uname().machine}\n")
        print(tables(out, arguments.families))


if __name__ == "__main__":
    main()
