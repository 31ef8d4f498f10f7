"""The part of a picture that becomes an image, and the same part of what lies beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from PIL import Image

from pipeline.images.alignment import Corners, align, align_mask, side_of
from pipeline.images.codec import MODES
from pipeline.images.normalised import Target, fit, is_enlarged


class Framing(Protocol):
    """How a picture, and with it its fields, comes to the target's shape."""

    def image(self, picture: Image.Image, target: Target) -> Image.Image:
        """The picture, or an image beside it, in the target's size and mode."""
        ...

    def mask(self, mask: Image.Image, target: Target) -> Image.Image:
        """A mask beside it (L), whose values are kept, with 0 where there is none."""
        ...

    def size(self, picture: Image.Image) -> tuple[float, float]:
        """(width, height) of what is taken for the picture, in its pixels."""
        ...

    def is_enlarged(self, picture: Image.Image, target: Target) -> bool:
        """Whether pixels must be invented."""
        ...


@dataclass(frozen=True)
class Fitted:
    """The whole picture, as `images.normalised.fit` has it."""

    def image(self, picture: Image.Image, target: Target) -> Image.Image:
        return fit(picture, target)

    def mask(self, mask: Image.Image, target: Target) -> Image.Image:
        return fit(mask, target, Image.Resampling.NEAREST)

    def size(self, picture: Image.Image) -> tuple[float, float]:
        return picture.size

    def is_enlarged(self, picture: Image.Image, target: Target) -> bool:
        return is_enlarged(picture, target)


@dataclass(frozen=True)
class Framed:
    """The square around a face. corners: in a picture of `of` (width, height)."""

    corners: Corners
    of: tuple[int, int]

    def image(self, picture: Image.Image, target: Target) -> Image.Image:
        return align(picture.convert(MODES[target.channels]), self._corners_in(picture), target)

    def mask(self, mask: Image.Image, target: Target) -> Image.Image:
        return align_mask(mask, self._corners_in(mask), target)

    def size(self, picture: Image.Image) -> tuple[float, float]:
        return side_of(self.corners), side_of(self.corners)

    def is_enlarged(self, picture: Image.Image, target: Target) -> bool:
        return side_of(self.corners) < target.width

    def _corners_in(self, picture: Image.Image) -> Corners:
        """The same square in a picture of another size, whose pixels' middles are whole numbers as well."""
        scale = np.array([picture.width / self.of[0], picture.height / self.of[1]])
        corners: Corners = (self.corners + 0.5) * scale - 0.5
        return corners
