"""The sides of images and of the features inside networks that double or halve them."""

from __future__ import annotations

from dataclasses import dataclass

LOWEST = 4
"""Pixels of the shorter side, at least, where networks begin."""


@dataclass(frozen=True)
class Sides:
    """How images of height x width are reached from the few pixels where networks begin.

    start: (height, width) there; the shorter side has 4 to 7 pixels if the images' sides allow it, and 4 if
    they are a power of two. doublings: how often both sides are doubled.
    """

    start: tuple[int, int]
    doublings: int

    @property
    def begins(self) -> bool:
        """Whether the shorter side begins with 4 to 7 pixels: otherwise both sides are no multiples of the
        same power of two that is large enough."""
        return LOWEST <= min(self.start) < 2 * LOWEST

    def at(self, level: int) -> tuple[int, int]:
        """Returns (height, width) after `level` doublings."""
        return self.start[0] << level, self.start[1] << level


def sides_of(height: int, width: int) -> Sides:
    """Returns the sides of images: both are halved while they are even and the shorter one has 8 pixels."""
    doublings = 0
    while height % 2 == 0 and width % 2 == 0 and min(height, width) >= 2 * LOWEST:
        height, width, doublings = height // 2, width // 2, doublings + 1
    return Sides((height, width), doublings)


ALLOWED = (
    "sides of 4 to 7 pixels, or more for the longer one, that are doubled equally often, such as 256x256, "
    "192x256 or 768x1280; prepare the data with --resolution or --size"
)
