"""Pictures that look the same: a hash of coarse gradients, and who came first."""

from __future__ import annotations

import numpy as np
import torch.nn.functional as F
from torch import Tensor

_SIDE = 16
HASH_BITS = _SIDE * _SIDE

_ONES = np.array([bin(byte).count("1") for byte in range(256)], dtype=np.uint8)
_START = 1024  # rows that the table of hashes begins with


def picture_hash(pixels: Tensor) -> list[str]:
    """A hash of 256 bits, in hex, for each of the pictures uint8 [N, C, H, W]: whether the mean grey of a
    cell, of 17 in each of 16 rows, is above that of the cell to its left. Scaling, brightness and encoding
    change few of the bits."""
    grey = pixels.double().mean(dim=1, keepdim=True).cpu()
    cells = F.adaptive_avg_pool2d(grey, (_SIDE, _SIDE + 1))[:, 0]
    bits = (cells[:, :, 1:] > cells[:, :, :-1]).flatten(1).numpy()
    return [row.tobytes().hex() for row in np.packbits(bits, axis=1)]


class Seen:
    """The hashes of the images that were kept so far."""

    def __init__(self, bits: int) -> None:
        self._bits, self._count = bits, 0
        self._rows = np.zeros((_START, HASH_BITS // 8), dtype=np.uint8)

    def take(self, text: str) -> bool:
        """Keeps the image unless its hash is within `bits` of an earlier one's; returns whether it was
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
