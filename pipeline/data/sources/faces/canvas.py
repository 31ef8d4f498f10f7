"""Soft painting on arrays: a canvas in units of its half side, patches of it, and edges one pixel soft."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Plane = npt.NDArray[Any]  # of float32


PARTS = (
    *("background", "hair", "face", "ears", "neck", "clothes", "eyes"),
    *("irises", "brows", "nose", "mouth", "beard", "glasses"),
)
"""What a pixel may show; its code is its place here. Eyes are without irises."""
CODES = {name: code for code, name in enumerate(PARTS)}


class Canvas:
    """A square picture [S, S, 3] float32 in [0, 1]; x and y run from -1 to 1, right and down. codes: what
    each pixel shows, uint8 [S, S] (`PARTS`)."""

    def __init__(self, side: int) -> None:
        self.side = side
        self.pixel = 2.0 / side
        self.rgb: Plane = np.zeros((side, side, 3), np.float32)
        self.codes: npt.NDArray[np.uint8] = np.zeros((side, side), np.uint8)
        self._axis = ((np.arange(side, dtype=np.float32) + 0.5) * self.pixel - 1).astype(np.float32)

    def patch(self, left: float = -1, top: float = -1, right: float = 1, bottom: float = 1) -> Patch:
        """The part of the canvas within these bounds."""
        rows = slice(*np.searchsorted(self._axis, (top, bottom)).tolist())
        columns = slice(*np.searchsorted(self._axis, (left, right)).tolist())
        axes = self._axis[None, columns], self._axis[rows, None]
        return Patch(self.rgb[rows, columns], self.codes[rows, columns], *axes, self.pixel)


@dataclass
class Patch:
    """A view of a canvas: `rgb` [h, w, 3], codes [h, w], x [1, w], y [h, 1], `pixel`: the width of one."""

    rgb: Plane
    codes: npt.NDArray[np.uint8]
    x: Plane
    y: Plane
    pixel: float

    def paint(self, cover: Plane, colour: object) -> None:
        """Lays `colour` (three numbers, or [h, w, 3]) over the picture where `cover` [h, w] is 1."""
        self.rgb += cover[..., None] * (np.asarray(colour, np.float32) - self.rgb)

    def mark(self, cover: Plane, part: str) -> None:
        """Says that what is shown where `cover` is more than half is this part."""
        self.codes[cover > 0.5] = CODES[part]

    def darken(self, cover: Plane, tint: object = (0.0, 0.0, 0.0)) -> None:
        """Multiplies by `tint` where `cover` is 1."""
        self.rgb *= 1 + cover[..., None] * (np.asarray(tint, np.float32) - 1)


def inside(distance: Plane, softness: float) -> Plane:
    """1 where `distance` < 0, 0 beyond, with an edge of `softness`."""
    return np.clip(0.5 - distance / softness, 0, 1)


def smooth(value: Plane, low: float, high: float) -> Plane:
    """0 below `low`, 1 above `high`, a smooth S between."""
    t = np.clip((value - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def bell(x: Plane, y: Plane, wide: float, tall: float) -> Plane:
    """exp(-(x/wide)^2 - (y/tall)^2)."""
    return np.exp(-((x / wide) ** 2)) * np.exp(-((y / tall) ** 2))


def ellipse(x: Plane, y: Plane, wide: float, tall: float) -> Plane:
    """Distance, about in units of x and y, from the ellipse with these half axes; negative inside."""
    return (np.sqrt((x / wide) ** 2 + (y / tall) ** 2) - 1) * min(wide, tall)


def wave(values: Plane, seed: int, octaves: int = 4, base: float = 6.0) -> Plane:
    """Smooth noise of one variable in about [-1, 1], finer with each octave."""
    phases = np.random.PCG64(seed).random_raw(2 * octaves)
    total = np.zeros_like(values)
    for octave in range(octaves):
        shift = float(phases[2 * octave] % 6283) / 1000
        stretch = 1 + float(phases[2 * octave + 1] % 1000) / 2000
        total += np.sin(values * (base * stretch * 2.1**octave) + shift) / 1.35**octave
    return total / 2.4
