"""demo:digits-on-photographs: the digits of demo:digits blended with crops of the two photographs that
scikit-learn brings along, as Ganin et al. 2016, section 5.2.4, make MNIST-M."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from PIL import Image

from pipeline.data.sources.demo_digits import DigitsSource
from pipeline.data.sources.source import Picture, SourceKind, Wanted
from pipeline.errors import UserError

_NAME = "demo:digits-on-photographs"
_SIDE, _SIDES = 32, range(8, 257)
_SHRUNK = 2  # the photographs are this much smaller, so that a crop shows more than one tone


class PhotographedDigitsSource(DigitsSource):
    """|digit - crop| in each channel; the i-th is a function of (seed, i, side). Names and classes are those
    of demo:digits."""

    def __init__(self, seed: int, side: int) -> None:
        if side not in _SIDES:
            raise UserError(f"{_NAME}: resolution: {side}; {_SIDES[0]} to {_SIDES[-1]} pixels are allowed")
        super().__init__(_NAME)
        from sklearn.datasets import load_sample_image

        self._seed, self._side = seed, side
        self._photographs = [
            Image.fromarray(load_sample_image(name)).reduce(_SHRUNK) for name in ("china.jpg", "flower.jpg")
        ]

    def picture(self, number: int) -> Picture:
        digit = super().picture(number).image.convert("RGB")
        digit = digit.resize((self._side, self._side), Image.Resampling.LANCZOS)
        difference = np.asarray(digit, np.int16) - self._crop(number)
        return Picture(Image.fromarray(np.abs(difference).astype(np.uint8)))

    def size(self, number: int) -> tuple[int, int]:
        return (self._side, self._side)

    def _crop(self, number: int) -> npt.NDArray[np.int16]:
        """Returns a square of a photograph, [side, side, 3], 0 to 255; smaller ones are enlarged."""
        drawn = np.random.default_rng((self._seed, number))
        photograph = self._photographs[drawn.integers(len(self._photographs))]
        side = min(self._side, *photograph.size)
        left, top = (int(drawn.integers(length - side + 1)) for length in photograph.size)
        crop = photograph.crop((left, top, left + side, top + side))
        return np.asarray(crop.resize((self._side, self._side)), np.int16)


def _open(source: str, wanted: Wanted) -> PhotographedDigitsSource:
    return PhotographedDigitsSource(wanted.seed, _SIDE if wanted.side is None else wanted.side)


KIND = SourceKind(_NAME, lambda source: source == _NAME, _open, side=_SIDE)
