"""Near-duplicate images: a perceptual hash of coarse gradients, and the images kept so far."""

from __future__ import annotations

import numpy as np
from torch import Tensor

from pipeline.images.quality import gradient_bits

_SIDE = 16
HASH_BITS = _SIDE * _SIDE

_ONES = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)
_START = 1024  # the initial number of rows in the table of hashes


def picture_hash(pixels: Tensor) -> list[str]:
    """A 256-bit hash, in hexadecimal, of each of the images uint8 [N, C, H, W]: their `gradient_bits`."""
    bits, _ = gradient_bits(pixels, _SIDE)
    return [row.tobytes().hex() for row in np.packbits(bits, axis=1)]


class Seen:
    """The hashes of the images kept so far."""

    def __init__(self, bits: int) -> None:
        self._bits, self._count = bits, 0
        self._rows = np.zeros((_START, HASH_BITS // 8), dtype=np.uint8)

    def take(self, text: str) -> bool:
        """Keeps the image unless its hash is within `bits` of an earlier one's. Returns whether it was
        kept."""
        row = np.frombuffer(bytes.fromhex(text), dtype=np.uint8)
        apart = _ONES[self._rows[: self._count] ^ row].sum(axis=1, dtype=np.int64)
        if self._count and int(apart.min()) <= self._bits:
            return False
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[self._count] = row
        self._count += 1
        return True
