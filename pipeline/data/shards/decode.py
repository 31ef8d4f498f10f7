"""From the encoded images of a data set to uint8 tensors. The header is checked before a pixel is decoded."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from pipeline.contracts import Field, ImageSpec
from pipeline.data.shards.arrays import unpack
from pipeline.data.shards.fields import member_for
from pipeline.data.shards.index import ShardIndex
from pipeline.data.shards.samples import Encoded
from pipeline.errors import Damaged
from pipeline.images import codec
from pipeline.images.pixels import Unreadable


def decode_sample(index: ShardIndex, shard: int, sample: Encoded) -> Tensor:
    """The image of a sample in shard number `shard`, [H, W, C] uint8. Errors: Damaged, which names shard and
    key."""
    check_sample(index, shard, sample)
    pixels = np.empty((index.height, index.width, index.channels), np.uint8)
    decode_checked(index, shard, sample, pixels)
    return torch.from_numpy(pixels)


def check_sample(index: ShardIndex, shard: int, sample: Encoded) -> None:
    """Raises Damaged, which names shard and key, unless the header of a sample's image states its size."""
    try:
        _check_header(sample.image, sample.extension, index.spec)
    except Damaged as damage:
        raise _of_sample(index, shard, sample, damage) from damage


def decode_checked(index: ShardIndex, shard: int, sample: Encoded, out: codec.Pixels) -> None:
    """Decodes the image of a sample that `check_sample` has let pass into `out`, [H, W, C] uint8. Errors: as
    `decode_sample`; what `out` holds then is not defined."""
    try:
        codec.decode_into(out, sample.image, sample.extension)
    except Unreadable as reason:
        raise _of_sample(index, shard, sample, f"its image {reason}") from reason


def _of_sample(index: ShardIndex, shard: int, sample: Encoded, fault: object) -> Damaged:
    return Damaged(f"{index.shards_root / index.shards[shard].name}: key {sample.key}: {fault}")


def decode_fields(
    index: ShardIndex, shard: int, sample: Encoded, fields: Sequence[Field]
) -> dict[str, Tensor]:
    """The given fields of a sample, by name, as `decode_field` has them. Errors: Damaged, which names shard,
    key and field."""
    decoded = {}
    for field in fields:
        try:
            decoded[field.name] = decode_field(field, sample.fields[field.name][1])
        except Damaged as damage:
            raise _of_sample(index, shard, sample, f"field {field.name}: {damage}") from damage
    return decoded


def decode_field(field: Field, data: bytes) -> Tensor:
    """A field's content: image [H, W, C] and mask [H, W] uint8, text [L] uint8 with zeros after its end,
    array as it is; Damaged unless it is what the field says."""
    if field.kind == "text":
        return _text(field.shape[0], data)
    if field.kind == "array":
        return torch.from_numpy(unpack(data, field.shape, field.dtype).copy())
    height, width, channels = (*field.shape, 1)[:3]
    try:
        extension = member_for(field, data).rpartition(".")[2]
    except ValueError as error:
        raise Damaged(str(error)) from error
    return decode(data, extension, ImageSpec(height, width, channels)).view(field.shape)


def _text(longest: int, data: bytes) -> Tensor:
    try:
        text = data.decode()
    except UnicodeDecodeError as error:
        raise Damaged("not UTF-8") from error
    if len(data) > longest or "\0" in text:
        raise Damaged(f"{len(data)} bytes; at most {longest} and no zeros are allowed")
    padded = torch.zeros(longest, dtype=torch.uint8)
    if data:
        padded[: len(data)] = torch.frombuffer(bytearray(data), dtype=torch.uint8)
    return padded


def decode(image: bytes, extension: str, spec: ImageSpec) -> Tensor:
    """The image as [H, W, C] uint8, C = spec.channels; Damaged unless it has just the size of `spec`."""
    _check_header(image, extension, spec)
    try:
        return codec.decode(image, extension, spec.channels)
    except Unreadable as reason:
        raise Damaged(f"its image {reason}") from reason


def _check_header(image: bytes, extension: str, spec: ImageSpec) -> None:
    try:
        size = codec.header_size(image, extension)
    except Unreadable as reason:
        raise Damaged(f"its image {reason}") from reason
    if (size.height, size.width) != (spec.height, spec.width):
        raise Damaged(
            f"its image is {size.width}x{size.height} (width x height), "
            f"the index says {spec.width}x{spec.height}"
        )
    if not size.plain or (size.alpha and spec.channels != 4):
        raise Damaged("its image is not 8-bit grey or RGB")
    if spec.channels == 4 and not codec.FORMATS[extension].alpha:
        raise Damaged(f"its image is {extension}, which holds no alpha; allowed: {codec.alphas()}")
