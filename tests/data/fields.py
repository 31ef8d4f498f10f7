"""A small data set whose samples have a field of every kind, each of which says which sample it is."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from pipeline.contracts import Field
from pipeline.data.shards.arrays import pack
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.sink import ShardSink
from tests.data.sets import CLASSES, png

FIELDS = (
    Field("pair", "image", (4, 6, 1)),
    Field("mask", "mask", (8, 8)),
    Field("text", "text", (12,)),
    Field("latent", "array", (2, 3), "float16"),
    Field("tokens", "array", (5,), "int32"),
)


def grey(height: int, width: int, number: int) -> bytes:
    """Values `number`, but for the left column, which is 255."""
    pixels = np.full((height, width), number, np.uint8)
    pixels[:, 0] = 255
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def beside(n: int) -> dict[str, bytes]:
    """The fields of sample n < 255."""
    return {
        "pair": grey(4, 6, n),
        "mask": grey(8, 8, n),
        "text": f"sample {n}".encode(),
        "latent": pack(np.full((2, 3), n, np.float16) + np.arange(3, dtype=np.float16)),
        "tokens": pack(np.arange(5, dtype=np.int32) + n),
    }


def make_fields_set(root: Path, count: int, shard_size: int = 16, fields=FIELDS) -> ShardIndex:
    names = [field.name for field in fields]
    with ShardSink(
        root,
        name="data",
        height=8,
        width=8,
        channels=3,
        classes=CLASSES,
        fields=fields,
        shard_size=shard_size,
    ) as sink:
        for n in range(count):
            extra = {name: data for name, data in beside(n).items() if name in names}
            sink.write(f"{n:08d}", png(n), "png", n % 10, {"n": n}, extra)
    return ShardIndex.read(root)
