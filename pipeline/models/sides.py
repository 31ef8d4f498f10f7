"""The sides of images and of the features inside networks that double or halve them."""

from __future__ import annotations

from dataclasses import dataclass

LOWEST = 4
"""Pixels of the shorter side, at least, where networks begin."""


@dataclass(frozen=True)
class Sides:
    """How images of height x width are reached from the few pixels where networks begin.

    start: (height, width) there; the shorter side has 4 to 7 pixels if the images' sides allow it, and 4 if
    they are a power of two. doublings: how often both sides are doubled. lowest: the least pixels of the
    shorter side there, in the place of 4; the most are one less than twice as many.
    """

    start: tuple[int, int]
    doublings: int
    lowest: int = LOWEST

    @property
    def begins(self) -> bool:
        """Whether the shorter side begins with 4 to 7 pixels: otherwise both sides are no multiples of the
        same power of two that is large enough."""
        return self.lowest <= min(self.start) < 2 * self.lowest

    def at(self, level: int) -> tuple[int, int]:
        """Returns (height, width) after `level` doublings."""
        return self.start[0] << level, self.start[1] << level


def sides_of(height: int, width: int, lowest: int = LOWEST) -> Sides:
    """Returns the sides of images: both are halved while they are even and half of the shorter one has at
    least `lowest` pixels."""
    doublings = 0
    while height % 2 == 0 and width % 2 == 0 and min(height, width) >= 2 * lowest:
        height, width, doublings = height // 2, width // 2, doublings + 1
    return Sides((height, width), doublings, lowest)


def allowed_sides(lowest: int = LOWEST) -> str:
    """Returns which sides of images begin, for a person who has others."""
    return (
        f"sides of {lowest} to {2 * lowest - 1} pixels, or more for the longer one, that are doubled equally "
        "often, such as 256x256, 192x256 or 768x1280; prepare the data with --resolution or --size"
    )


ALLOWED = allowed_sides()
