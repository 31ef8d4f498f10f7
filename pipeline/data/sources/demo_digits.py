"""demo:digits: the 1,797 real handwritten digits, 8x8 pixels, that scikit-learn brings along."""

from __future__ import annotations

import numpy as np
from PIL import Image

from pipeline.data.sources.source import Listing, Picture, SourceKind
from pipeline.errors import UserError

_NAME = "demo:digits"


class DigitsSource:
    """Handwritten digits, ten classes, white on black."""

    def __init__(self, title: str = _NAME) -> None:
        """Raises UserError without scikit-learn."""
        try:
            from sklearn.datasets import load_digits
        except ImportError as error:
            raise UserError(
                f"{title}: needs scikit-learn, which is not installed; pip install 'hrgan[demo]'"
            ) from error
        digits = load_digits()
        # Stored as counts of ink in 4x4 blocks of a bitmap: 0 to 16.
        self._images = np.round(digits.images * (255 / 16)).astype(np.uint8)
        self.title = title
        names = [f"digit-{i:04d}" for i in range(len(self._images))]
        self.listing = Listing(names, [64] * len(names), [str(label) for label in digits.target])

    def picture(self, number: int) -> Picture:
        return Picture(Image.fromarray(self._images[number]))

    def size(self, number: int) -> tuple[int, int]:
        return (8, 8)


KIND = SourceKind(_NAME, lambda source: source == _NAME, lambda source, wanted: DigitsSource(), side=32)
