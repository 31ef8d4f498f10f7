"""What a head is like and where it is seen from, drawn from its number."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

Colour = tuple[float, float, float]

HAIR: Mapping[str, Colour] = {
    "black": (0.10, 0.09, 0.10),
    "brown": (0.36, 0.21, 0.12),
    "blond": (0.90, 0.74, 0.38),
    "red": (0.76, 0.29, 0.12),
    "grey": (0.62, 0.63, 0.66),
}
"""Colours of hair, linear RGB of what it reflects; their names are the classes."""
_SKINS: tuple[Colour, ...] = ((0.95, 0.75, 0.62), (0.85, 0.62, 0.46), (0.66, 0.44, 0.30), (0.45, 0.29, 0.20))
_EYES: tuple[Colour, ...] = ((0.13, 0.33, 0.62), (0.16, 0.42, 0.22), (0.25, 0.14, 0.08))
AZIMUTHS, POLARS = (-180.0, 180.0), (60.0, 95.0)
"""Where cameras stand, in degrees: around the head, and from the pole above it; uniform on the sphere."""


@dataclass(frozen=True)
class Head:
    """A head and the pose of its camera.

    azimuth, polar: of the camera, in degrees; at azimuth 0 it sees the face from in front, at 90 the head's
    left. width, height: of the skull, by which a usual one's are multiplied. nose: its length. hair, skin,
    eyes: colours, linear RGB; hair_name: of the hair. tuft: how much hair there is, by which a usual one is
    multiplied.
    """

    azimuth: float
    polar: float
    width: float
    height: float
    nose: float
    tuft: float
    hair: Colour
    skin: Colour
    eyes: Colour
    hair_name: str

    def about(self) -> dict[str, Any]:
        """What is told of it beside the picture, as JSON."""
        numbers = {key: value for key, value in asdict(self).items() if isinstance(value, float)}
        return {key: round(value, 3) for key, value in numbers.items()} | {"hair": self.hair_name}


def head_of(seed: int, number: int) -> Head:
    """The head of a number: a function of both, that no other head's depends on."""
    draw = np.random.default_rng((seed, number))
    top, bottom = (math.cos(math.radians(angle)) for angle in POLARS)
    name = list(HAIR)[draw.integers(len(HAIR))]
    return Head(
        azimuth=float(draw.uniform(*AZIMUTHS)),
        polar=math.degrees(math.acos(draw.uniform(bottom, top))),
        width=float(draw.uniform(0.88, 1.08)),
        height=float(draw.uniform(0.92, 1.1)),
        nose=float(draw.uniform(0.2, 0.38)),
        tuft=float(draw.uniform(1.0, 1.1)),
        hair=HAIR[name],
        skin=_SKINS[draw.integers(len(_SKINS))],
        eyes=_EYES[draw.integers(len(_EYES))],
        hair_name=name,
    )
