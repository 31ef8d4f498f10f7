"""Casts rays at ellipsoids and shades what they meet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.data.sources.heads.traits import Colour

Array = npt.NDArray[np.float64]

RADIUS, FIELD_OF_VIEW = 10.0, 30.0
"""The camera's distance from the origin, and the degrees between the left and right edges of its picture."""
_LIGHT, _AMBIENT = (0.5, 0.0, 0.75), 0.45  # in front and above, so that left and right are lit alike
_FINER = 3  # rays along each side of a pixel


@dataclass(frozen=True)
class Ellipsoid:
    """An ellipsoid whose axes are those of space: x to where the face looks, y to its left, z upwards."""

    centre: tuple[float, float, float]
    radii: tuple[float, float, float]
    colour: Colour


def picture_of(parts: Sequence[Ellipsoid], azimuth: float, polar: float, side: int) -> npt.NDArray[np.uint8]:
    """The picture [side, side, 3] of ellipsoids on white, from a camera at (azimuth, polar), in degrees, that
    looks at the origin. Each pixel is the mean of several rays. Shading is Lambert's, of one distant light,
    and the same from all sides."""
    origin, directions = rays_from(azimuth, polar, side * _FINER)
    nearest = np.full(len(directions), np.inf)
    seen = np.ones((len(directions), 3))
    for part in parts:
        depth, normal = _met(part, origin, directions)
        here = depth < nearest
        nearest[here] = depth[here]
        seen[here] = _shaded(normal[here], part.colour)
    cells = seen.reshape(side, _FINER, side, _FINER, 3).mean(axis=(1, 3))
    pixels: npt.NDArray[np.uint8] = np.rint(255 * np.clip(cells, 0, 1) ** (1 / 2.2)).astype(np.uint8)
    return pixels


def rays_from(azimuth: float, polar: float, side: int) -> tuple[Array, Array]:
    """The camera's place [3] and the directions [side * side, 3] through the middles of pixels, row by
    row."""
    (sa, ca), (sp, cp) = ((math.sin(math.radians(x)), math.cos(math.radians(x))) for x in (azimuth, polar))
    right, up, back = (np.array(v) for v in ((-sa, ca, 0), (-cp * ca, -cp * sa, sp), (sp * ca, sp * sa, cp)))
    line = ((np.arange(side) + 0.5) / side * 2 - 1) * math.tan(math.radians(FIELD_OF_VIEW) / 2)
    y, x = np.meshgrid(-line, line, indexing="ij")
    directions = x[..., None] * right + y[..., None] * up - back
    return RADIUS * back, directions.reshape(-1, 3)


def _met(part: Ellipsoid, origin: Array, directions: Array) -> tuple[Array, Array]:
    """Where rays first meet an ellipsoid, in lengths of directions, infinite for those that do not, and the
    outward unit normals there."""
    radii = np.array(part.radii)
    start, way = (origin - part.centre) / radii, directions / radii
    a, b, c = (way**2).sum(1), way @ start, start @ start - 1
    under = b**2 - a * c
    depth = np.where(under > 0, (-b - np.sqrt(np.maximum(under, 0))) / a, np.inf)
    places = start + np.where(np.isfinite(depth), depth, 0)[:, None] * way
    normal = places / radii
    return depth, normal / np.linalg.norm(normal, axis=1, keepdims=True)


def _shaded(normal: Array, colour: Colour) -> Array:
    light = np.array(_LIGHT) / np.linalg.norm(_LIGHT)
    brightness = _AMBIENT + (1 - _AMBIENT) * np.maximum(normal @ light, 0)
    return np.asarray(brightness[:, None] * np.array(colour))
