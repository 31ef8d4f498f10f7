"""Encoded images of a data set -> uint8 tensors. The header is checked before a pixel is decoded."""

from __future__ import annotations

from torch import Tensor

from pipeline.contracts import ImageSpec
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.samples import Damage, Encoded
from pipeline.images import codec
from pipeline.images.pixels import Unreadable


def decode_sample(index: ShardIndex, shard: int, sample: Encoded) -> Tensor:
    """The image of a sample of shard number `shard`, [H, W, C] uint8; Damage that names shard and key."""
    try:
        return decode(sample.image, sample.extension, index.spec)
    except Damage as damage:
        raise Damage(f"{index.root / index.shards[shard].name}: key {sample.key}: {damage}") from damage


def decode(image: bytes, extension: str, spec: ImageSpec) -> Tensor:
    """The image as [H, W, C] uint8, C = spec.channels; Damage unless it has just the size of `spec`."""
    try:
        size = codec.header_size(image, extension)
        if (size.height, size.width) != (spec.height, spec.width):
            raise Damage(
                f"its image is {size.width}x{size.height} (width x height), "
                f"the index says {spec.width}x{spec.height}"
            )
        if not size.plain:
            raise Damage("its image is not 8-bit grey or RGB")
        pixels = codec.decode(image, extension, spec.channels)
    except Unreadable as reason:
        raise Damage(f"its image {reason}") from reason
    if pixels.shape != (spec.height, spec.width, spec.channels):
        raise Damage(f"its image decodes to {tuple(pixels.shape)}")
    return pixels
