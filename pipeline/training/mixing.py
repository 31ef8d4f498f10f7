"""An average of any width, made of those that a run's snapshots keep (Karras et al. 2024, section 3.2)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from pipeline.errors import UserError
from pipeline.storage.averages import StoredAverage
from pipeline.training.profiles import Mixture, Profile, exponent_of, mixture

_DOUBTFUL = 0.1  # error of a profile
_NOTHING = 1e-9  # a weight that float32 does not see


@dataclass(frozen=True)
class Recipe:
    """How an average is made: `mixture` of `parts`, which began at `since` and end by `images_seen`."""

    width: float
    images_seen: int
    since: int
    parts: tuple[StoredAverage, ...]
    mixture: Mixture

    @property
    def about(self) -> dict[str, Any]:
        """What a snapshot says of it. `parts`: their number; `sha256`: of their files' digests."""
        files = json.dumps([part.sha256 for part in self.parts])
        return {
            "width": self.width,
            "since": self.since,
            "error": self.mixture.error,
            "parts": len(self.parts),
            "sha256": hashlib.sha256(files.encode()).hexdigest(),
        }

    @property
    def doubt(self) -> str | None:
        """A line on how far it is from what was asked for; None if it is near enough."""
        error = self.mixture.error
        if error <= _DOUBTFUL:
            return None
        return (
            f"width {self.width:g}: the snapshots up to {self.images_seen:,} images match its profile only "
            f"within {error:.0%}; more snapshots (snapshots.every_images) or a tracked width near it "
            "(averages.widths) would match it better"
        )


def recipe_of(run: Path, stored: Sequence[StoredAverage], width: float, at: int | None = None) -> Recipe:
    """The recipe for the average of `width` at a stored position, by default the newest.

    Only averages that began where the oldest one at that position did are mixed: others lack part of what it
    has seen, or have seen other networks. UserError if nothing is stored there.
    """
    places = sorted({one.images_seen for one in stored})
    if not places:
        raise UserError(
            f"{run}: its snapshots keep no averages; allowed: a run that was trained with averages.widths, "
            "from its second snapshot on"
        )
    at = places[-1] if at is None else at
    if at not in places:
        near = sorted(sorted(places, key=lambda place: abs(place - at))[:2])
        raise UserError(
            f"--at {at}: no snapshot there keeps averages; allowed: such as {' or '.join(map(str, near))}"
        )
    since = min(one.kind.since for one in stored if one.images_seen == at)
    parts = tuple(one for one in stored if one.kind.since == since and one.images_seen <= at)
    profiles = [Profile(exponent_of(one.kind.width), one.images_seen - since) for one in parts]
    wanted = Profile(exponent_of(width), at - since)
    return Recipe(width, at, since, parts, mixture(profiles, wanted))


@torch.no_grad()
def mix(recipe: Recipe, parameters: Mapping[str, Tensor]) -> None:
    """Sets `parameters`, by name, to the average. Sums are in float32; besides them, one tensor is in memory.

    Raises UserError if a part is damaged or does not fit.
    """
    for value in parameters.values():
        value.zero_()
    for part, weight in zip(recipe.parts, recipe.mixture.weights, strict=True):
        if abs(weight) < _NOTHING:
            continue
        left = dict(parameters)
        for name, value in part.parameters():
            if name not in left or left[name].shape != value.shape:
                raise UserError(f"{part.folder / part.file}: {name}: does not fit the generator")
            left.pop(name).add_(value.to(parameters[name].device), alpha=weight)
        if left:
            raise UserError(f"{part.folder / part.file}: lacks {', '.join(sorted(left))[:200]}")
