"""Whether a PNG holds all the rows that its header promises: PIL leaves those that are missing black."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

SIGNATURE = b"\x89PNG\r\n\x1a\n"
_SAMPLES = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}  # a pixel, by colour type
# Adam7: (first column, column step, first row, row step) of each pass.
_PASSES = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2))


def lacks_rows(image: bytes, last_row: bytes) -> bool:
    """Whether the pixels of a PNG end before its last row, which PIL decoded to the bytes `last_row`.

    Only a last row of zeros can be missing, or any row where they are interlaced: others cost nothing.
    """
    return (_is_interlaced(image) or not any(last_row)) and not has_all_rows(image)


def has_all_rows(image: bytes) -> bool:
    """Whether the rows of a PNG inflate to their whole length; what goes beyond it is not looked at."""
    wanted = _row_bytes(image)
    inflate = zlib.decompressobj()
    try:
        for part in _pixel_data(image):
            while part and wanted > 0:
                wanted -= len(inflate.decompress(part, min(wanted, 1 << 20)))
                part = inflate.unconsumed_tail
    except zlib.error:
        return False
    return wanted <= 0


def _is_interlaced(image: bytes) -> bool:
    return image[28] != 0


def _row_bytes(image: bytes) -> int:
    """Bytes of all rows, each with the byte of its filter (PNG specification, 7.2 and 8.2)."""
    width, height = int.from_bytes(image[16:20], "big"), int.from_bytes(image[20:24], "big")
    bits = image[24] * _SAMPLES.get(image[25], 0)
    passes = _PASSES if _is_interlaced(image) else ((0, 1, 0, 1),)
    total = 0
    for left, across, top, down in passes:
        columns, rows = -(-max(width - left, 0) // across), -(-max(height - top, 0) // down)
        total += rows * (1 + -(-columns * bits // 8)) if columns else 0
    return total


def _pixel_data(image: bytes) -> Iterator[bytes]:
    at = len(SIGNATURE)
    while at + 12 <= len(image):
        length = int.from_bytes(image[at : at + 4], "big")
        if image[at + 4 : at + 8] == b"IDAT":
            yield image[at + 8 : at + 8 + length]
        at += 12 + length
