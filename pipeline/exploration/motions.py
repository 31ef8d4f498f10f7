"""Motions of what an image shows, or of who sees it, at a steady speed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.exploration.numbers import shown
from pipeline.latents import moves_of


@dataclass(frozen=True)
class Motion:
    """Places at equal distances on the way of an image. moves: [steps, 3, 3] for `latents.MovableSpace`.
    names: a label for each place. closed: whether the place after the last one is the first."""

    moves: Tensor
    names: Sequence[str]
    title: str
    closed: bool = False


@dataclass(frozen=True)
class Orbit:
    """Places at equal distances on a camera's way around a scene. azimuths: [steps], in degrees. names,
    title, closed: as of a `Motion`."""

    azimuths: Tensor
    names: Sequence[str]
    title: str
    closed: bool = False


def translation(right: float, down: float, steps: int) -> Motion:
    """A straight way from where an image is to `right` and `down`, in image widths; both ends are places."""
    shifts = torch.linspace(0, 1, steps, dtype=torch.float64)[:, None] * torch.tensor([right, down])
    names = [f"{shown(x)}, {shown(y)}" for x, y in shifts.tolist()]
    return Motion(moves_of(shifts, torch.zeros(steps)), names, "shifted right and down, in widths")


def rotation(degrees: float, steps: int) -> Motion:
    """A turn about the middle, counter-clockwise. Both ends are places unless they show the same."""
    closed = degrees % 360 == 0
    angles = degrees * _parts(steps, closed=closed)
    moves = moves_of(torch.zeros(steps, 2, dtype=torch.float64), angles * math.pi / 180)
    return Motion(moves, [shown(angle) for angle in angles.tolist()], "turned, in degrees", closed)


def orbit(first: float, degrees: float, steps: int) -> Orbit:
    """A way around a scene, from the azimuth `first` on. Both ends are places unless they are the same."""
    closed = degrees % 360 == 0
    azimuths = first + degrees * _parts(steps, closed=closed)
    names = [shown(angle) for angle in azimuths.tolist()]
    return Orbit(azimuths, names, "azimuth in degrees", closed)


def _parts(steps: int, *, closed: bool) -> Tensor:
    """Shares of a way at its places; the last is the whole of it unless that is where it began."""
    return torch.arange(steps, dtype=torch.float64) / (steps if closed else steps - 1)
