"""Which pictures of a source are wanted, and what is said of the others."""

from __future__ import annotations

from dataclasses import dataclass

UNWANTED = "not wanted: "
"""Begins the reason of each picture that could be used and was asked to be left out."""


class Unwanted(Exception):
    """A picture that was asked to be left out. The message is the reason."""

    def __init__(self, reason: str) -> None:
        super().__init__(UNWANTED + reason)


@dataclass(frozen=True)
class Choice:
    """What a picture must be like. min_side: pixels of its shorter side, before it is resized. max_aspect:
    its longer side over its shorter one, at most. min_sharpness: the variance of its Laplacian at the size
    that it gets (`images.quality`), at least; None: it is not measured."""

    min_side: int | None = None
    max_aspect: float | None = None
    min_sharpness: float | None = None

    def check_shape(self, width: float, height: float) -> None:
        """Raises Unwanted for a picture of a size that is not wanted."""
        shorter, longer = sorted((width, height))
        if self.min_side is not None and shorter < self.min_side:
            raise Unwanted(f"{width:.0f}x{height:.0f} pixels; --min-side is {self.min_side}")
        if self.max_aspect is not None and longer > self.max_aspect * shorter:
            raise Unwanted(f"{width:.0f}x{height:.0f} pixels; --max-aspect is {self.max_aspect:g}")

    def check_sharpness(self, value: float) -> None:
        """Raises Unwanted for a picture that is too blurred."""
        if self.min_sharpness is not None and value < self.min_sharpness:
            raise Unwanted(f"its sharpness is {value:.3g}; --min-sharpness is {self.min_sharpness:g}")


ALL = Choice()
