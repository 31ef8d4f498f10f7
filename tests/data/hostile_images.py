"""Images that damage or malice may make: seeded, small, and each with the name of its kind."""

from __future__ import annotations

import io
import random
import struct
import zlib

import numpy as np
from PIL import Image

SIDE = 24
Case = tuple[str, bytes]
_LENGTHS = (0, 1, 2**31 - 1, 2**31, 2**32 - 1)
_CHUNKS = (
    b"PLTE tRNS iCCP gAMA cHRM sBIT bKGD hIST tIME eXIf acTL fdAT zTXt iTXt tEXt sPLT pHYs ABCD IHDR IEND"
).split()


def chunk(kind: bytes, data: bytes) -> bytes:
    """With a right checksum, whatever is in it."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(pixels: bytes, before: bytes = b"", *, piece: int = 1 << 20, interlaced: bool = False) -> bytes:
    """An RGB image of SIDE x SIDE with the deflate stream `pixels`."""
    header = struct.pack(">IIBBBBB", SIDE, SIDE, 8, 2, 0, 0, interlaced)
    parts = [chunk(b"IDAT", pixels[at : at + piece]) for at in range(0, max(len(pixels), 1), piece)]
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + before + b"".join(parts) + chunk(b"IEND", b"")


def rows(rng: random.Random, count: int = SIDE, filters: int = 5) -> bytes:
    """Filtered rows of random pixels."""
    return b"".join(bytes([rng.randrange(filters)]) + rng.randbytes(3 * SIDE) for _ in range(count))


def _spoilt(data: bytes, rng: random.Random, most: int = 8, start: int = 0) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randrange(1, most)):
        changed[rng.randrange(start, len(data))] = rng.randrange(256)
    return bytes(changed)


def _long_chunk(good: bytes, rng: random.Random) -> bytes:
    data = bytearray(png(good))
    struct.pack_into(">I", data, 33, rng.choice((*_LENGTHS, len(good) - 1, len(good) + 1)))
    return bytes(data)


def _odd_chunks(good: bytes, rng: random.Random) -> bytes:
    sizes = (0, 1, 2, 3, 6, 9, 32, 100, 800)
    return png(good, b"".join(chunk(rng.choice(_CHUNKS), rng.randbytes(rng.choice(sizes))) for _ in range(2)))


_PNGS = {
    "damaged pixels": lambda good, rng: png(_spoilt(good, rng)),
    "rows missing": lambda _, rng: png(zlib.compress(rows(rng, rng.randrange(SIDE)))),
    "rows too many": lambda _, rng: png(zlib.compress(rows(rng, SIDE + rng.randrange(1, 400)))),
    "wrong filters": lambda _, rng: png(zlib.compress(rows(rng, filters=256))),
    "no deflate stream": lambda _, rng: png(rng.randbytes(rng.randrange(3000))),
    "stream cut": lambda good, rng: png(good[: rng.randrange(len(good))]),
    "file cut": lambda good, rng: png(good)[: rng.randrange(33, len(good) + 50)],
    "said to be interlaced": lambda good, _: png(good, interlaced=True),
    "in pieces": lambda good, rng: png(good, piece=rng.randrange(1, 50)),
    "length of a chunk": _long_chunk,
    "odd chunks": _odd_chunks,
    "any byte": lambda good, rng: _spoilt(png(good), rng, start=29),
    "stored pixels": lambda _, rng: png(_spoilt(zlib.compress(rows(rng), 0)[:12], rng) + rows(rng), piece=7),
}


def pngs(seed: int, count: int) -> list[Case]:
    """PNGs whose header is right and whose checksums mostly are."""
    cases = []
    for number in range(count):
        rng = random.Random(f"{seed}-{number}")
        name = list(_PNGS)[number % len(_PNGS)]
        cases.append((name, _PNGS[name](zlib.compress(rows(rng)), rng)))
    return cases


def _photograph() -> Image.Image:
    y, x = np.mgrid[:SIDE, :SIDE]
    noise = np.random.default_rng(0).integers(0, 40, (SIDE, SIDE))
    return Image.fromarray(np.stack([x * 9, y * 9, (x + y) * 4 + noise], -1).astype(np.uint8))


def _saved(**settings: object) -> bytes:
    buffer = io.BytesIO()
    _photograph().save(buffer, **settings)
    return buffer.getvalue()


def _changed(data: bytes, rng: random.Random) -> Case:
    changed, at = bytearray(data), rng.randrange(len(data))
    other, length = rng.randrange(len(data)), rng.randrange(1, 60)
    kind = rng.choice(("bytes", "header", "cut", "more", "less", "moved"))
    if kind in ("bytes", "header"):
        return kind, _spoilt(data, rng) if kind == "bytes" else _spoilt(data[:700], rng) + data[700:]
    if kind == "cut":
        return kind, data[:at]
    changed[at : at + (0 if kind == "more" else length)] = {
        "more": rng.randbytes(length),
        "less": b"",
        "moved": data[other : other + length],
    }[kind]
    return kind, bytes(changed)


def photographs(extension: str, seed: int, count: int) -> list[Case]:
    """Damaged JPEGs (baseline, progressive, with restarts) or WebPs (lossy, lossless)."""
    kinds = {
        "jpg": ({}, {"progressive": True}, {"restart_marker_rows": 1, "subsampling": 0}, {"optimize": True}),
        "webp": ({}, {"lossless": True}),
    }[extension]
    name = {"jpg": "JPEG", "webp": "WEBP"}[extension]
    whole = [_saved(format=name, quality=85, **settings) for settings in kinds]
    return [_changed(whole[n % len(whole)], random.Random(f"{seed}-{n}")) for n in range(count)]
