"""How near a mixture of stored averages comes to one that was tracked.

    python -m tools.research.tracked_averages RUN [--at IMAGES]

Each width that a snapshot keeps is left out of all snapshots and made of the others, as `hrgan average` does.
Its distance from the average that was tracked is shown as a share of the weights' norm, and as a share of the
distance from the tracked average to the nearest other width, which is what there is to get right. Give
the run several widths: averages.widths=[0.01,0.05,0.1].
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.storage.averages import StoredAverage, stored_averages
from pipeline.training.mixing import mix, recipe_of
from pipeline.words import note, table


@dataclass(frozen=True)
class Row:
    """One width left out. profile: the error of its profile. of_weights, of_distance: the distance of the
    mixture from the tracked average, as shares."""

    width: float
    parts: int
    profile: float
    of_weights: float
    of_distance: float


def rows(run: Path, at: int | None = None) -> list[Row]:
    """A row for each width at the position, by default the newest. UserError if only one width is kept
    there."""
    stored = stored_averages(run, note)
    at = recipe_of(run, stored, 0.1, at).images_seen
    tracked = {one.kind.width: dict(one.parameters()) for one in stored if one.images_seen == at}
    if len(tracked) < 2:
        raise UserError(f"{run}: keeps one width at {at} images; allowed: two or more (averages.widths)")
    return [_row(run, stored, width, at, tracked) for width in tracked]


def _row(
    run: Path,
    stored: list[StoredAverage],
    width: float,
    at: int,
    tracked: Mapping[float, Mapping[str, Tensor]],
) -> Row:
    exact = tracked[width]
    recipe = recipe_of(run, [one for one in stored if one.kind.width != width], width, at)
    made = {name: torch.empty_like(value) for name, value in exact.items()}
    mix(recipe, made)
    far = _distance(made, exact)
    others = [_distance(other, exact) for key, other in tracked.items() if key != width]
    norm = _distance(exact, {name: torch.zeros_like(value) for name, value in exact.items()})
    return Row(width, len(recipe.parts), recipe.mixture.error, far / norm, far / min(others))


def _distance(a: Mapping[str, Tensor], b: Mapping[str, Tensor]) -> float:
    return math.sqrt(sum(float((a[name] - b[name]).double().square().sum()) for name in b))


def main() -> int:
    """Prints a line for each width."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("run", type=Path)
    parser.add_argument("--at", type=int)
    arguments = parser.parse_args()
    try:
        found = rows(arguments.run, arguments.at)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    cells = [
        [
            f"{r.width:g}",
            str(r.parts),
            *(f"{share:.2e}" for share in (r.profile, r.of_weights, r.of_distance)),
        ]
        for r in found
    ]
    print(table(cells, ("width left out", "parts", "profile", "of the weights", "of the distance")))
    return 0


if __name__ == "__main__":
    sys.exit(main())
